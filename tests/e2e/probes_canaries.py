"""What tenant B has, each part of it marked by a word of its own, and how such a word is found in an answer, however it is encoded.

Two kinds of words. Secrets: no request ever holds one, so one in an answer of A's is a leak, without any thought of echoes. Known words: what an attacker
may have heard of (B's id, a service, a trace id, …); he asks for them, so an answer may repeat what its own request said, and no more.
"""

import base64
import re
from dataclasses import dataclass, field, fields
from secrets import choice, token_hex
from typing import Any
from urllib.parse import unquote
from uuid import uuid4


def word() -> str:
    """One that nobody else has; a good name in every backend and language."""
    return f"zq{token_hex(7)}"


def hex_id(length: int) -> str:
    """A trace's or span's. Its first digit isn't 0, which Tempo would leave out."""
    return choice("123456789abcdef") + token_hex(length // 2)[1:]


def uuid() -> str:
    """A made-up tenant's or token's."""
    return str(uuid4())


@dataclass(frozen=True)
class Known:
    """What the attacker knows of B. A second one, made up, has the same shape: for both each answer must be the same."""

    tenant: str = field(default_factory=uuid)
    token_id: str = field(default_factory=uuid)
    mail: str = field(default_factory=lambda: f"{word()}@b.example")
    service: str = field(default_factory=word)
    metric: str = field(default_factory=word)
    histogram: str = field(default_factory=word)
    label: str = field(default_factory=word)
    value: str = field(default_factory=word)
    text: str = field(default_factory=word)
    span: str = field(default_factory=word)
    trace: str = field(default_factory=lambda: hex_id(32))

    @property
    def words(self) -> dict[str, str]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def twin(self) -> "Known":
        """Nobody's. Only digits are others, so that whoever takes one for a number or a time says the same of both."""
        return Known(**{name: re.sub("[0-9a-f]{4,}", lambda found: "".join(map(_other, found[0])), text) for name, text in self.words.items()})


def _other(digit: str) -> str:
    return choice("123456789") if digit.isdigit() else digit


LOGS = ("body", "log_name", "log_value", "structured_name", "structured_value", "severity_text", "log_scope", "log_resource_name", "log_resource_value")
METRICS = ("metric", "label_name", "label_value", "exemplar_value", "metric_resource_value", "written_metric", "written_label", "written_value")
TRACES = ("span", "span_name", "span_value", "event_name", "event_value", "status", "span_resource_name", "span_resource_value", "span_scope")
HIDDEN = ("service", "tenant_name", "token_name")
IDS = {"trace": 32, "log_span": 16, "span_id": 16, "exemplar_trace": 32, "link_trace": 32}


@dataclass(frozen=True)
class Canaries:
    """Secrets by what they mark. Half of B's records are in the service that the attacker knows, half in one that he doesn't."""

    known: Known = field(default_factory=Known)
    secrets: dict[str, str] = field(
        default_factory=lambda: (
            {name: word() for name in (*(f"log {n}" for n in LOGS), *(f"metric {n}" for n in METRICS), *(f"trace {n}" for n in TRACES))}
            | {name: word() for name in HIDDEN}
            | {name: hex_id(length) for name, length in IDS.items()}
        )
    )


# --- how they are found ---


def forms(text: str) -> set[bytes]:
    """The ways in which an answer could carry it, all in small letters but base64."""
    raw = text.encode()
    found = {raw, raw.hex().encode(), *_base64(raw)}
    found |= {"".join(form.format(byte) for byte in raw).encode() for form in ("%{:02x}", "\\u{:04x}", "\\x{:02x}", "&#x{:x};", "&#{};")}
    found |= {text.encode("utf-16-le"), raw[::-1]}
    plain = text.replace("-", "")
    if re.fullmatch(r"[0-9a-f]{16}|[0-9a-f]{32}", plain):  # an id, as protobuf has it, and protobuf in JSON
        found |= {plain.encode(), bytes.fromhex(plain), *_base64(bytes.fromhex(plain))}
    return found


def _base64(raw: bytes) -> set[bytes]:
    """What is surely in it, wherever the text begins in what was encoded."""
    found = set()
    for before in range(3):
        certain = base64.b64encode(bytes(before) + raw)[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        found |= {certain, certain.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


class Oracle:
    """Says what of B's is in an answer to A."""

    def __init__(self, canaries: Canaries, **more: str) -> None:
        self._secrets = {name: forms(text) for name, text in (canaries.secrets | more).items()}
        self._known = {name: (text, forms(text)) for name, text in canaries.known.words.items()}

    def leaks(self, answer: bytes, asked: bytes = b"") -> list[str]:
        """Names of the words found. `asked`: the request, whose own known words may come back."""
        said, repeated = (answer, answer.lower()), readings(asked)
        watched = self._secrets | {f"known {name}": ways for name, (text, ways) in self._known.items() if text not in repeated}
        return [name for name, ways in watched.items() if any(way in text for way in ways for text in said)]


def readings(asked: bytes) -> str:
    """A request as it is, and decoded as often as somebody might."""
    once = unquote(text := asked.decode("latin-1").lower(), "latin-1")
    twice = unquote(once, "latin-1")
    return "\n".join([text, once, twice, unquote(twice, "latin-1")])


# --- what is sent ---


def attributes(**pairs: str) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in pairs.items()]


def logs(c: Canaries, nano: int) -> dict[str, Any]:
    """Of both services, and each twice: Loki's volumes leave out a chunk that lasts no time."""
    s = c.secrets
    structured = {"kvlistValue": {"values": attributes(**{s["log structured_name"]: s["log structured_value"]})}}
    record = {
        "severityNumber": 17,
        "severityText": s["log severity_text"],
        "body": {"stringValue": f"{c.known.text} {s['log body']}"},
        "attributes": [*attributes(**{s["log log_name"]: s["log log_value"]}), {"key": "structured", "value": structured}],
        "traceId": c.known.trace,
        "spanId": s["log_span"],
    }
    moments = [{**record, "timeUnixNano": str(nano - back * 10**9)} for back in (0, 20)]
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": attributes(**{"service.name": service, s["log log_resource_name"]: s["log log_resource_value"]})},
                "scopeLogs": [{"scope": {"name": s["log log_scope"]}, "logRecords": moments}],
            }
            for service in (c.known.service, s["service"])
        ]
    }


