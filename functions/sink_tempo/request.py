"""Record → OTLP/gRPC export call: the customer's bytes as they came, the tenant as metadata.

gRPC, because Tempo's OTLP/HTTP receiver drops the tenant's header in the version that runs on a laptop.
"""

from os import urandom
from time import time_ns
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared.contract import TENANT_HEADER, EventType, Reason
from shared.envelope import Record
from shared.errors import Refused

METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

MOST_BYTES: Final = 3 * 1024 * 1024
"""Larger batches go in parts: a gRPC server takes messages of 4 MiB, unless it is told otherwise."""


def tenant_of(record: Record) -> str:
    """Whose traces they are. Raises Refused when the event doesn't hold traces."""
    if record.type is not EventType.TRACES:
        raise Refused(Reason.NOT_AN_EVENT, f"traces are stored here, not {record.type}")
    return record.tenant_id


def metadata(tenant_id: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a call."""
    return ((TENANT_HEADER, tenant_id),)


def probe() -> bytes:
    """A batch that Tempo takes if it takes any."""
    batch, now = ExportTraceServiceRequest(), time_ns()
    batch.resource_spans.add().scope_spans.add().spans.add(
        trace_id=urandom(16), span_id=urandom(8), name="is this refused as well?", start_time_unix_nano=now, end_time_unix_nano=now
    )
    return bytes(batch.SerializeToString())
