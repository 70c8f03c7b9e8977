"""What a blocked sink costs the others: the figures mean what the table says. No figure is asserted."""

from zlib import crc32

from localdev import topics
from localdev.bench import away
from localdev.bench.away import Turn

PAGE = b"""\
# TYPE obstack_trigger_retries_total counter
obstack_trigger_retries_total{function="sink_loki"} 30.0
obstack_trigger_retries_total{function="sink_tempo"} 2.0
obstack_trigger_retries_created{function="sink_loki"} 1.7e+09
obstack_requests_in_flight 3.0
"""


def test_a_metric_is_summed_over_its_samples_and_nothing_else() -> None:
    assert away.total(PAGE, "obstack_trigger_retries_total") == 32
    assert away.total(PAGE, "obstack_trigger_retries_total", 'function="sink_loki"') == 30
    assert away.total(PAGE, "obstack_requests_in_flight") == 3
    assert away.total(PAGE, "obstack_trigger") == 0


def test_every_partition_has_something_of_every_topic() -> None:
    """Else fewer events would be under way for the blocked sink than there can be."""
    partitions = {topic.name: topic.partitions for topic in topics.declared()}
    for topic, batches in away.records().items():
        assert {crc32(one.key.encode()) % partitions[topic] for one in batches} == set(range(partitions[topic]))
        assert len(batches) <= away.EVENTS[topic]


def test_a_row_compares_the_blocked_side_with_the_other() -> None:
    blocked, without = Turn(950, 210, 105, (0.02, 0.01)), Turn(1000, 200, 100, (0.005, 0.001))
    assert away.row("loki", [blocked], [without]) == (
        "loki",
        "950 / 1,000",
        "0.95 (0.95 to 0.95)",
        "210 / 200",
        "1.05 (1.05 to 1.05)",
        "105 / 100",
        "0.020 / 0.005, 0.010 / 0.001",
    )