def metrics(c: Canaries, nano: int) -> dict[str, Any]:
    """A gauge that the attacker knows, one that he doesn't, and a histogram with an exemplar."""
    s, k = c.secrets, c.known
    labels = attributes(**{k.label: k.value, s["metric label_name"]: s["metric label_value"]})
    point = {"timeUnixNano": str(nano), "asDouble": 41, "attributes": labels}
    exemplar = {
        "timeUnixNano": str(nano),
        "asDouble": 0.5,
        "traceId": s["exemplar_trace"],
        "spanId": s["span_id"],
        "filteredAttributes": attributes(exemplar=s["metric exemplar_value"]),
    }
    histogram = {
        "aggregationTemporality": 2,
        "dataPoints": [
            {
                "startTimeUnixNano": str(nano - 10**9),
                "timeUnixNano": str(nano),
                "count": "1",
                "sum": 0.5,
                "bucketCounts": ["1", "0"],
                "explicitBounds": [1],
                "attributes": labels,
                "exemplars": [exemplar],
            }
        ],
    }
    named = [{"name": name, "gauge": {"dataPoints": [point]}} for name in (k.metric, s["metric metric"])]
    resource = {"attributes": attributes(**{"service.name": k.service, "service.instance.id": "1", "host.name": s["metric metric_resource_value"]})}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [*named, {"name": k.histogram, "histogram": histogram}]}]}]}


def traces(c: Canaries, nano: int) -> dict[str, Any]:
    """A trace that the attacker knows the id of, and one that he doesn't."""
    s, k = c.secrets, c.known
    span = {
        "spanId": s["span_id"],
        "kind": 2,
        "startTimeUnixNano": str(nano),
        "endTimeUnixNano": str(nano + 10**7),
        "attributes": attributes(**{s["trace span_name"]: s["trace span_value"]}),
        "events": [{"timeUnixNano": str(nano), "name": s["trace event_name"], "attributes": attributes(event=s["trace event_value"])}],
        "links": [{"traceId": s["link_trace"], "spanId": s["log_span"]}],
        "status": {"code": 2, "message": s["trace status"]},
    }
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes(**{"service.name": service, s["trace span_resource_name"]: s["trace span_resource_value"]})},
                "scopeSpans": [{"scope": {"name": s["trace span_scope"]}, "spans": [{**span, "traceId": trace, "name": name}]}],
            }
            for service, trace, name in ((k.service, k.trace, k.span), (s["service"], s["trace"], s["trace span"]))
        ]
    }
