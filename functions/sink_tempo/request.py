"""Record → OTLP/gRPC export call: the customer's bytes as they came, the tenant as metadata.

gRPC, because Tempo's OTLP/HTTP receiver drops the tenant's header in the version that runs on a laptop.
"""

from typing import Final

from shared.contract import TENANT_HEADER, EventType, Reason
from shared.envelope import Record
from shared.errors import Refused

METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

MOST_BYTES: Final = 3 * 1024 * 1024
"""Larger batches go in parts: a gRPC server takes messages of 4 MiB, unless it is told otherwise."""

SECONDS: Final = 20.0


def metadata(record: Record) -> tuple[tuple[str, str], ...]:
    """Metadata of the call. Raises Refused when the event doesn't hold traces."""
    if record.type is not EventType.TRACES:
        raise Refused(Reason.NOT_AN_EVENT, f"traces are stored here, not {record.type}")
    return ((TENANT_HEADER, record.tenant_id),)
