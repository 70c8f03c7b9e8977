"""Names and limits that cross a process: topics, event types, attributes, headers, media types, reasons.

Ground floor: imports nothing of ours, so that everyone may stand on it.
"""

from enum import StrEnum
from typing import Final


class Topic(StrEnum):
    """Topics of the broker; created from `stack/redpanda/topics.yml`."""

    LOGS = "telemetry.logs"
    METRICS = "telemetry.metrics"
    TRACES = "telemetry.traces"
    REMOTE_WRITE = "telemetry.remote-write"
    DEAD_LETTERS = "telemetry.dead-letters"


class EventType(StrEnum):
    """`ce_type` of a record: what its bytes are."""

    LOGS = "io.obstack.telemetry.logs.v1"
    METRICS = "io.obstack.telemetry.metrics.v1"
    TRACES = "io.obstack.telemetry.traces.v1"
    REMOTE_WRITE_1 = "io.obstack.telemetry.remote-write.v1"
    REMOTE_WRITE_2 = "io.obstack.telemetry.remote-write.v2"


class Source(StrEnum):
    """`ce_source` of a record: which ingest function took it."""

    OTLP = "/ingest/otlp"
    PROMETHEUS = "/ingest/prometheus"


class Scope(StrEnum):
    """What a token may be used for."""

    LOGS = "logs"
    METRICS = "metrics"
    TRACES = "traces"
    READ = "read"


class Role(StrEnum):
    """What a user may do: everybody reads; an admin changes the tenant's tokens too."""

    ADMIN = "admin"
    VIEWER = "viewer"


class Period(StrEnum):
    """How much of a tenant's logs is in one index, by its plan: `ce_indexperiod` of a record; without the attribute it is a day."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Switch(StrEnum):
    """What a flag says."""

    ON = "on"
    OFF = "off"
    """Ingest takes nothing: clients keep what they have."""
    HOLD = "hold"
    """A sink does nothing: its events wait in the topic."""
    SKIP = "skip"
    """A sink lets its events go, counted and not stored."""


class Flag(StrEnum):
    """What can be switched, for all and for single tenants: rows of `telemetry.flags`. A sink's is `sink.` and its function's name after `sink_`."""

    INGEST = "ingest"
    INGEST_OTLP = "ingest.otlp"
    INGEST_PROMETHEUS = "ingest.prometheus"
    SINK_LOKI = "sink.loki"
    SINK_OPENSEARCH = "sink.opensearch"
    SINK_PROM = "sink.prom"
    SINK_TEMPO = "sink.tempo"
    SINK_ARCHIVE = "sink.archive"

    @property
    def values(self) -> tuple[Switch, ...]:
        """What it may be for all."""
        return (Switch.ON, Switch.HOLD, Switch.SKIP) if self.startswith("sink.") else (Switch.ON, Switch.OFF)

    @property
    def values_of_one(self) -> tuple[Switch, ...]:
        """What it may be for one tenant: a held event would keep the other tenants' events of its partition waiting (docs/decisions/0021)."""
        return tuple(value for value in self.values if value is not Switch.HOLD)


class Reason(StrEnum):
    """Why something was refused or became a dead letter: metric label, dead-letter attribute and word in the answer."""

    NO_TOKEN = "no_token"
    UNKNOWN_TOKEN = "unknown_token"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD = "method_not_allowed"
    MEDIA_TYPE = "unsupported_media_type"
    ENCODING = "unsupported_encoding"
    TOO_LARGE = "too_large"
    LIMITED = "limited"
    UNDECODABLE = "undecodable"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"
    SWITCHED_OFF = "switched_off"
    NOT_AN_EVENT = "not_an_event"
    OUT_OF_WINDOW = "out_of_window"
    OUT_OF_ORDER = "out_of_order"
    REFUSED_BY_BACKEND = "refused_by_backend"
    RETRIES_RAN_OUT = "retries_ran_out"


TENANT_LABEL: Final = "tenant_id"
"""The label, attribute and field that says whose data it is. Ours alone: a customer's own is replaced, never kept."""

LOGS_INDEX: Final = "logs-tenant-"
"""What names of OpenSearch's indices begin with; the tenant's UUID, `-` and a period follow."""

TOKEN_HEADER: Final = "x-obstack-auth-token"
TENANT_HEADER: Final = "x-scope-orgid"
"""Tenant header of Loki and Tempo."""
PROXY_TENANT_HEADER: Final = "x-obstack-tenant"
"""Tenant header of prom-label-proxy."""

NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""The tenant in whose name sinks try whether a backend takes anything; no customer has it, so nobody reads it."""

OTLP_PREFIX: Final = "/ingest/otlp"
PROMETHEUS_PREFIX: Final = "/ingest/prometheus"
QUERY_PREFIX: Final = "/query"
"""Public path prefixes at the gateway, which passes paths on unchanged; a platform's function URL is called without them."""

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""Largest request body, on the wire and decompressed (OTLP specification, OTLP/HTTP Request: recommended default)."""
BODY_SECONDS: Final = 30.0
"""Within which a request's body must have come, however slowly it is sent."""
MAX_RECORD_BYTES: Final = 10_000_000
"""Largest record value; the topics' `max.message.bytes` leaves room for key and headers."""

INGEST_REFUSAL_HEADERS: Final = {401: {"www-authenticate": 'Bearer realm="obstack", Basic realm="obstack"'}, 405: {"allow": "POST"}}
"""What an ingest function's refusal carries, by its status (RFC 9110, sections 15.5.2 and 15.5.6)."""

RETRIED: Final = frozenset({404, 408, 409, 429})
"""Statuses below 500 after which every trigger delivers again, as KafkaSource does; any other 4xx refuses the event."""

RETRY_AFTER_SECONDS: Final = 2
"""What a client is told to wait when we are the ones in trouble."""
