"""Prometheus remote_write 1.0 and 2.0 → topic. Version, token, body, check, publish, answer; 204 means that all in-sync replicas have it.

Sources: remote_write specification 1.0 and 2.0. The topic holds the message without its snappy.
"""

from starlette.requests import Request
from starlette.responses import Response

from functions.ingest_prom import answers, versions
from shared import bodies
from shared.codecs import remote_write
from shared.contract import MAX_BODY_BYTES, PROMETHEUS_PREFIX, Reason, Scope, Source, Topic
from shared.errors import Refused
from shared.intake import Batch, Intake, open_intake
from shared.runtime import Function

PATH = "/v1/write"

function = Function(open_intake, answers.refuse)


@function.handler
async def handle(request: Request, intake: Intake) -> Response:
    """Answer one write request."""
    row = route(request)
    tenant = await intake.tenant(request.headers, Scope.METRICS)
    value = await bodies.read(request, MAX_BODY_BYTES, {"snappy"})
    counts = remote_write.count(remote_write.parse(row.message, value))
    if value:
        # One sender's series stay in one partition; spreading them over more would mean writing every request anew.
        spread, traceparent = tenant.token_id.encode(), request.headers.get("traceparent", "")
        records = counts.samples + counts.histograms
        await intake.publish(tenant, Batch(row.type, Source.PROMETHEUS, Topic.REMOTE_WRITE, "remote-write", [value], records, spread, traceparent))
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
