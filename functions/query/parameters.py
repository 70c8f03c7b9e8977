"""Query string and form → pairs that both sides read alike; a change's JSON → an object.

Parameters are parsed here, refused when they can't be, and written anew for the backend. A POST's query string and form become one list, so that
no backend (nor the proxy in front of Prometheus) finds a second value in the other place.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request

from functions.query.routes import REPEATED, Route
from shared import bodies
from shared.contract import Reason
from shared.errors import Refused

FORM = "application/x-www-form-urlencoded"
MAX_QUERY_STRING = 64 * 1024
MAX_FORM = 1024 * 1024
MAX_FIELDS = 1000
MAX_JSON = 4096

Pairs = list[tuple[str, str]]


async def read(request: Request) -> Pairs:
    """All parameters of the request, in order. Raises Refused: 400, 413, 414, 415."""
    raw: bytes = request.scope["query_string"]
    if len(raw) > MAX_QUERY_STRING:
        raise Refused(Reason.TOO_LARGE, f"query string over {MAX_QUERY_STRING} bytes: send it as a POST form", 414)
    pairs = _parse(raw)
    if request.method != "POST":
        return pairs
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Refused(Reason.MEDIA_TYPE, f"a POST read is a form: Content-Type must be {FORM}", 415)
    return pairs + _parse(await bodies.read(request, MAX_FORM, ()))


async def wanted(request: Request, route: Route) -> Pairs:
    """What the row knows of the request's parameters. Raises as `read` and `select`."""
    return select(await read(request), route.parameters, REPEATED, route.needed)


def select(pairs: Pairs, known: Collection[str], repeated: Collection[str], needed: str) -> Pairs:
    """Those pairs that the row knows. Raises Refused (400) for one that comes twice and may not, and for the needed one missing."""
    kept = [(name, value) for name, value in pairs if name in known]
    for name, count in Counter(name for name, _ in kept).items():
        if count > 1 and name not in repeated:
            raise Refused(Reason.INVALID, f"parameter {name} comes {count} times")
    if needed and not any(name == needed and value.strip() for name, value in kept):
        raise Refused(Reason.INVALID, f"parameter {needed} is missing")
    return kept


async def json_object(request: Request, otherwise: str = "the body must be a JSON object") -> Mapping[str, Any]:
    """The body of a change; none is an empty object. Raises Refused: 400 (`otherwise` says so of JSON that is no object), 413."""
    body = await bodies.read(request, MAX_JSON, ())
    try:
        given = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise Refused(Reason.INVALID, "the body is not JSON") from error
    if not isinstance(given, dict):
        raise Refused(Reason.INVALID, otherwise)
    return given


def _parse(raw: bytes) -> Pairs:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:  # not ASCII, percent escapes that are no UTF-8, too many fields
        raise Refused(Reason.INVALID, "parameters can't be read: percent-encoded UTF-8 is expected") from error
    if any("\0" in text for pair in pairs for text in pair):
        raise Refused(Reason.INVALID, "parameters can't be read: they hold a NUL character")
    return pairs
