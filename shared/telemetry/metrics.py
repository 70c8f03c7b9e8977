"""Every metric of the functions, once: name, help, labels. Counted a batch at a time; raw error text is never a label."""

from platform import python_version
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, Info


class Tenants:
    """Tenants that are labels in this process: the first that come, so that series have an end. The others share the label `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._labelled: set[str] = set()

    def label(self, tenant_id: str) -> str:
        """The tenant's own label, or `other`; empty for no tenant."""
        if tenant_id and tenant_id not in self._labelled:
            if len(self._labelled) >= self._most:
                return "other"
            self._labelled.add(tenant_id)
        return tenant_id


FEW_TENANTS: Final = Tenants(100)
"""Those of metrics with more labels beside the tenant, where each takes many series."""

BUILD = Info("obstack_build", "What runs: the function, the image's version, Python's.")

ACCEPTED_RECORDS = Counter("obstack_ingest_accepted_records", "Log records, data points, spans or samples taken over, after the broker's yes.", ["signal"])
ACCEPTED_BYTES = Counter("obstack_ingest_accepted_bytes", "Decompressed bytes taken over.", ["signal"])
REFUSED = Counter("obstack_ingest_refused_requests", "Requests refused, by reason.", ["reason"])
STRIPPED = Counter("obstack_ingest_stripped_attributes", "Attributes removed because they claimed the tenant's name.", ["signal"])
INGEST_REQUESTS = Counter(
    "obstack_ingest_requests",
    "Answered requests: accepted, refused (with the reason), or later: to come again. A tenant beyond the first 100 is `other`; none: no good token.",
    ["tenant", "signal", "outcome", "reason"],
)
LIMIT_HITS = Counter(
    "obstack_limit_hits", "429s, by the limit: the plan's requests or bytes, a tenant's reads or tails at the same time. Tenants as above.", ["tenant", "limit"]
)
USAGE_REQUESTS = Counter(
    "obstack_usage_requests", "Requests taken over, for billing's cross-check; a tenant beyond the first 1,000 is `other`.", ["tenant", "signal"]
)
USAGE_RECORDS = Counter("obstack_usage_records", "Records taken over, as above.", ["tenant", "signal"])
USAGE_BYTES = Counter("obstack_usage_bytes", "Decompressed bytes taken over, as above.", ["tenant", "signal"])
PUBLISH_SECONDS = Histogram(
    "obstack_publish_seconds",
    "From handing a record to the client until it is acknowledged.",
    ["topic"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 8),
)
PUBLISH_WAITING = Gauge("obstack_publish_waiting_records", "Records handed to the broker's client and not yet acknowledged.", [])

TOKEN_LOOKUPS = Counter(
    "obstack_token_lookups",
    "Tokens looked up: hit (in the cache), miss (the database was asked), unknown (refused without asking), stale (known, beyond its time, since the database "
    "can't be asked), failed (not known, and the database can't be asked).",
    ["outcome"],
)
TOKENS_CACHED = Gauge("obstack_tokens_cached", "Tokens in the cache, known and unknown ones.", ["kind"])
TOKENS_AWAY = Gauge("obstack_tokens_away_seconds", "Since questions about tokens fail; 0 when the last one was answered.", [])

DELIVERED = Counter("obstack_sink_delivered_records", "Kafka records stored by the backend.", ["type"])
POSTPONED = Counter("obstack_sink_postponed_records", "Deliveries answered 503, so that the trigger redelivers.", ["type"])
HELD = Counter("obstack_sink_held_answers", "A backend's answers that hold events until a person acts: `configuration`, or `unknown`.", ["backend", "means"])
DEAD = Counter("obstack_sink_dead_letters", "Dead letters written, by reason.", ["reason"])
BURIED = Counter("obstack_dead_letter_stored_letters", "Dead letters stored as objects, by who refused them and why.", ["sink", "reason"])
REPLAYED = Counter("obstack_replay_letters", "Waiting letters sent again by themselves, by sink and what became of them.", ["sink", "outcome"])
WAITING = Gauge("obstack_replay_waiting_letters", "Letters that waited for a sink after the last tick; 10,000 at most are looked at.", ["sink"])
WAITING_SECONDS = Gauge("obstack_replay_oldest_seconds", "Age of the oldest of them, since ingest took it.", ["sink"])
SWITCHED = Counter("obstack_sink_switched_records", "Kafka records that a switched-off sink held (each delivery again) or skipped.", ["mode"])
SWITCHED_OFF = Counter("obstack_ingest_switched_requests", "Requests told to come again since ingest is switched off, for all or for their tenant.", [])
FLAG = Gauge("obstack_flag", "1 for the value that a flag has for all tenants, 0 for its other values.", ["flag", "value"])
FLAG_TENANTS = Gauge("obstack_flag_tenants", "Tenants for which a flag of their own is something else than on.", ["flag"])
FLAGS_AGE = Gauge("obstack_flags_age_seconds", "Since the question that the database last answered about flags, or the start.", [])
BACKEND_RETRIES = Counter(
    "obstack_backend_retries",
    "Requests to a backend that were sent again within a delivery: dropped_connection, busy (the documents it was too busy for), unnamed_refusal (which isn't "
    "believed at once), shared_refusal (each of those that shared it alone).",
    ["reason"],
)
BISECTIONS = Counter("obstack_sink_bisections", "Batches cut in two: refused, to find what is at fault, or for their size.", ["reason"])
DUPLICATES = Counter("obstack_sink_duplicates", "Documents that were already there: delivered again, or sent again by their client.", [])
BREAKER = Gauge("obstack_sink_breaker_state", "Circuit breaker before the backend: 0 closed, 1 half open, 2 open.", ["backend"])
GROUPED = Counter("obstack_sink_grouped_records", "Kafka records that went to the backend in a request together with others.", [])
DELIVERY_SECONDS = Histogram(
    "obstack_sink_delivery_seconds", "From the event's arrival to the backend's yes.", ["type"], buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
)
AGE_SECONDS = Histogram(
    "obstack_sink_age_seconds",
    "From the request's receipt at ingest to the backend's yes.",
    ["type"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 300, 3600),
)

QUERIES = Counter("obstack_query_requests", "Reads, by backend and status class.", ["backend", "status"])
QUERY_REFUSED = Counter("obstack_query_refused_requests", "Requests to query that were refused, by reason.", ["reason"])
QUERY_SECONDS = Histogram(
    "obstack_query_request_seconds",
    "From a request to query until the head of its answer, by the row of the allow-list or the path of our own; a body may stream on.",
    ["endpoint", "status"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
TOKENS_EXPIRING = Gauge("obstack_tokens_expiring", "Good tokens that end within this time, made for a week or longer, without a successor.", ["within"])
TOKENS_EXPIRED = Gauge("obstack_tokens_expired", "Such tokens that ended within the last 7 days.", [])
TOKENS_CHECKED = Gauge("obstack_tokens_checked_timestamp_seconds", "When these were last counted; 0: never.", [])
LOGINS = Counter("obstack_query_logins", "Log-ins, by outcome.", ["outcome"])

UNHANDLED = Counter("obstack_unhandled_errors", "Exceptions nobody meant: defects of ours.", [])
HELD_BYTES = Gauge("obstack_held_bytes", "Bytes of bodies held at the moment; bounded by the setting memory_bytes.", [])
IN_FLIGHT = Gauge("obstack_requests_in_flight", "Requests being worked on.", [])


def tell_build(function: str, version: str) -> None:
    """What runs here, from now on."""
    BUILD.info({"function": function, "version": version, "python": python_version()})
