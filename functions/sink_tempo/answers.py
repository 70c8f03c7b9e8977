"""Tempo's answers to an OTLP/gRPC export (Tempo 1.5; codes of newer ones as well). A refusal stores nothing, or some traces of the batch: spans combine.

    done           OK                                   of which a partial success is a refusal
    too large      RESOURCE_EXHAUSTED, FAILED_PRE…      cut; which of them is too large says the message
    refused        INVALID_ARGUMENT, INTERNAL           the span is alone in the dead letters, with the reason
    refused?       FAILED_PRECONDITION with new words   so too, if Tempo takes a probe right after it; else held
    busy           RESOURCE_EXHAUSTED, LIVE_TRACES…     this tenant waits
    trouble        UNAVAILABLE and the like             everybody waits (breaker). INTERNAL, UNKNOWN are any error of an ingester
    wrongly set up UNAUTHENTICATED, "no org id", …      held, and said loudly
    unknown        all others                           held, and said loudly

Codes: OTLP specification, § OTLP/gRPC Response; messages: Tempo's modules/distributor, modules/ingester/instance.go, grpc-go's server.go.
"""

from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from shared.contract import Reason
from shared.errors import Never
from shared.verdict import Means, Refusal, Row, judge

_PRECONDITION: Final = frozenset({"FAILED_PRECONDITION"})

ANSWERS: Final = (
    Row({"INVALID_ARGUMENT"}, Refusal(Reason.INVALID)),
    Row({"INTERNAL"}, Refusal(Reason.UNDECODABLE), "error unmarshalling request"),
    Row({"RESOURCE_EXHAUSTED"}, Refusal(Reason.TOO_LARGE), "received message larger than max"),
    Row(_PRECONDITION, Refusal(Reason.TOO_LARGE), "TRACE_TOO_LARGE"),
    Row(_PRECONDITION, Means.BUSY, "LIVE_TRACES_EXCEEDED"),
    Row(_PRECONDITION, Refusal(Reason.REFUSED_BY_BACKEND, named=False)),
    Row({"UNKNOWN"}, Means.CONFIGURATION, "no org id"),
    Row({"RESOURCE_EXHAUSTED"}, Means.BUSY),
    Row({"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "OUT_OF_RANGE", "DATA_LOSS"}, Means.TRANSIENT),
    Row({"INTERNAL", "UNKNOWN"}, Means.TRANSIENT),
    Row({"UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND"}, Means.CONFIGURATION),
)


def failed(code: str, message: str) -> None:
    """An RPC that ended in an error. Raises Never and Later."""
    judge(ANSWERS, code, message, "tempo")


def check(answer: bytes) -> None:
    """An RPC that succeeded: empty, unless Tempo kept only a part. Raises Never."""
    if not answer:
        return
    try:
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return
    if partial.rejected_spans:
        raise Never(Reason.REFUSED_BY_BACKEND, f"tempo: {partial.rejected_spans} spans rejected: {partial.error_message}")
