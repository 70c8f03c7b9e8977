"""OTLP/gRPC's errors: a status code, and in its details how long to wait where that helps.

Source: OTLP specification 1.x, § OTLP/gRPC Failures, § OTLP/gRPC Throttling. RESOURCE_EXHAUSTED is retried only with a RetryInfo, so a body that is too large
must not carry one.
"""

from typing import Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from shared.errors import Later, Refused

CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
}

Metadata = tuple[tuple[str, bytes], ...]


def failure(error: Refused | Later) -> tuple[grpc.StatusCode, str, Metadata]:
    """Code, message and trailing metadata of an error."""
    code = grpc.StatusCode.UNAVAILABLE if isinstance(error, Later) else CODES.get(error.status, grpc.StatusCode.UNKNOWN)
    message = str(error)
    status = Status(code=code.value[0], message=message)
    if error.retry_after is not None:
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=error.retry_after)))
    return code, message, (("grpc-status-details-bin", status.SerializeToString()),)
