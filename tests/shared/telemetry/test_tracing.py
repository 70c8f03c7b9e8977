"""Whose request leaves spans, what goes on with a record, and how spans hang together. The exporter's network edge alone is a fake: spans land in a list."""

import logging
from collections.abc import Iterator
from contextvars import copy_context

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from shared.errors import Later
from shared.telemetry import logs, tracing

PLATFORM = "0198a000-0000-7000-8000-000000000001"
ACME = "0198a000-0000-7000-8000-000000000002"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """All requests are sampled; what has ended is here."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing._Tracing, "ratio", 1.0)
    monkeypatch.setattr(tracing._Tracing, "platform_tenant_id", PLATFORM)
    monkeypatch.setattr(tracing._Tracing, "tracer", provider.get_tracer("test"))
    yield exporter
    tracing._span.set(None)
    logs.trace_id.set("")
    provider.shutdown()


def spans(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def ids(span: ReadableSpan) -> tuple[str, str]:
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def test_one_trace_from_the_customers_span_to_the_backends(exported: InMemorySpanExporter) -> None:
    tracing.came_in("ingest logs", ACME, {"traceparent": SENT}, tracing.dice())
    with tracing.sending("telemetry.logs"):
        carried = tracing.carried(SENT)
    tracing.end(200)

    with tracing.delivering(carried, "telemetry.logs", ACME, "id"), tracing.calling("POST /push", "http://loki") as called:
        tracing.note("http.response.status_code", 204)

    found = spans(exported)
    assert {ids(span)[0] for span in found.values()} == {TRACE}
    assert parent(found["ingest logs"]) == PARENT
    assert parent(found["send telemetry.logs"]) == ids(found["ingest logs"])[1]
    assert carried == f"00-{TRACE}-{ids(found['send telemetry.logs'])[1]}-01"
    assert parent(found["process telemetry.logs"]) == ids(found["send telemetry.logs"])[1]
    assert parent(found["POST /push"]) == ids(found["process telemetry.logs"])[1]
    assert called == f"00-{TRACE}-{ids(found['POST /push'])[1]}-01"
    assert [found[name].kind for name in found] == [SpanKind.PRODUCER, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.CONSUMER]
    assert (found["POST /push"].attributes or {})["http.response.status_code"] == 204


def test_request_without_a_context_begins_a_trace(exported: InMemorySpanExporter) -> None:
    tracing.came_in("ingest logs", ACME, {}, tracing.dice())
    carried = tracing.carried("")
    tracing.end(200)
    assert carried.endswith("-01")
    assert spans(exported)["ingest logs"].parent is None
    assert logs.trace_id.get() == carried[3:35]


def test_the_platforms_own_requests_leave_no_spans(exported: InMemorySpanExporter) -> None:
    """An export would make the spans of the next one."""
    tracing.came_in("ingest traces", PLATFORM, {"traceparent": SENT}, tracing.dice())
    with tracing.sending("telemetry.traces"):
        carried = tracing.carried(SENT)
    tracing.end(200)
    with tracing.delivering(carried, "telemetry.traces", PLATFORM, "id"), tracing.calling("POST", "http://tempo") as called:
        assert not called
    assert carried == f"00-{TRACE}-{PARENT}-00"
    assert not exported.get_finished_spans()


def test_a_customers_flag_makes_no_span(exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a trace id that was made up for it: the dice are thrown here."""
    monkeypatch.setattr(tracing._Tracing, "ratio", 0.0)
    assert not tracing.dice()
    tracing.came_in("ingest logs", ACME, {"traceparent": SENT}, tracing.dice())
    assert tracing.carried(SENT) == f"00-{TRACE}-{PARENT}-00"
    assert logs.trace_id.get() == TRACE
    with tracing.delivering(tracing.carried(SENT), "telemetry.logs", ACME, "id"):
        assert tracing.at_hand() is None
    tracing.end(200)
    assert not exported.get_finished_spans()


def test_as_many_are_sampled_as_the_ratio_says(exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing._Tracing, "ratio", 0.25)
    assert 2_000 < sum(tracing.dice() > 0 for _ in range(10_000)) < 3_000  # ten standard deviations


@pytest.mark.parametrize(
    "hostile",
    [
        "x",
        "00-zz",
        "00-" + "é" * 32 + f"-{PARENT}-01",
        SENT + "\r\nce-tenantid: other",
        SENT + "-x",
        SENT.replace("4", "_"),
        SENT.upper(),
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        "9" * 4000,
    ],
)
def test_malformed_context_is_not_carried_on_and_begins_a_new_trace(hostile: str, exported: InMemorySpanExporter) -> None:
    assert not tracing.carried(hostile)
    tracing.came_in("ingest logs", ACME, {"traceparent": hostile}, tracing.dice())
    tracing.end(400)
    assert spans(exported)["ingest logs"].parent is None
    with tracing.delivering(hostile, "telemetry.logs", ACME, "id"):
        assert tracing.at_hand() is None


@pytest.mark.parametrize(("status", "code"), [(200, StatusCode.UNSET), (429, StatusCode.UNSET), (503, StatusCode.ERROR)])
def test_only_our_own_trouble_is_an_error(status: int, code: StatusCode, exported: InMemorySpanExporter) -> None:
    tracing.came_in("ingest logs", ACME, {}, tracing.dice())
    tracing.end(status)
    span = spans(exported)["ingest logs"]
    assert (span.status.status_code, (span.attributes or {})["http.response.status_code"]) == (code, status)


def test_postponed_delivery_is_an_error_that_says_why(exported: InMemorySpanExporter) -> None:
    with pytest.raises(Later), tracing.delivering(SENT, "telemetry.logs", ACME, "id"):
        raise Later("loki is away")
    span = spans(exported)["process telemetry.logs"]
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "loki is away")
    assert tracing.at_hand() is None


def test_a_shared_request_is_part_of_one_trace_and_linked_to_by_the_others(exported: InMemorySpanExporter) -> None:
    with tracing.delivering(SENT, "first", ACME, "1"):
        first = tracing.at_hand()
    with tracing.delivering(SENT.replace("4", "5"), "second", ACME, "2"):
        second = tracing.at_hand()
        context = tracing.together([None, first, second])
    assert context.run(tracing.at_hand) is first
    assert not context.run(logs.tenant_id.get)
    links = spans(exported)["process second"].links
    assert first is not None
    assert [link.context for link in links] == [first.get_span_context()]
    assert tracing.together([None, None]).run(tracing.at_hand) is None


def test_a_request_that_nobody_ends_is_no_other_requests_parent(exported: InMemorySpanExporter) -> None:
    """Its client is gone: the task ends, and its context with it."""
    copy_context().run(tracing.came_in, "ingest logs", ACME, {}, tracing.dice())
    assert tracing.at_hand() is None


def test_trouble_with_the_exporter_is_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(tracing, "monotonic", lambda: clock[0])
    seldom, record = tracing._Seldom(), logging.makeLogRecord({})
    assert [seldom.filter(record), seldom.filter(record)] == [True, False]
    clock[0] += tracing.COMPLAINT_SECONDS
    assert seldom.filter(record)
