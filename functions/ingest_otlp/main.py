"""OTLP/HTTP logs, metrics and traces → topic. Token, body, check, publish, answer; 200 means that all in-sync replicas have it.

Source: OTLP specification 1.x, § OTLP/HTTP.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import time_ns

from starlette.requests import Request
from starlette.responses import Response

from functions.ingest_otlp import answers
from functions.ingest_otlp.signals import SIGNALS, Signal
from shared import bodies, envelope
from shared.auth import Authenticator
from shared.codecs import otlp
from shared.contract import JSON, MAX_BODY_BYTES, OTLP_PREFIX, PROTOBUF, Reason, Source
from shared.errors import Refused
from shared.publish import Publisher
from shared.runtime import Function
from shared.settings import Broker, Database
from shared.telemetry import metrics


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request needs of the world."""

    tokens: Authenticator
    topics: Publisher


@asynccontextmanager
async def start() -> AsyncIterator[Needs]:
    """Open database pool and producer; flush the producer at the end."""
    async with Authenticator(Database()) as tokens:
        topics = Publisher(Broker())
        try:
            yield Needs(tokens, topics)
        finally:
            await topics.close()


function = Function(start, answers.refuse)


@function.handler
async def handle(request: Request, needs: Needs) -> Response:
    """Answer one export request."""
    signal = route(request)
    tenant = await needs.tokens.tenant(request.headers, signal.scope)
    checked = await read(request, signal)
    metrics.STRIPPED.labels(signal.scope).inc(checked.stripped)
    if checked.records:
        traceparent = request.headers.get("traceparent", "")
        record = envelope.new(tenant, signal.type, Source.OTLP, signal.topic, checked.value, spread=checked.spread, traceparent=traceparent)
        await needs.topics.publish(record)
        metrics.ACCEPTED_RECORDS.labels(signal.scope).inc(checked.records)
        metrics.ACCEPTED_BYTES.labels(signal.scope).inc(len(checked.value))
    return answers.accepted(request, signal, checked)


def route(request: Request) -> Signal:
    """The signal that path, method and media type name. Raises Refused: 404, 405, 415."""
    signal = SIGNALS.get(request.url.path.removeprefix(OTLP_PREFIX))
    if signal is None:
        raise Refused(Reason.NOT_FOUND, f"paths are {', '.join(SIGNALS)}", 404)
    if request.method != "POST":
        raise Refused(Reason.METHOD, "export requests are POSTed", 405)
    if answers.media_type(request) not in {PROTOBUF, JSON}:
        raise Refused(Reason.MEDIA_TYPE, f"Content-Type must be {PROTOBUF} or {JSON}", 415)
    return signal


async def read(request: Request, signal: Signal) -> otlp.Checked:
    """The request's records, checked, and the bytes to publish."""
    body = await bodies.read(request, MAX_BODY_BYTES, {"gzip"})
    if answers.media_type(request) == JSON:
        return otlp.check(signal.shape, otlp.parse_json(signal.shape, body), None, time_ns())
    return otlp.check(signal.shape, otlp.parse(signal.shape, body), body, time_ns())


app = function.app(__name__)
