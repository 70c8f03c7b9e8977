"""Tenants of the tests' own, each with an administrator and a viewer, made by the commands that a developer has; and data of theirs."""

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from secrets import token_hex
from typing import Any

import cramjam
import httpx2
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, format_span_id, format_trace_id, set_span_in_context

from localdev import tenants, tokens, users
from localdev.demo.customer import Customer
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from tests.waiting import until

LEVELS = (("DEBUG", 5), ("INFO", 9), ("INFO", 9), ("WARN", 13), ("ERROR", 17))

SIGNALS = {"logs", "metrics", "remote-write", "traces", "read"}


@dataclass(frozen=True)
class Person:
    """A log-in."""

    email: str
    password: str


@dataclass(frozen=True)
class Tenant:
    """A customer with his people."""

    name: str
    admin: Person
    viewer: Person


@dataclass(frozen=True)
class Sent:
    """What a tenant has sent. `word` is in every text and name, and nobody else has it."""

    word: str
    trace_id: str
    span_id: str
    records: int

    @property
    def counter(self) -> str:
        return f"orders_{self.word}_total"

    @property
    def gauge(self) -> str:
        return f"temperature_{self.word}"


def new_tenant(kind: str) -> Tenant:
    name = f"{kind} {token_hex(4)}"
    _command(tenants.main, "add", name)
    return Tenant(name, _person(name, "admin"), _person(name, "viewer"))


def new_token(tenant: Tenant) -> str:
    return _secret(_command(tokens.main, "create", "--tenant", tenant.name, "--name", "seed"))


def _person(tenant: str, role: str) -> Person:
    email = f"{role}@{tenant.replace(' ', '-').lower()}.example"
    return Person(email, _secret(_command(users.main, "add", email, "--tenant", tenant, "--role", role, "--generate")))


def _secret(told: str) -> str:
    """The commands show it alone on its line, before they say that it won't be shown again."""
    found = re.search(r"^(\S+)\n\nThis is the only time", told, re.MULTILINE)
    assert found, told
    return found[1]


def _command(run: Callable[[list[str]], int], *arguments: str) -> str:
    """What it tells. In a thread, since Playwright has this one's event loop; not as a program of its own, which would take a second to start."""
    told = StringIO()
    with redirect_stdout(told), redirect_stderr(told), ThreadPoolExecutor(1) as beside:
        code = beside.submit(run, list(arguments)).result()
    assert code == 0, told.getvalue()
    return told.getvalue()


def send_everything(gateway: str, tenant: Tenant) -> Sent:
    """Logs of the last half hour, a trace of two services, a counter by OTLP and a gauge by remote_write; returns when all can be read."""
    token, word = new_token(tenant), token_hex(6)
    post = _Post(gateway, token)
    trace_id, span_id = _trace(gateway, token, word)
    bodies = [f"order {number} of {word} was taken" for number in range(120)]
    post.logs(word, bodies, spread=1700)
    post.logs(word, [f"  the card of {word} was refused", f"<img src=x onerror=alert(1)> {word}"], traceId=trace_id, spanId=span_id)
    sent = Sent(word, trace_id, span_id, len(bodies) + 2)
    post.counter(sent.counter, word)
    post.gauge(sent.gauge)
    httpx2.get(f"{gateway}/query/loki/api/v1/labels", headers={"authorization": f"Bearer {token}"}, timeout=30).raise_for_status()
    eyes = Customer(gateway, {"name": tenant.name, "email": tenant.admin.email, "password": tenant.admin.password, "token": token})
    eyes.log_in()
    try:
        until(lambda: eyes.opensearch(word).count == sent.records, 60, "the records are in OpenSearch")
        until(lambda: eyes.loki(f'{{service_name=~".+"}} |= "{word}"').count == sent.records, 60, "the records are in Loki")
        until(lambda: eyes.prometheus(sent.counter).count and eyes.prometheus(sent.gauge).count, 60, "the metrics are in Prometheus")
        until(lambda: eyes.trace(trace_id).count == 4, 60, "the trace is in Tempo")
        until(lambda: eyes.traces(f"shop-{word}").count, 60, "the trace is found by its service")
    finally:
        eyes.close()
    return sent


