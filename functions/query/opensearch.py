"""Full text: the search is built from the user's words and numbers; a body or an index name of his is never passed on.

`GET /query/api/logs/search?q=&from=&to=&size=&cursor=&timeline=` → {"total", "total_exact", "hits", "next", "timeline"}, newest first. The index pattern names
the tenant's own indices of any period (UUID, so no prefix of another) and a filter on `tenant_id` says it once more. `timeline=60` counts records in about
60 parts of the time asked for: [[start in ms, all, warnings, errors], …].
"""

import base64
import binascii
import logging
from collections.abc import Mapping
from time import time_ns
from typing import Any

import orjson
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionTimeout, OpenSearchException, TransportError
from starlette.requests import Request
from starlette.responses import Response

from functions.query import answers, parameters, times
from functions.query.relay import tenant_uuid
from shared.contract import LOGS_INDEX, QUERY_PREFIX, TENANT_LABEL, Reason
from shared.errors import Later, Refused
from shared.telemetry import metrics
from shared.upstream import Slow

log = logging.getLogger(__name__)

PATH = f"{QUERY_PREFIX}/api/logs/search"
KNOWN = frozenset({"q", "from", "to", "size", "cursor", "timeline"})
MAX_WORDS, MAX_SIZE, MAX_PARTS, DEFAULT_SIZE, DEFAULT_FROM = 1000, 500, 200, "100", "now-24h"
SECONDS = 30

_FIELDS = ["body", "service_name", "severity_text", "event_name", "trace_id", "span_id", "attributes", "resource"]
_FLAGS = "AND|OR|NOT|PHRASE|PRECEDENCE|PREFIX|WHITESPACE|ESCAPE"
"""Without FUZZY, NEAR and SLOP: they cost much and surprise whoever searches for a `~`."""
_SORT = [{"@timestamp": {"order": "desc", "unmapped_type": "date_nanos"}}, {"record_id": {"order": "desc", "unmapped_type": "keyword"}}]
_BY_SEVERITY = {"warnings": {"gte": 13, "lt": 17}, "errors": {"gte": 17}}
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


def connect(url: str) -> AsyncOpenSearch:
    """A client without retries of its own."""
    logging.getLogger("opensearch").setLevel(logging.CRITICAL)  # it logs every request, failed ones with what the user searched for
    return AsyncOpenSearch(url, timeout=SECONDS, max_retries=0)


async def search(request: Request, client: AsyncOpenSearch, tenant_id: str) -> Response:
    """One page of log records of this tenant. Raises Refused (400), Later (OpenSearch away), Slow (no answer in time)."""
    pairs = await parameters.read(request)
    if unknown := sorted({name for name, _ in pairs} - KNOWN):
        raise Refused(Reason.INVALID, f"unknown parameter {unknown[0][:40]!r}: known are {', '.join(sorted(KNOWN))}")
    given = dict(parameters.select(pairs, KNOWN, (), ""))
    body = build(given, tenant_id, time_ns())
    found = await _ask(client, f"{LOGS_INDEX}{tenant_uuid(tenant_id)}-*", body)
    metrics.QUERIES.labels("opensearch", "2xx").inc()
    return answers.data(page(found, body["size"]))


def build(given: Mapping[str, str], tenant_id: str, now: int) -> dict[str, Any]:
    """The search's body. Raises Refused (400)."""
    words = given.get("q", "").strip()
    if len(words) > MAX_WORDS:
        raise Refused(Reason.INVALID, f"q is over {MAX_WORDS} characters")
    size = _number(given, "size", MAX_SIZE, DEFAULT_SIZE)
    within = {"gte": times.parse(given.get("from") or DEFAULT_FROM, now)}
    if to := given.get("to"):
        within["lte"] = times.parse(to, now)
    if within["gte"] > within.get("lte", within["gte"]):
        raise Refused(Reason.INVALID, "from lies after to")
    written = {bound: times.rfc3339(moment) for bound, moment in within.items()}
    query: dict[str, Any] = {
        "bool": {
            "filter": [{"term": {TENANT_LABEL: tenant_uuid(tenant_id)}}, {"range": {"@timestamp": {**written, "format": "strict_date_optional_time_nanos"}}}],
            "must": [_words(words)] if words else [],
        }
    }
    body = {"query": query, "size": size, "sort": _SORT, "track_total_hits": 10_000}
    if cursor := given.get("cursor"):
        return {**body, "search_after": _read_cursor(cursor)}
    parts = _number(given, "timeline", MAX_PARTS, "0")
    return {**body, "aggs": _timeline(within["gte"], within.get("lte", now), parts)} if parts else body


