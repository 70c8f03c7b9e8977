"""OTLP/HTTP logs, metrics and traces → topic. Token, body, check, publish, answer; 200 means that all in-sync replicas have it.

Source: OTLP specification 1.x, § OTLP/HTTP.
"""

from functools import partial
from time import time_ns
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from functions.ingest_otlp import answers
from shared.codecs import otlp
from shared.codecs.compression import OTLP_ENCODINGS
from shared.contract import JSON, OTLP_PREFIX, PROTOBUF, Flag, Reason, Source
from shared.errors import Refused
from shared.intake import Intake, off_the_loop, open_intake
from shared.runtime import Function
from shared.signals import SIGNALS, Signal

_PATHS: Final = {signal.path: signal for signal in SIGNALS}

function = Function(partial(open_intake, Flag.INGEST_OTLP), answers.refuse)


@function.handler
async def handle(request: Request, intake: Intake) -> Response:
    """Answer one export request."""
    signal = route(request)
    tenant = await intake.tenant(request.headers, signal.scope)
    body = await intake.body(request, tenant, OTLP_ENCODINGS)
    checked = await off_the_loop(len(body), lambda: check(request, signal, body))
    await intake.take(tenant, signal, checked, Source.OTLP, request.headers.get("traceparent", ""))
    return answers.accepted(request, signal, checked)


def route(request: Request) -> Signal:
    """The signal that path, method and media type name. Raises Refused: 404, 405, 415."""
    signal = _PATHS.get(request.scope["path"].removeprefix(OTLP_PREFIX))
    if signal is None:
        raise Refused(Reason.NOT_FOUND, f"paths are {', '.join(_PATHS)}", 404)
    if request.method != "POST":
        raise Refused(Reason.METHOD, "export requests are POSTed", 405)
    if answers.media_type(request) not in {PROTOBUF, JSON}:
        raise Refused(Reason.MEDIA_TYPE, f"Content-Type must be {PROTOBUF} or {JSON}", 415)
    return signal


def check(request: Request, signal: Signal, body: bytes) -> otlp.Checked:
    """The request's records, checked, and the bytes to publish."""
    if answers.media_type(request) == JSON:
        return otlp.check(signal.shape, otlp.parse_json(signal.shape, body), None, time_ns())
    return otlp.check(signal.shape, otlp.parse(signal.shape, body), body, time_ns())


app = function.app(__name__)
