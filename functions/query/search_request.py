"""A search: the user's parameters, read and checked, and OpenSearch's request that is built of them.

q: words; severity: this and above; service, trace_id: exactly; from, to: times; sort: newest or oldest first; size, cursor: how many, and where the page before
ended; highlight=1, facets=1, timeline=60: what the answer tells besides (`search_answer`), the last two of the first page only.
"""

import base64
import binascii
from dataclasses import dataclass
from secrets import token_hex
from time import time_ns
from typing import Any, Final

import orjson

from functions.query import parameters, times
from functions.query.parameters import Pairs
from functions.query.relay import tenant_uuid
from shared.contract import TENANT_LABEL, Reason
from shared.errors import Refused

KNOWN: Final = frozenset({"q", "severity", "service", "trace_id", "from", "to", "sort", "size", "cursor", "highlight", "facets", "timeline"})
MAX_WORDS, MAX_NAME, MAX_SIZE, MAX_PARTS, MAX_SERVICES, DEFAULT_SIZE, DEFAULT_FROM = 1000, 1024, 500, 200, 20, "100", "now-24h"
MAX_HIGHLIGHTED = 100_000
"""Characters of a body in which words are looked for."""
SEVERITIES: Final = ("trace", "debug", "info", "warn", "error", "fatal")
"""Each is four numbers wide, from 1 on (OpenTelemetry, Logs Data Model, § Severity Fields)."""

_FIELDS = ["body", "service_name", "severity_text", "event_name", "trace_id", "span_id", "attributes", "resource"]
_FLAGS = "AND|OR|NOT|PHRASE|PRECEDENCE|PREFIX|WHITESPACE|ESCAPE"
"""Without FUZZY, NEAR and SLOP: they cost much and surprise whoever searches for a `~`."""
_ORDERS = {"newest": "desc", "oldest": "asc"}
_BY_SEVERITY = {"warnings": {"gte": 13, "lt": 17}, "errors": {"gte": 17}}


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for. Times in nanoseconds since 1970; `parts` of the timeline, 0 for none."""

    words: str
    severity: int
    """The least number; 0 for all."""
    service: str
    trace_id: str
    start: int
    end: int | None
    order: str
    size: int
    after: list[Any] | None
    facets: bool
    parts: int
    now: int
    mark: str
    """What stands around a word that matched, of the tenant's records nowhere else; empty: it isn't asked for."""


def read(pairs: Pairs, days: float) -> Search:
    """Raises Refused (400)."""
    if unknown := sorted({name for name, _ in pairs} - KNOWN):
        raise Refused(Reason.INVALID, f"unknown parameter {unknown[0][:40]!r}: known are {', '.join(sorted(KNOWN))}")
    given, now = dict(parameters.select(pairs, KNOWN, (), "")), time_ns()
    words, service, trace_id = given.get("q", "").strip(), given.get("service", ""), given.get("trace_id", "").lower()
    for name, text, most in (("q", words, MAX_WORDS), ("service", service, MAX_NAME), ("trace_id", trace_id, MAX_NAME)):
        if len(text) > most:
            raise Refused(Reason.INVALID, f"{name} is over {most} characters")
    start = times.parse(given.get("from") or DEFAULT_FROM, now)
    end = times.parse(given["to"], now) if given.get("to") else None
    if end is not None and start > end:
        raise Refused(Reason.INVALID, "from lies after to")
    if (end or now) - start > days * 86400e9:
        raise Refused(Reason.INVALID, f"the time range is over {days:g} days")
    cursor = given.get("cursor")
    return Search(
        words,
        _one_of(given, "severity", {name: 4 * place + 1 for place, name in enumerate(SEVERITIES)}, 0),
        service,
        trace_id,
        start,
        end,
        _one_of(given, "sort", _ORDERS, "desc"),
        _number(given, "size", MAX_SIZE, DEFAULT_SIZE),
        _read_cursor(cursor) if cursor else None,
        facets=_one_of(given, "facets", {"0": False, "1": True}, False) and not cursor,
        parts=0 if cursor else _number(given, "timeline", MAX_PARTS, "0"),
        now=now,
        mark=token_hex(8) if _one_of(given, "highlight", {"0": False, "1": True}, False) else "",
    )


def body(wanted: Search, tenant_id: str) -> dict[str, Any]:
    """The search's body. Facets count what severity and service leave out as well, so these then only choose among what was found."""
    within = {"gte": times.rfc3339(wanted.start), **({"lte": times.rfc3339(wanted.end)} if wanted.end is not None else {})}
    filters: list[dict[str, Any]] = [
        {"term": {TENANT_LABEL: tenant_uuid(tenant_id)}},
        {"range": {"@timestamp": {**within, "format": "strict_date_optional_time_nanos"}}},
    ]
    if wanted.trace_id:
        filters.append({"term": {"trace_id": wanted.trace_id}})
    chosen: list[dict[str, Any]] = [{"range": {"severity_number": {"gte": wanted.severity}}}] if wanted.severity else []
    chosen += [{"term": {"service_name": wanted.service}}] if wanted.service else []
    asked: dict[str, Any] = {
        "query": {"bool": {"filter": filters if wanted.facets else filters + chosen, "must": [_words(wanted.words)] if wanted.words else []}},
        "size": wanted.size,
        "sort": [{name: {"order": wanted.order, "unmapped_type": kind}} for name, kind in (("@timestamp", "date_nanos"), ("record_id", "keyword"))],
        "track_total_hits": 10_000,
    }
    counted = _timeline(wanted) if wanted.parts else {}
    if wanted.facets:
        asked["post_filter"] = {"bool": {"filter": chosen}}
        counted = {"chosen": {"filter": {"bool": {"filter": chosen}}, **({"aggs": counted} if counted else {})}, **_facets()}
    if counted:
        asked["aggs"] = counted
    if wanted.after:
        asked["search_after"] = wanted.after
    if wanted.mark and wanted.words:
        asked["highlight"] = _highlight(wanted.mark)
    return asked


