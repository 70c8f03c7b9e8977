"""A record's bytes for people: the message as text, or, of what can't be decoded, the bytes themselves."""

from itertools import islice
from typing import Final

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from shared.contract import EventType

_MESSAGES: Final[dict[str, type[Message]]] = {
    EventType.LOGS: ExportLogsServiceRequest,
    EventType.METRICS: ExportMetricsServiceRequest,
    EventType.TRACES: ExportTraceServiceRequest,
    EventType.REMOTE_WRITE_1: WriteRequest,
    EventType.REMOTE_WRITE_2: Request,
}
_MOST_BYTES: Final = 256


def preview(kind: str, body: bytes, lines: int) -> str:
    """The first lines. Customers' control characters come out escaped, so none reaches the terminal."""
    message = _MESSAGES.get(kind)
    try:
        text = text_format.MessageToString(message.FromString(body)) if message else ""
    except DecodeError:
        text = ""
    if not text:
        return f"{len(body):,} bytes that can't be decoded, the first of them:\n{body[:_MOST_BYTES]!r}" if body else "no bytes"
    found = text.splitlines()
    more = [f"… {len(found) - lines:,} more lines"] if len(found) > lines else []
    return "\n".join([*islice(found, lines), *more])