def page(found: Mapping[str, Any], size: int) -> dict[str, Any]:
    """OpenSearch's answer → ours. `next` is the cursor of the page after this one."""
    hits, total = found["hits"]["hits"], found["hits"].get("total", {"value": 0, "relation": "eq"})
    parts = found.get("aggregations", {}).get("timeline", {}).get("buckets", [])
    more = len(hits) == size
    return {
        "total": total["value"],
        "total_exact": total["relation"] == "eq",
        "hits": [_hit(hit["_source"]) for hit in hits],
        "next": base64.urlsafe_b64encode(orjson.dumps(hits[-1]["sort"])).decode() if more else None,
        "timeline": [[part["key"], part["doc_count"], *(part[kind]["doc_count"] for kind in _BY_SEVERITY)] for part in parts],
    }


def _words(words: str) -> dict[str, Any]:
    return {"simple_query_string": {"query": words, "fields": _FIELDS, "default_operator": "and", "flags": _FLAGS, "lenient": True}}


def _number(given: Mapping[str, str], name: str, most: int, default: str) -> int:
    text = given.get(name) or default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and (1 <= int(text) <= most or text == default)):
        raise Refused(Reason.INVALID, f"{name} must be 1 to {most}")
    return int(text)


def _timeline(start: int, end: int, parts: int) -> dict[str, Any]:
    first, last = start // 10**6, end // 10**6
    step = max(1, -(-(last - first) // parts))
    counted = {"field": "@timestamp", "fixed_interval": f"{step}ms", "offset": f"{first % step}ms", "min_doc_count": 1}
    return {"timeline": {"date_histogram": counted, "aggs": {kind: {"filter": {"range": {"severity_number": of}}} for kind, of in _BY_SEVERITY.items()}}}


def _hit(source: Mapping[str, Any]) -> dict[str, Any]:
    number = source.get("severity_number") or 0
    named = _SEVERITIES[(number - 1) // 4] if 1 <= number <= 24 else ""
    return {
        "timestamp": source.get("@timestamp"),
        "severity": source.get("severity_text") or named,
        "severity_number": number,
        "service": source.get("service_name") or "",
        "body": source.get("body"),
        "trace_id": source.get("trace_id") or "",
        "span_id": source.get("span_id") or "",
        "attributes": source.get("attributes") or {},
        "resource": source.get("resource") or {},
    }


def _read_cursor(cursor: str) -> list[Any]:
    """The sort values of the last hit of the page before. They only say where to go on; tampering with them reaches nothing new."""
    try:
        values = orjson.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, UnicodeEncodeError, orjson.JSONDecodeError) as error:
        raise Refused(Reason.INVALID, "cursor can't be read: take it from `next` of the page before") from error
    if not (isinstance(values, list) and len(values) == len(_SORT) and all(type(v) in (int, str) for v in values)):
        raise Refused(Reason.INVALID, "cursor can't be read: take it from `next` of the page before")
    return values


async def _ask(client: AsyncOpenSearch, index: str, body: dict[str, Any]) -> Mapping[str, Any]:
    # A tenant without a record has no index yet: an empty list, no error.
    params = {"ignore_unavailable": "true", "allow_no_indices": "true", "expand_wildcards": "open"}
    try:
        found: Mapping[str, Any] = await client.search(index=index, body=body, params=params)
    except ConnectionTimeout as error:
        raise _away("timeout", Slow(f"opensearch didn't answer in {SECONDS} s: ask for a shorter time range")) from error
    except TransportError as error:
        if error.status_code == 400:
            raise Refused(Reason.INVALID, "the search has too many words, or a cursor that is not from this search") from error
        raise _away(str(error.status_code), Later("opensearch is not available")) from error
    except OpenSearchException as error:
        raise _away(type(error).__name__, Later("opensearch is not available")) from error
    return found


def _away(why: str, error: Later) -> Later:
    log.warning("opensearch: %s", why)
    metrics.QUERIES.labels("opensearch", "timeout" if isinstance(error, Slow) else "unavailable").inc()
    return error
