"""OTLP at ingest: bytes → checked bytes. Pure: no I/O, clock, log or setting.

The customer's bytes go on as they came. They are written anew only when something in them had to change: a record was rejected, a log record had no
time at all, or an attribute claimed the tenant's name. Sources: OTLP specification 1.x, § OTLP/HTTP Request, § Partial Success;
opentelemetry-proto logs/v1, metrics/v1, trace/v1.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

from shared.codecs import otlp_json, repeated
from shared.contract import Reason
from shared.errors import Refused

DAY_NS: Final = 86_400 * 10**9
OLDEST_NS: Final = 7 * DAY_NS
NEWEST_NS: Final = 600 * 10**9
"""Log records are taken from 7 days back to 10 minutes ahead: an index is made per day, and a broken clock must not make an index per made-up day."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One signal's request message: `request.<resources>[].<scopes>[].<records>[]`; `keep` tells why a record can't be taken, or None, and may mend it."""

    request: type[Message]
    resources: str
    scopes: str
    records: str
    keep: Callable[[Any, int], str | None]
    count: Callable[[Any], int]
    glance: Callable[[Any, int], int | None]
    """A quick look at a list of records: how many there are (by `count`) if `keep` would take each as it is; None if it takes a closer look to know."""
    ordered: bool = False
    """Whether one sender's batches keep their order: Prometheus takes samples that come out of order, but at a price."""


@dataclass(slots=True)
class Checked:
    """What is left of a request: the bytes to publish, how many records are in them, how many were rejected and why the first was."""

    value: bytes
    spread: bytes | None
    """The first resource: what tells one sender from another. None where order is nothing to anybody."""
    records: int = 0
    rejected: int = 0
    first_index: int = -1
    first_reason: str = ""
    stripped: int = 0
    arrived: int = 0
    """The time in ns since 1970 that log records without any were given; 0 when there were none."""

    def reject(self, count: int, index: int, reason: str) -> None:
        """So many of those that were left are rejected too; the first of all counts."""
        self.records -= count
        self.rejected += count
        if self.first_index < 0:
            self.first_index, self.first_reason = index, reason


def check(shape: Shape, message: Message, value: bytes | None, now: int) -> Checked:
    """Check every record, and mend what can be mended. `value`: the bytes that `message` was parsed from, None if it came as JSON; `now` in ns since 1970."""
    checked = Checked(b"", b"" if shape.ordered else None)
    changed = _keep_good(shape, message, now, checked)
    if value is None:
        value = message.SerializeToString()
    if _CLAIM.search(value):
        checked.stripped = strip_tenant(shape, message)
        changed = changed or checked.stripped > 0
    checked.value = message.SerializeToString() if changed else value
    if shape.ordered:
        for resource in getattr(message, shape.resources)[:1]:
            checked.spread = resource.resource.SerializeToString()
    return checked


def parse(shape: Shape, value: bytes) -> Message:
    """Protobuf → message. Raises Refused."""
    try:
        return shape.request.FromString(value)
    except DecodeError as error:
        raise Refused(Reason.UNDECODABLE, f"the body is not a protobuf {shape.request.__name__}: {error}") from None


def parse_json(shape: Shape, value: bytes) -> Message:
    """OTLP's JSON → message. Raises Refused."""
    return otlp_json.parse(shape.request, value)


def groups(shape: Shape, message: Message) -> Iterator[Any]:
    """Every list of records in the message, in order."""
    for resource in getattr(message, shape.resources):
        for scope in getattr(resource, shape.scopes):
            yield getattr(scope, shape.records)


def _keep_good(shape: Shape, message: Message, now: int, checked: Checked) -> bool:
    """Apply `shape.keep` to every record and take the rejected ones out. Whether the message was changed."""
    changed, index = False, 0
    for records in groups(shape, message):
        before = len(records)
        if (good := shape.glance(records, now)) is not None:
            checked.records += good
            index += before
            continue
        reasons = {position: reason for position, record in enumerate(records) if (reason := shape.keep(record, now)) is not None}
        if reasons:
            changed = True
            if MENDED in reasons.values():
                checked.arrived = now
            if bad := {position: reason for position, reason in reasons.items() if reason != MENDED}:
                _take_out(shape, records, bad, checked, index)
        checked.records += len(records) if shape.count is _one else sum(map(shape.count, records))
        index += before
    return changed


def _take_out(shape: Shape, records: Any, bad: dict[int, str], checked: Checked, index: int) -> None:
    if checked.first_index < 0:
        position, reason = next(iter(bad.items()))
        checked.first_index, checked.first_reason = index + position, reason
    checked.rejected += sum(shape.count(records[position]) for position in bad)
    repeated.keep(records, [record for position, record in enumerate(records) if position not in bad])


MENDED: Final = ""


