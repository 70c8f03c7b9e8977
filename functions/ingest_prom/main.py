"""Prometheus remote_write 1.0 and 2.0 → topic. Version, token, body, check, publish, answer; 204 means that all in-sync replicas have it.

Sources: remote_write specification 1.0 and 2.0. The topic holds the message without its snappy.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from functions.ingest_prom import answers, versions
from shared import bodies, envelope
from shared.auth import Authenticator
from shared.codecs import remote_write
from shared.contract import MAX_BODY_BYTES, PROMETHEUS_PREFIX, Reason, Scope, Source, Topic
from shared.errors import Refused
from shared.publish import Publisher
from shared.runtime import Function
from shared.settings import Broker, Database
from shared.telemetry import metrics

PATH = "/v1/write"


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
    """Answer one write request."""
    row = route(request)
    tenant = await needs.tokens.tenant(request.headers, Scope.METRICS)
    value = await bodies.read(request, MAX_BODY_BYTES, {"snappy"})
    message = remote_write.parse(row.message, value)
    counts = remote_write.count(message)
    if value:
        # One sender's series stay in one partition; spreading them over more would mean writing every request anew.
        spread = tenant.token_id.encode()
        traceparent = request.headers.get("traceparent", "")
        await needs.topics.publish(envelope.new(tenant, row.type, Source.PROMETHEUS, Topic.REMOTE_WRITE, value, spread=spread, traceparent=traceparent))
        metrics.ACCEPTED_RECORDS.labels("remote-write").inc(counts.samples + counts.histograms)
        metrics.ACCEPTED_BYTES.labels("remote-write").inc(len(value))
    return answers.accepted(request, counts)


def route(request: Request) -> versions.Row:
    """The version of the protocol. Raises Refused: 404, 405, 415; the latter by headers alone, before the body is decoded."""
    if request.url.path.removeprefix(PROMETHEUS_PREFIX) != PATH:
        raise Refused(Reason.NOT_FOUND, f"the path is {PATH}", 404)
    if request.method != "POST":
        raise Refused(Reason.METHOD, "write requests are POSTed", 405)
    if request.headers.get("content-encoding", "").lower() != "snappy":
        raise Refused(Reason.ENCODING, "Content-Encoding must be snappy", 415)
    return versions.by_content_type(request.headers.get("content-type", ""))


app = function.app(__name__)
