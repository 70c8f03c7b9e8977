"""Every metric of the trigger, once; those of lag are measured when asked for (lag.py)."""

from prometheus_client import Counter, Gauge, Histogram

DELIVERIES = Counter("obstack_trigger_deliveries", "Deliveries tried, by what the answer meant.", ["function", "outcome"])
RETRIES = Counter("obstack_trigger_retries", "Deliveries tried again.", ["function"])
DEAD_LETTERS = Counter("obstack_trigger_dead_letters", "Events that a function refused, written to the dead letters.", ["function"])
SECONDS = Histogram(
    "obstack_trigger_delivery_seconds", "One try of a delivery.", ["function"], buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
)
IN_FLIGHT = Gauge("obstack_trigger_in_flight_records", "Records being delivered, waiting for a retry included.", ["function"])
PAUSED = Gauge("obstack_trigger_paused_partitions", "Partitions not read at the moment, since enough of their records wait here.", ["function"])
