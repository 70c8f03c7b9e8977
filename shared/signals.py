"""OTLP's three signals: a row each, never a copied function. OTLP/HTTP and OTLP/gRPC read the same rows.

Sources: OTLP specification 1.x, § OTLP/HTTP Request, § OTLP/gRPC; opentelemetry-proto collector/*/v1.
"""

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from shared.codecs import otlp
from shared.codecs.otlp import Checked
from shared.contract import EventType, Scope, Topic


@dataclass(frozen=True, slots=True)
class Signal:
    """What differs between logs, metrics and traces."""

    scope: Scope
    shape: otlp.Shape
    response: type[Message]
    rejected: str
    """Name of the response's counter of rejected records."""
    topic: Topic
    type: EventType
    path: str
    """OTLP/HTTP's path."""
    method: str
    """OTLP/gRPC's method."""

    def answer(self, checked: Checked) -> Message:
        """The response message: empty, or a partial success that names count, first reason and first index."""
        answer = self.response()
        if checked.rejected:
            partial = answer.partial_success  # type: ignore[attr-defined]
            setattr(partial, self.rejected, checked.rejected)
            partial.error_message = f"{checked.rejected} rejected; the first, at index {checked.first_index}: {checked.first_reason}"
        return answer


_COLLECTOR: Final = "/opentelemetry.proto.collector"

SIGNALS: Final = (
    Signal(
        Scope.LOGS,
        otlp.LOGS,
        ExportLogsServiceResponse,
        "rejected_log_records",
        Topic.LOGS,
        EventType.LOGS,
        "/v1/logs",
        f"{_COLLECTOR}.logs.v1.LogsService/Export",
    ),
    Signal(
        Scope.METRICS,
        otlp.METRICS,
        ExportMetricsServiceResponse,
        "rejected_data_points",
        Topic.METRICS,
        EventType.METRICS,
        "/v1/metrics",
        f"{_COLLECTOR}.metrics.v1.MetricsService/Export",
    ),
    Signal(
        Scope.TRACES,
        otlp.TRACES,
        ExportTraceServiceResponse,
        "rejected_spans",
        Topic.TRACES,
        EventType.TRACES,
        "/v1/traces",
        f"{_COLLECTOR}.trace.v1.TraceService/Export",
    ),
)
