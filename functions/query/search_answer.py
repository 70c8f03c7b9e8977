"""OpenSearch's answer → ours."""

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from functions.query.search_request import SEVERITIES, Search


def page(found: Mapping[str, Any], wanted: Search) -> dict[str, Any]:
    """{"total", "total_exact", "hits", "next", "timeline"}, and with facets "services" and "severities".

    next: the cursor of the page after this one, or None. timeline: [[start in ms, all, warnings, errors], …]. services: [[name, count], …], the most frequent
    first; severities: {"error": count, …}; both of what was found before severity and service chose among it.
    """
    hits, total = found["hits"]["hits"], found["hits"].get("total", {"value": 0, "relation": "eq"})
    counted = found.get("aggregations", {})
    parts = counted.get("chosen", counted).get("timeline", {}).get("buckets", [])
    told: dict[str, Any] = {
        "total": total["value"],
        "total_exact": total["relation"] == "eq",
        "hits": [_hit(hit, wanted.mark) for hit in hits],
        "next": base64.urlsafe_b64encode(orjson.dumps(hits[-1]["sort"])).decode() if len(hits) == wanted.size else None,
        "timeline": [[part["key"], part["doc_count"], part["warnings"]["doc_count"], part["errors"]["doc_count"]] for part in parts],
    }
    if wanted.facets:
        told["services"] = [[bucket["key"], bucket["doc_count"]] for bucket in counted.get("services", {}).get("buckets", [])]
        severities = counted.get("severities", {}).get("buckets", {})
        told["severities"] = {name: severities[name]["doc_count"] if name in severities else 0 for name in SEVERITIES}
    return told


def _hit(hit: Mapping[str, Any], mark: str) -> dict[str, Any]:
    source = hit["_source"]
    number = source.get("severity_number") or 0
    named = SEVERITIES[(number - 1) // 4].upper() if 1 <= number <= 24 else ""
    told = {
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
    return {**told, "highlight": _parts(hit, mark)} if mark else told


def _parts(hit: Mapping[str, Any], mark: str) -> list[tuple[str, bool]]:
    """The body in parts, in order, each with whether it matched: text and no HTML, so that nobody has to take tags apart from a customer's own."""
    body = hit["_source"].get("body") or ""
    marked = "".join(hit.get("highlight", {}).get("body", []))
    parts = [(text, place % 2 == 1) for place, text in enumerate(marked.split(mark))]
    shown = "".join(text for text, _ in parts)
    # OpenSearch leaves out the spaces before the first word, and may leave out the rest beyond the part that was looked through.
    if (start := body.find(shown)) < 0:
        return [(body, False)]
    return [part for part in ((body[:start], False), *parts, (body[start + len(shown) :], False)) if part[0]]