def _one(_: Any) -> int:
    return 1


def _keep_log(record: Any, now: int) -> str | None:
    time = record.time_unix_nano or record.observed_time_unix_nano
    if not time:
        # Loki would take its own now at each delivery, and a redelivered entry would be a new one.
        record.observed_time_unix_nano = now
        return MENDED
    if time < now - OLDEST_NS:
        return "time is more than 7 days back"
    if time > now + NEWEST_NS:
        return "time is more than 10 minutes ahead"
    return None


# The glances go through the list in C: a third of what a call per record costs.

_TIME: Final = attrgetter("time_unix_nano")


def _glance_at_logs(records: Any, now: int) -> int | None:
    times = sorted(map(_TIME, records))
    # A record without a time counts as 0 here, which is before any window.
    return len(times) if not times or (times[0] >= now - OLDEST_NS and times[-1] <= now + NEWEST_NS) else None


def _keep_span(span: Any, _: int) -> str | None:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "trace_id is not 16 bytes, or all zero"
    if len(span.span_id) != 8 or not any(span.span_id):
        return "span_id is not 8 bytes, or all zero"
    return None


_IDS: Final = attrgetter("trace_id", "span_id")


def _glance_at_spans(spans: Any, _: int) -> int | None:
    if not spans:
        return 0
    trace_ids, span_ids = zip(*map(_IDS, spans), strict=True)
    lengths = set(map(len, trace_ids)), set(map(len, span_ids))
    return len(trace_ids) if lengths == ({16}, {8}) and bytes(16) not in trace_ids and bytes(8) not in span_ids else None


_TEMPORAL: Final = frozenset({"sum", "histogram", "exponential_histogram"})


def _keep_metric(metric: Any, _: int) -> str | None:
    kind = metric.WhichOneof("data")
    if kind in _TEMPORAL and getattr(metric, kind).aggregation_temporality != AGGREGATION_TEMPORALITY_CUMULATIVE:
        return "aggregation temporality is not cumulative, which is all that Prometheus stores"
    return None


def _glance_at_metrics(metrics: Any, _: int) -> int | None:
    points = 0
    for metric in metrics:
        if kind := metric.WhichOneof("data"):
            data = getattr(metric, kind)
            if kind in _TEMPORAL and data.aggregation_temporality != AGGREGATION_TEMPORALITY_CUMULATIVE:
                return None
            points += len(data.data_points)
    return points


def _points(metric: Any) -> int:
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 0


LOGS: Final = Shape(ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records", _keep_log, _one, _glance_at_logs)
METRICS: Final = Shape(ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics", _keep_metric, _points, _glance_at_metrics, ordered=True)
TRACES: Final = Shape(ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans", _keep_span, _one, _glance_at_spans)


# -- the tenant's name ------------------------------------------------------------------------------------------------------------------------------------

_CLAIM: Final = re.compile(rb"tenant[^A-Za-z0-9]+id")
_CLAIM_NAME: Final = re.compile(r"[^A-Za-z0-9]*tenant[^A-Za-z0-9]+id[^A-Za-z0-9]*")


def claims_tenant(name: str) -> bool:
    """Whether an attribute of this name is, or would become at a backend, the label `tenant_id`.

    Prometheus and Loki turn every character outside `[A-Za-z0-9]` into an underscore, so `tenant.id` and `tenant-id` claim it as well.
    """
    return _CLAIM_NAME.fullmatch(name) is not None


def strip_tenant(shape: Shape, message: Message) -> int:
    """Remove every attribute that claims the tenant's name, wherever the message has attributes. How many there were."""
    return sum(_strip(attributes) for attributes in _attribute_lists(shape, message))


def _strip(attributes: Any) -> int:
    kept = [attribute for attribute in attributes if not claims_tenant(attribute.key)]
    if gone := len(attributes) - len(kept):
        repeated.keep(attributes, kept)
    return gone


def _attribute_lists(shape: Shape, message: Message) -> Iterator[Any]:
    for resource in getattr(message, shape.resources):
        yield resource.resource.attributes
        for scope in getattr(resource, shape.scopes):
            yield scope.scope.attributes
            for record in getattr(scope, shape.records):
                yield from _record_attributes(record)


def _record_attributes(record: Any) -> Iterator[Any]:
    """Attributes of a log record; of a span, its events and links; of a metric, its points and their exemplars."""
    kind = record.DESCRIPTOR.name
    if kind == "Metric":
        yield record.metadata
        if data := record.WhichOneof("data"):
            for point in getattr(record, data).data_points:
                yield point.attributes
                for exemplar in getattr(point, "exemplars", ()):
                    yield exemplar.filtered_attributes
        return
    yield record.attributes
    if kind == "Span":
        inner: Iterable[Any] = (*record.events, *record.links)
        for item in inner:
            yield item.attributes
