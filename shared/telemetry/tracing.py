"""W3C trace context, from the customer's request through the topic to the backends, and spans of our own along it: OpenTelemetry's SDK, OTLP/HTTP.

The spans go into this same pipeline, as telemetry of the platform's own tenant (`PLATFORM_TENANT_ID`, whose token is in OTEL_EXPORTER_OTLP_HEADERS). That
tenant's own requests leave none: else each export would make the next one's spans. Whether a request is sampled is thrown by dice where it comes in
(`TRACE_RATIO`): what a customer's own flag says, or a trace id made up for the purpose, must not cost us anything. From there on our flag decides, so a trace
is whole or not there. A trace id that the customer sent is kept. A request that isn't sampled costs a look at a variable, and the SDK is only imported where
OTEL_EXPORTER_OTLP_ENDPOINT is set, on a thread.

Sources: W3C Trace Context 1, § 3.2; OpenTelemetry's semantic conventions for messaging and HTTP; its SDK's environment variables.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context, ContextVar
from enum import Enum
from random import random
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Final

from shared.settings import Settings
from shared.telemetry import logs

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

log = logging.getLogger(__name__)

HEADER: Final = "traceparent"
_FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_SAMPLED: Final = "01"
_EXPORT_SECONDS: Final = 5.0
COMPLAINT_SECONDS: Final = 60.0
"""Between two log lines about spans that couldn't be exported. They are dropped: nothing waits for them."""

_span: ContextVar[Span | None] = ContextVar("span", default=None)
"""The recording span at hand; None in nearly every request."""
_NOTHING: Final = nullcontext("")


class Kind(Enum):
    """What a span is to its parent; names of `opentelemetry.trace.SpanKind`."""

    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class _Tracing:
    """What `configure` sets, once a process."""

    ratio = 0.0
    platform_tenant_id = ""
    tracer: Tracer | None = None
    provider: TracerProvider | None = None


def configure(settings: Settings) -> None:
    """Begin to sample as the settings say, as soon as the SDK is imported; nothing without OTEL_EXPORTER_OTLP_ENDPOINT."""
    _Tracing.ratio, _Tracing.platform_tenant_id = settings.trace_ratio, settings.platform_tenant_id
    if settings.otel_exporter_otlp_endpoint and settings.trace_ratio > 0 and _Tracing.provider is None:
        threading.Thread(target=_open, args=(settings,), name="tracing", daemon=True).start()


def close() -> None:
    """Export what is left, a few seconds at most. Blocking, for a thread."""
    provider, _Tracing.provider, _Tracing.tracer = _Tracing.provider, None, None
    if provider is not None:
        provider.force_flush(int(_EXPORT_SECONDS * 1000))
        provider.shutdown()


def dice() -> int:
    """Whether a request that comes in now is sampled: the time, in ns, or 0."""
    return time_ns() if _Tracing.tracer is not None and random() < _Tracing.ratio else 0  # noqa: S311 no secret


def came_in(what: str, tenant_id: str, headers: Mapping[str, str], began: int) -> None:
    """A customer's request, once it is known whose it is. `began`: what `dice` said at its beginning. `end` ends it."""
    parent = headers.get(HEADER, "")
    if parent and _FORM.fullmatch(parent):
        logs.trace_id.set(parent[3:35])
    else:
        parent = ""
    if began and tenant_id != _Tracing.platform_tenant_id:
        _start(what, Kind.SERVER, parent, {"obstack.tenant.id": tenant_id}, began)


def end(status: int) -> None:
    """End what `came_in` began in this context, if it did. `status`: that of the answer, as in HTTP."""
    if (span := _span.get()) is not None:
        _span.set(None)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            _fail(span, "")
        span.end()


def carried(traceparent: str) -> str:
    """What goes on with a record: the span at hand, else the customer's context with our flag, which is no; empty for a malformed one."""
    if (span := _span.get()) is not None:
        return _traceparent(span)
    return f"{traceparent[:53]}00" if traceparent and _FORM.fullmatch(traceparent) else ""