def _words(words: str) -> dict[str, Any]:
    return {"simple_query_string": {"query": words, "fields": _FIELDS, "default_operator": "and", "flags": _FLAGS, "lenient": True}}


def _timeline(wanted: Search) -> dict[str, Any]:
    first, last = wanted.start // 10**6, (wanted.now if wanted.end is None else wanted.end) // 10**6
    step = max(1, -(-(last - first) // wanted.parts))
    counted = {"field": "@timestamp", "fixed_interval": f"{step}ms", "offset": f"{first % step}ms", "min_doc_count": 1}
    return {"timeline": {"date_histogram": counted, "aggs": {kind: {"filter": {"range": {"severity_number": of}}} for kind, of in _BY_SEVERITY.items()}}}


def _facets() -> dict[str, Any]:
    ranges = [{"key": name, "from": 4 * place + 1, "to": 4 * place + 5} for place, name in enumerate(SEVERITIES)]
    services = {"field": "service_name", "size": MAX_SERVICES}
    return {"services": {"terms": services}, "severities": {"range": {"field": "severity_number", "keyed": True, "ranges": ranges}}}


def _highlight(mark: str) -> dict[str, Any]:
    how = {"type": "unified", "number_of_fragments": 0, "require_field_match": False, "max_analyzer_offset": MAX_HIGHLIGHTED}
    return {"pre_tags": [mark], "post_tags": [mark], "fields": {"body": how}}


def _one_of(given: dict[str, str], name: str, values: dict[str, Any], default: Any) -> Any:
    text = given.get(name, "")
    if text and text not in values:
        raise Refused(Reason.INVALID, f"{name} must be one of {', '.join(values)}")
    return values[text] if text else default


def _number(given: dict[str, str], name: str, most: int, default: str) -> int:
    text = given.get(name) or default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and (1 <= int(text) <= most or text == default)):
        raise Refused(Reason.INVALID, f"{name} must be 1 to {most}")
    return int(text)


def _read_cursor(cursor: str) -> list[Any]:
    """The sort values of the last hit of the page before. They only say where to go on; tampering with them reaches nothing new."""
    try:
        values = orjson.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, UnicodeEncodeError, orjson.JSONDecodeError) as error:
        raise Refused(Reason.INVALID, "cursor can't be read: take it from `next` of the page before") from error
    if not (isinstance(values, list) and len(values) == 2 and all(type(v) in (int, str) for v in values)):
        raise Refused(Reason.INVALID, "cursor can't be read: take it from `next` of the page before")
    return values