class _Post:
    """Sends as one customer."""

    def __init__(self, gateway: str, token: str) -> None:
        self._gateway = gateway
        self._headers = {"authorization": f"Bearer {token}"}

    def logs(self, word: str, bodies: list[str], spread: float = 0.0, more: Mapping[str, str] | None = None, **ids: str) -> None:
        """Records of mixed severity, evenly over the last `spread` seconds. `more`: attributes of each."""
        now = time.time()
        records = []
        for place, body in enumerate(bodies):
            text, number = LEVELS[place % len(LEVELS)] if spread else ("ERROR", 17)
            at = str(int((now - spread * (1 - place / len(bodies))) * 1e9))
            attributes = [{"key": "order.id", "value": {"intValue": str(place)}}, *({"key": key, "value": _text(value)} for key, value in (more or {}).items())]
            records.append({"timeUnixNano": at, "severityText": text, "severityNumber": number, "body": _text(body), "attributes": attributes, **ids})
        self._otlp("logs", {"resourceLogs": [{"resource": _service(f"shop-{word}"), "scopeLogs": [{"logRecords": records}]}]})

    def counter(self, name: str, word: str) -> None:
        now = int(time.time())
        start = str((now - 900) * 10**9)
        points = [
            {
                "startTimeUnixNano": start,
                "timeUnixNano": str(at * 10**9),
                "asDouble": (at - now + 900) * 2,
                "attributes": [{"key": "region", "value": _text(region)}],
            }
            for region in ("north", "south")
            for at in range(now - 600, now + 1, 15)
        ]
        metric = {"name": name, "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": points}}
        self._otlp("metrics", {"resourceMetrics": [{"resource": _service(f"shop-{word}"), "scopeMetrics": [{"metrics": [metric]}]}]})

    def gauge(self, name: str) -> None:
        now, written = int(time.time()), WriteRequest()
        for place, room in enumerate(("cellar", "kitchen", "roof")):
            series = written.timeseries.add()
            series.labels.add(name="__name__", value=name)
            series.labels.add(name="room", value=room)
            for at in range(now - 600, now + 1, 15):
                series.samples.add(value=12 + 5 * place + at % 120 / 40, timestamp=at * 1000)
        packed = bytes(cramjam.snappy.compress_raw(written.SerializeToString()))
        kind = {"content-type": "application/x-protobuf", "content-encoding": "snappy", "x-prometheus-remote-write-version": "0.1.0"}
        httpx2.post(f"{self._gateway}/ingest/prometheus/v1/write", content=packed, headers={**self._headers, **kind}, timeout=30).raise_for_status()

    def _otlp(self, signal: str, batch: dict[str, Any]) -> None:
        httpx2.post(f"{self._gateway}/ingest/otlp/v1/{signal}", json=batch, headers=self._headers, timeout=30).raise_for_status()


def send_logs(gateway: str, token: str, word: str, bodies: list[str], **attributes: str) -> None:
    """Records of now."""
    _Post(gateway, token).logs(word, bodies, more=attributes)


def send_gauge(gateway: str, token: str, name: str) -> None:
    """Some minutes of it, readable when this returns."""
    _Post(gateway, token).gauge(name)
    with httpx2.Client(base_url=gateway, headers={"authorization": f"Bearer {token}"}, timeout=30) as client:
        until(lambda: client.get("/query/prometheus/api/v1/query", params={"query": name}).json()["data"]["result"], 60, "the gauge is in Prometheus")


def _trace(gateway: str, token: str, word: str) -> tuple[str, str]:
    """A request of four spans in two services by OpenTelemetry's SDK; its id and that of the span that failed."""
    exporter = OTLPSpanExporter(f"{gateway}/ingest/otlp/v1/traces", headers={"authorization": f"Bearer {token}"})
    providers = [TracerProvider(resource=Resource({"service.name": f"{name}-{word}"}), shutdown_on_exit=False) for name in ("shop", "bank")]
    shop, bank = (provider.get_tracer("tests") for provider in providers)
    for provider in providers:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    start = time.time_ns() - 10**9
    root = shop.start_span(f"POST /orders {word}", kind=SpanKind.SERVER, start_time=start)
    inside = set_span_in_context(root)
    read = shop.start_span("SELECT stock", inside, SpanKind.CLIENT, start_time=start + 5_000_000)
    read.end(start + 30_000_000)
    call = shop.start_span("POST /charge", inside, SpanKind.CLIENT, start_time=start + 32_000_000)
    charge = bank.start_span("POST /charge", set_span_in_context(call), SpanKind.SERVER, start_time=start + 40_000_000)
    charge.set_attribute("card.kind", "test")
    charge.set_status(Status(StatusCode.ERROR, "the card was refused"))
    charge.add_event("refused", {"reason": "no money"}, start + 90_000_000)
    charge.end(start + 100_000_000)
    call.end(start + 110_000_000)
    root.end(start + 125_000_000)
    for provider in providers:
        provider.shutdown()
    return format_trace_id(root.get_span_context().trace_id), format_span_id(charge.get_span_context().span_id)


def wait_for_usage(gateway: str, person: Person) -> None:
    """Until every signal of the tenant is counted: usage is written some seconds late."""
    with httpx2.Client(base_url=gateway, timeout=30) as client:
        client.post("/query/api/login", json={"email": person.email, "password": person.password}).raise_for_status()
        until(lambda: {row["signal"] for row in client.get("/query/api/usage").json()["usage"]} >= SIGNALS, 60, "usage has every signal")


def _text(text: str) -> dict[str, str]:
    return {"stringValue": text}


def _service(name: str) -> dict[str, Any]:
    return {"attributes": [{"key": "service.name", "value": _text(name)}, {"key": "deployment.environment.name", "value": _text("test")}]}
