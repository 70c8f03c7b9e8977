"""Prometheus remote_write 1.0 and 2.0 → topic. Version, token, body, check, publish, answer; 204 means that all in-sync replicas have it.

Sources: remote_write specification 1.0 and 2.0. The topic holds the message without its snappy.
"""

from functools import partial
from time import time_ns

from starlette.requests import Request
from starlette.responses import Response

from functions.ingest_prom import answers, versions
from shared.codecs import remote_write
from shared.codecs.remote_write import Counts
from shared.codecs.split import Split, split
from shared.contract import MAX_RECORD_BYTES, PROMETHEUS_PREFIX, Flag, Reason, Scope, Source, Topic
from shared.errors import Refused
from shared.intake import Batch, Intake, off_the_loop, open_intake
from shared.runtime import Function

PATH, SIGNAL = "/v1/write", "remote-write"

function = Function(partial(open_intake, Flag.INGEST_PROMETHEUS), answers.refuse)


@function.handler
async def handle(request: Request, intake: Intake) -> Response:
    """Answer one write request."""
    row = route(request)
    tenant = await intake.tenant(request.headers, Scope.METRICS, SIGNAL)
    value = await intake.body(request, tenant, {"snappy"}, unnamed="snappy")
    checked = await off_the_loop(len(value), lambda: remote_write.check(row.message, value, time_ns() // 1_000_000))
    found = await off_the_loop(len(value), lambda: split(row.message.request, checked.value, MAX_RECORD_BYTES))
    counts = sum((remote_write.count(row.message, part) for part in found.parts), Counts()) if found.rejected else checked.counts
    if parts := [part for part in found.parts if part]:
        # One sender's series stay in one partition; spreading them over more would mean writing every request anew.
        spread, traceparent = tenant.token_id.encode(), request.headers.get("traceparent", "")
        records = counts.samples + counts.histograms
        await intake.publish(tenant, Batch(row.type, Source.PROMETHEUS, Topic.REMOTE_WRITE, SIGNAL, parts, records, spread, traceparent))
    if refusal := checked.refusal or too_large(found):
        return answers.refuse(request, refusal, counts)
    return answers.accepted(request, counts)


def too_large(found: Split) -> Refused | None:
    """What doesn't fit into a record of the broker even by itself."""
    if not found.rejected:
        return None
    return Refused(Reason.TOO_LARGE, f"{found.rejected} too large by themselves, the rest was taken; the first is in series {found.first_index}")


def route(request: Request) -> versions.Row:
    """The version of the protocol. Raises Refused: 404, 405, 415; the latter by headers alone, before the body is decoded."""
    if request.url.path.removeprefix(PROMETHEUS_PREFIX) != PATH:
        raise Refused(Reason.NOT_FOUND, f"the path is {PATH}", 404)
    if request.method != "POST":
        raise Refused(Reason.METHOD, "write requests are POSTed", 405)
    # As Prometheus' own receiver does, take what names no coding for snappy.
    if request.headers.get("content-encoding", "").lower() not in {"", "snappy"}:
        raise Refused(Reason.ENCODING, "Content-Encoding must be snappy", 415)
    return versions.by_content_type(request.headers.get("content-type", ""))


app = function.app(__name__)
