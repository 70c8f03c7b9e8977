"""OTLP/HTTP's answers: success, partial success, `google.rpc.Status`; always in the request's own media type, without parameters.

Source: OTLP specification 1.x, § OTLP/HTTP Response. Clients retry 429, 502, 503 and 504 only, so trouble of ours is 503, never 500.
"""

from functools import lru_cache
from typing import Final

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from starlette.requests import Request
from starlette.responses import Response

from shared.codecs.otlp import Checked
from shared.contract import INGEST_REFUSAL_HEADERS, JSON, PROTOBUF, Reason
from shared.errors import Later, Refused
from shared.signals import Signal
from shared.telemetry import requests

_CODES: Final = {
    400: code_pb2.INVALID_ARGUMENT,
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    405: code_pb2.UNIMPLEMENTED,
    413: code_pb2.INVALID_ARGUMENT,
    415: code_pb2.INVALID_ARGUMENT,
    429: code_pb2.RESOURCE_EXHAUSTED,
}


_TAKEN: Final = Response(b"", 200, None, PROTOBUF)
"""Full success: a message without fields has no bytes."""


def media_type(request: Request) -> str:
    """The request's media type without its parameters, in lower case."""
    return _media_type(request.headers.get("content-type", ""))


@lru_cache(100)
def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def accepted(request: Request, signal: Signal, checked: Checked) -> Response:
    """200 with the signal's response message."""
    requests.accepted()
    if not checked.rejected and media_type(request) == PROTOBUF:
        return _TAKEN
    return _write(request, signal.answer(checked), 200)


def refuse(request: Request, error: Refused | Later) -> Response:
    """What went wrong as `google.rpc.Status`."""
    requests.refused(error)
    if isinstance(error, Later):
        return _write(request, status_pb2.Status(code=code_pb2.UNAVAILABLE, message=error.detail), 503, {"retry-after": str(error.retry_after)})
    status = status_pb2.Status(code=_CODES.get(error.status, code_pb2.UNKNOWN), message=str(error))
    if error.status == 400:
        violation = error_details_pb2.BadRequest.FieldViolation(description=error.detail)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    headers = (
        {"retry-after": str(error.retry_after)} if error.retry_after is not None else INGEST_REFUSAL_HEADERS.get(error.status) or _ACCEPTED.get(error.reason)
    )
    return _write(request, status, error.status, headers)


_ACCEPTED: Final = {Reason.ENCODING: {"accept-encoding": "gzip, zstd, deflate"}, Reason.MEDIA_TYPE: {"accept": f"{PROTOBUF}, {JSON}"}}
"""What would have been taken, with a 415 (RFC 9110, § 15.5.16)."""


def _write(request: Request, message: Message, status: int, headers: dict[str, str] | None = None) -> Response:
    if media_type(request) == JSON:
        return Response(json_format.MessageToJson(message, indent=None), status, headers, JSON)
    return Response(message.SerializeToString(), status, headers, PROTOBUF)
