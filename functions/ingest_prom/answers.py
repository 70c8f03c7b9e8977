"""remote_write's answers: 204, or a short text. 2.0 answers also say how much was written, refusals included.

Sources: remote_write 1.0 § Protocol; 2.0 § Required Written Response Headers. Senders retry 5xx for ever and no other 4xx than 429.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from functions.ingest_prom.versions import CONTENT_TYPES, TWO, by_content_type
from shared.codecs.remote_write import Counts
from shared.contract import INGEST_REFUSAL_HEADERS, Reason
from shared.errors import Later, Refused
from shared.telemetry import requests

_NOTHING: Final = Counts()
_TAKEN: Final = {Reason.ENCODING: {"accept-encoding": "snappy"}, Reason.MEDIA_TYPE: {"accept": ", ".join(CONTENT_TYPES)}}
"""What would have been taken, with a 415 (RFC 9110, § 15.5.16)."""


def accepted(request: Request, counts: Counts) -> Response:
    """204 without a body."""
    requests.accepted()
    return Response(status_code=204, headers=_written(request, counts))


def refuse(request: Request, error: Refused | Later, counts: Counts = _NOTHING) -> Response:
    """The reason as a line of text. `counts`: what was written in spite of it (2.0, § Partial Write)."""
    requests.refused(error)
    if isinstance(error, Later):
        return PlainTextResponse(f"{error}\n", 503, {"retry-after": str(error.retry_after), **_written(request, counts)})
    wait = {"retry-after": str(error.retry_after)} if error.retry_after is not None else {}
    more = {**INGEST_REFUSAL_HEADERS.get(error.status, {}), **_TAKEN.get(error.reason, {}), **wait}
    return PlainTextResponse(f"{error}\n", error.status, {**more, **_written(request, counts)})


def _written(request: Request, counts: Counts) -> dict[str, str]:
    try:
        if by_content_type(request.headers.get("content-type", "")) is not TWO:
            return {}
    except Refused:
        return {}
    prefix = "x-prometheus-remote-write"
    return {
        f"{prefix}-samples-written": str(counts.samples),
        f"{prefix}-histograms-written": str(counts.histograms),
        f"{prefix}-exemplars-written": str(counts.exemplars),
    }