def delivering(traceparent: str, topic: str, tenant_id: str, record_id: str) -> AbstractContextManager[str]:
    """A sink's work on a record, which carries this context; its flag is ours."""
    if traceparent:
        logs.trace_id.set(traceparent[3:35])
    if not traceparent.endswith(_SAMPLED) or _Tracing.tracer is None or not _FORM.fullmatch(traceparent):
        return _NOTHING
    attributes = {**_messaging(topic), "obstack.tenant.id": tenant_id, "obstack.record.id": record_id}
    return _during(f"process {topic}", Kind.CONSUMER, traceparent, attributes)


def sending(topic: str) -> AbstractContextManager[str]:
    """The publishing of a request's records."""
    return _NOTHING if (span := _span.get()) is None else _during(f"send {topic}", Kind.PRODUCER, _traceparent(span), _messaging(topic))


def calling(what: str, server: str) -> AbstractContextManager[str]:
    """A call to a backend, whose headers get the traceparent that this gives."""
    return _NOTHING if (span := _span.get()) is None else _during(what, Kind.CLIENT, _traceparent(span), {"server.address": server})


def note(name: str, value: str | int) -> None:
    """An attribute of what is at hand."""
    if (span := _span.get()) is not None:
        span.set_attribute(name, value)


def at_hand() -> Span | None:
    """For `together`, when work goes on in another context."""
    return _span.get()


def together(spans: Sequence[Span | None]) -> Context:
    """An empty context for work that is done for several: the span of the first who has one goes along, and the others link to it."""
    context = Context()
    if sampled := [span for span in spans if span is not None]:
        first, *others = sampled
        context.run(_span.set, first)
        for other in others:
            other.add_link(first.get_span_context())
    return context


@contextmanager
def _during(what: str, kind: Kind, parent: str, attributes: Mapping[str, str]) -> Iterator[str]:
    """A span that lasts as long as the block, and is at hand in it; gives its traceparent."""
    before = _span.get()
    span = _start(what, kind, parent, attributes)
    try:
        yield _traceparent(span)
    except Exception as error:
        _fail(span, str(error))
        raise
    finally:
        _span.set(before)
        span.end()


def _messaging(topic: str) -> dict[str, str]:
    return {"messaging.system": "kafka", "messaging.destination.name": topic}


def _open(settings: Settings) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 only where spans are exported
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.util.re import parse_env_headers  # noqa: PLC0415

    for name in (OTLPSpanExporter.__module__, "opentelemetry.sdk._shared_internal"):
        logging.getLogger(name).addFilter(_Seldom())
    provider = TracerProvider(resource=Resource.create({"service.name": settings.function_name, "service.namespace": "obstack"}), shutdown_on_exit=False)
    headers = parse_env_headers(settings.otel_exporter_otlp_headers.get_secret_value(), liberal=True)
    exporter = OTLPSpanExporter(f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces", headers=headers, timeout=_EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _Tracing.provider = provider
    _Tracing.tracer = provider.get_tracer("obstack")


def _start(what: str, kind: Kind, parent: str, attributes: Mapping[str, str], began: int | None = None) -> Span:
    from opentelemetry import trace  # noqa: PLC0415 imported by `_open`, before there is a tracer

    tracer = _Tracing.tracer
    if tracer is None:  # closed meanwhile
        return trace.INVALID_SPAN
    context = None
    if parent:
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        remote = trace.SpanContext(int(parent[3:35], 16), int(parent[36:52], 16), is_remote=True, trace_flags=flags)
        context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    span = tracer.start_span(what, context, trace.SpanKind[kind.value], dict(attributes), start_time=began)
    _span.set(span)
    logs.trace_id.set(f"{span.get_span_context().trace_id:032x}")
    return span


def _fail(span: Span, why: str) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    span.set_status(StatusCode.ERROR, why[:500] or None)


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{_SAMPLED}"


class _Seldom(logging.Filter):
    """Lets one line through a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, _: logging.LogRecord) -> bool:
        if (now := monotonic()) < self._next:
            return False
        self._next = now + COMPLAINT_SECONDS
        return True
