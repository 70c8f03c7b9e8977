"""Answers of the real backends to what customers and operators can make happen, and what becomes of it. The answer tables are only as true as these."""

import json
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time_ns
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request as Ask
from urllib.request import urlopen
from uuid import uuid4

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.testclient import TestClient

from localdev.backends.probe import http_ok
from localdev.backends.prometheus import prometheus_binary
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from tests import batches, waiting
from tests.conftest import Stack
from tests.contract.conftest import Rig
from tests.contract.rigs import DAY, Kind, RealPrometheus, get
from tests.edges import Broker

pytestmark = pytest.mark.stack

HOUR = 3600 * 10**9
STALE = bytes.fromhex("020000000000f07f")


def one_log(change: Callable[[Any], None]) -> bytes:
    request = ExportLogsServiceRequest.FromString(batches.logs("bad"))
    change(request.resource_logs[0].scope_logs[0].log_records[0])
    return request.SerializeToString()


def many_attributes(log: Any) -> None:
    for number in range(200):
        log.attributes.add(key=f"k{number}").value.string_value = "v"


def big_attribute(log: Any) -> None:
    log.attributes.add(key="k").value.string_value = "v" * 70_000


def many_resource_attributes() -> bytes:
    request = ExportLogsServiceRequest.FromString(batches.logs("bad", service="s" * 3000))
    return request.SerializeToString()


def one_metric(change: Callable[[Any], None]) -> bytes:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "checkout"
    change(resource.scope_metrics.add().metrics.add(name="bad"))
    return request.SerializeToString()


def delta(metric: Any) -> None:
    metric.sum.aggregation_temporality = 1
    metric.sum.data_points.add(time_unix_nano=time_ns(), as_double=1)


def bad_scale(metric: Any) -> None:
    metric.exponential_histogram.aggregation_temporality = 2
    metric.exponential_histogram.data_points.add(time_unix_nano=time_ns(), scale=-9, count=1).positive.bucket_counts.append(1)


def bad_count(metric: Any) -> None:
    metric.exponential_histogram.aggregation_temporality = 2
    metric.exponential_histogram.data_points.add(time_unix_nano=time_ns(), scale=3, count=9).positive.bucket_counts.append(1)


def nameless(metric: Any) -> None:
    metric.name = ""
    metric.gauge.data_points.add(time_unix_nano=time_ns(), as_double=1)


def nameless_label(metric: Any) -> None:
    metric.gauge.data_points.add(time_unix_nano=time_ns(), as_double=1).attributes.add(key="").value.string_value = "x"


def one_series(change: Callable[[Any], None], *, samples: bool = False) -> bytes:
    request = WriteRequest.FromString(batches.series_1("bad"))
    if not samples:
        del request.timeseries[0].samples[:]
    change(request.timeseries[0])
    return request.SerializeToString()


def one_series_2(change: Callable[[Any], None], *, samples: bool = False) -> bytes:
    request = Request.FromString(batches.series_2("bad"))
    if not samples:
        del request.timeseries[0].samples[:]
    change(request.timeseries[0])
    return request.SerializeToString()


def bad_histogram(series: Any) -> None:
    series.histograms.add(count_int=5, sum=1, schema=0, timestamp=time_ns() // 10**6)


def one_span(change: Callable[[Any], None]) -> bytes:
    request = ExportTraceServiceRequest.FromString(batches.traces("bad"))
    change(request.resource_spans[0].scope_spans[0].spans[0])
    return request.SerializeToString()


def ids(*, trace: bytes, span: bytes) -> Callable[[Any], None]:
    def change(one: Any) -> None:
        one.trace_id, one.span_id = trace, span

    return change


DEAD = [
    ("loki", "too old", lambda now: batches.logs("bad", at=now - 30 * DAY), "out_of_window"),
    ("loki", "too new", lambda now: batches.logs("bad", at=now + DAY), "out_of_window"),
    ("loki", "too long", lambda _: batches.logs("y" * 300_000), "too_large"),
    ("loki", "many attributes", lambda _: one_log(many_attributes), "too_large"),
    ("loki", "big attribute", lambda _: one_log(big_attribute), "too_large"),
    ("loki", "long label", lambda _: many_resource_attributes(), "refused_by_backend"),
    ("prom-otlp", "too old", lambda now: batches.metrics("bad", at=now - 5 * DAY), "out_of_window"),
    ("prom-otlp", "too new", lambda now: batches.metrics("bad", at=now + 7 * HOUR), "out_of_window"),
    ("prom-otlp", "delta", lambda _: one_metric(delta), "invalid"),
    ("prom-otlp", "bad scale", lambda _: one_metric(bad_scale), "invalid"),
    ("prom-otlp", "bad count", lambda _: one_metric(bad_count), "invalid"),
    ("prom-otlp", "no data", lambda _: one_metric(lambda _: None), "invalid"),
    ("prom-otlp", "no name", lambda _: one_metric(nameless), "invalid"),
    ("prom-otlp", "no label name", lambda _: one_metric(nameless_label), "invalid"),
    ("prom-rw1", "too old", lambda now: batches.series_1("bad", at=now - 5 * DAY), "out_of_window"),
    ("prom-rw1", "too new", lambda now: batches.series_1("bad", at=now + 7 * HOUR), "out_of_window"),
    ("prom-rw1", "bad histogram", lambda _: one_series(bad_histogram), "invalid"),
    ("prom-rw2", "too old", lambda now: batches.series_2("bad", at=now - 5 * DAY), "out_of_window"),
    ("prom-rw2", "bad histogram", lambda _: one_series_2(bad_histogram), "invalid"),
    ("prom-rw2", "no sample", lambda _: one_series_2(lambda _: None), "invalid"),
    ("prom-rw2", "label twice", lambda _: one_series_2(lambda s: s.labels_refs.extend(s.labels_refs[:2]), samples=True), "invalid"),
    ("prom-rw2", "no name", lambda _: one_series_2(lambda s: s.labels_refs.__delitem__(slice(0, 2)), samples=True), "invalid"),
    ("prom-rw2", "no symbol", lambda _: one_series_2(lambda s: s.labels_refs.extend((77, 78)), samples=True), "invalid"),
    ("tempo", "short trace id", lambda _: one_span(ids(trace=b"short", span=b"12345678")), "undecodable"),
    ("tempo", "no trace id", lambda _: one_span(ids(trace=b"", span=b"12345678")), "invalid"),
    ("tempo", "short span id", lambda _: one_span(ids(trace=b"1" * 16, span=b"12")), "undecodable"),
    ("opensearch", "time after 2262", lambda _: batches.logs("bad", at=2**63 + 10**9), "invalid"),
    ("opensearch", "unreadable", lambda _: b"\xff\xff", "undecodable"),
]


@pytest.mark.parametrize(("kind", "value", "reason"), [pytest.param(k, v, r, id=f"{k}: {n}") for k, n, v, r in DEAD], indirect=["kind"])
def test_what_a_backend_will_never_take(real: Rig, value: Callable[[int], bytes], reason: str) -> None:
    """A dead letter with a reason, the batch's own bytes, and 204."""
    # Too old is a matter of what is there: an empty Prometheus takes any past.
    assert real.deliver(real.record(time_ns(), "now")) == 204
    record = batches.record(real.kind.type, value(time_ns()), real.tenant_id)
    assert real.deliver(record) == 204
    [letter] = real.broker.messages
    assert (letter.headers["ce_reason"], letter.value) == (reason, record.value)


@pytest.mark.parametrize("kind", ["loki"], indirect=True)
def test_late_entry_is_taken(real: Rig) -> None:
    """A backlog, a partition that lagged: Loki is set up to take what is behind the newest entry of its stream."""
    now = time_ns()
    assert real.deliver(real.record(now, "new")) == 204
    assert real.deliver(batches.record(real.kind.type, batches.logs("near", at=now - HOUR // 2), real.tenant_id)) == 204
    assert real.deliver(batches.record(real.kind.type, batches.logs("far", at=now - 30 * HOUR), real.tenant_id)) == 204
    assert not real.broker.messages
    waiting.until(lambda: real.found() == ["near", "new"])


@pytest.mark.parametrize("kind", ["prom-otlp", "prom-rw1", "prom-rw2"], indirect=True)
def test_equal_sample_is_no_fault_and_another_value_is(real: Rig) -> None:
    """Within the window: older samples are taken, equal ones are one, and two values for one moment can't be."""
    make = {"prom-otlp": batches.metrics, "prom-rw1": batches.series_1, "prom-rw2": batches.series_2}[real.kind.name]
    now = time_ns()

    def send(at: int, value: float) -> int:
        return real.deliver(batches.record(real.kind.type, make("m", at=at, value=value), real.tenant_id))

    assert [send(now, 1), send(now, 1), send(now - 60 * 10**9, 2), send(now - 60 * 10**9, 2), send(now, 1)] == [204] * 5
    assert not real.broker.messages
    assert send(now, 7) == 204
    assert [letter.headers["ce_reason"] for letter in real.broker.messages] == ["out_of_order"]
    assert real.found() == ["m", "m"]


# -- tenancy ------------------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["prom-otlp"], indirect=True)
def test_otlp_series_all_carry_the_tenant(real: Rig) -> None:
    """Also those without a resource, target_info, and histograms' many series; Prometheus merges the resource that we add."""
    now = time_ns()
    request = ExportMetricsServiceRequest()
    with_resource = request.resource_metrics.add()
    with_resource.resource.attributes.add(key="service.name").value.string_value = "checkout"
    with_resource.resource.attributes.add(key="os.type").value.string_value = "linux"
    metric: Any = with_resource.scope_metrics.add().metrics.add(name="latency")
    metric.histogram.aggregation_temporality = 2
    metric.histogram.data_points.add(time_unix_nano=now, count=1, sum=1, bucket_counts=[1, 0], explicit_bounds=[1])
    request.resource_metrics.add().scope_metrics.add().metrics.add(name="bare").gauge.data_points.add(time_unix_nano=now, as_double=1)
    assert real.deliver(batches.record(real.kind.type, request.SerializeToString(), real.tenant_id)) == 204
    found = series(real, f'{{tenant_id="{real.tenant_id}"}}')
    assert {one["__name__"] for one in found} == {"latency_bucket", "latency_count", "latency_sum", "bare", "target_info"}
    assert [one["os_type"] for one in found if one["__name__"] == "target_info"] == ["linux"]


@pytest.mark.parametrize("kind", ["prom-otlp", "prom-rw1", "prom-rw2"], indirect=True)
def test_customers_own_tenant_is_replaced(real: Rig) -> None:
    """Whoever writes another's id writes to himself."""
    victim = str(uuid4())
    if real.kind.name == "prom-otlp":
        request = ExportMetricsServiceRequest.FromString(batches.metrics("m"))
        request.resource_metrics[0].resource.attributes.add(key="tenant_id").value.string_value = victim
        value = request.SerializeToString()
    elif real.kind.name == "prom-rw1":
        value = one_series(lambda s: s.labels.add(name="tenant_id", value=victim), samples=True)
    else:
        request_2 = Request.FromString(batches.series_2("m"))
        request_2.symbols.extend(("tenant_id", victim))
        request_2.timeseries[0].labels_refs.extend((len(request_2.symbols) - 2, len(request_2.symbols) - 1))
        value = request_2.SerializeToString()
    assert real.deliver(batches.record(real.kind.type, value, real.tenant_id)) == 204
    assert series(real, f'{{tenant_id="{victim}"}}') == []
    assert len(real.found()) == 1
    # Ingest takes such an attribute out of OTLP, where target_info would show both values as one; labels of remote_write are this sink's alone.


@pytest.mark.parametrize("kind", ["loki", "opensearch"], indirect=True)
def test_two_tenants_same_words(real: Rig) -> None:
    """Each finds his own."""
    other = Rig(real.kind, real.client, real.broker, real.backend)
    assert [real.deliver(real.record(time_ns(), "mine")), other.deliver(other.record(time_ns(), "theirs"))] == [204, 204]
    waiting.until(lambda: (real.found(), other.found()) == (["mine"], ["theirs"]))


# -- numbers ------------------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["prom-rw1", "prom-rw2"], indirect=True)
def test_stale_marker_ends_the_series(real: Rig) -> None:
    """A NaN with Prometheus' payload is understood; one without it would be shown as a value."""
    now = time_ns()
    make = {"prom-rw1": batches.series_1, "prom-rw2": batches.series_2}[real.kind.name]
    assert real.deliver(batches.record(real.kind.type, make("m", at=now - 10**9), real.tenant_id)) == 204
    assert len(series(real, f'm{{tenant_id="{real.tenant_id}"}}')) == 1
    stale = make("m", at=now, value=12.5).replace(struct.pack("<d", 12.5), STALE)
    assert real.deliver(batches.record(real.kind.type, stale, real.tenant_id)) == 204
    assert series(real, f'm{{tenant_id="{real.tenant_id}"}}') == []


@pytest.mark.parametrize("kind", ["prom-rw1", "prom-rw2"], indirect=True)
def test_native_histogram_arrives(real: Rig) -> None:
    """Buckets and all."""

    def change(one: Any) -> None:
        histogram = one.histograms.add(count_int=3, sum=4.5, schema=0, timestamp=time_ns() // 10**6, positive_deltas=[1, 1])
        histogram.positive_spans.add(offset=0, length=2)

    value = {"prom-rw1": one_series, "prom-rw2": one_series_2}[real.kind.name](change)
    assert real.deliver(batches.record(real.kind.type, value, real.tenant_id)) == 204
    query = urlencode({"query": f'histogram_count({{tenant_id="{real.tenant_id}"}})'})
    [found] = get(f"{real.backend.address}/api/v1/query?{query}")["data"]["result"]
    assert found["value"][1] == "3"


@pytest.fixture
def old_prometheus(stack: Stack, tmp_path: Path) -> Iterator[str]:
    """A real Prometheus that takes remote_write 1.0 only."""
    (tmp_path / "prometheus.yml").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = ["config.file=prometheus.yml", "storage.tsdb.path=data", f"web.listen-address={address}", "web.enable-remote-write-receiver", "log.level=error"]
    only = "web.remote-write-receiver.accepted-protobuf-messages=prometheus.WriteRequest"
    process = subprocess.Popen([prometheus_binary(), *(f"--{flag}" for flag in (*flags, only))], cwd=tmp_path)
    try:
        waiting.until(lambda: http_ok(f"http://{address}/-/ready"), what="Prometheus is ready")
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["prom-rw2"], indirect=True)
def test_2_0_reaches_a_prometheus_that_takes_1_0_only(kind: Kind, old_prometheus: str, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample, a native histogram and a stale marker, under the tenant's label."""
    monkeypatch.setenv(kind.variable, old_prometheus)
    now = time_ns()

    def change(one: Any) -> None:
        one.histograms.add(count_int=3, sum=4.5, schema=0, timestamp=now // 10**6, positive_deltas=[1, 1]).positive_spans.add(offset=0, length=2)

    with TestClient(kind.sink.app) as client:
        rig = Rig(kind, client, broker, RealPrometheus(kind, {"prometheus": old_prometheus}))
        stale = batches.series_2("ended", at=now, value=12.5).replace(struct.pack("<d", 12.5), STALE)
        for value in (batches.series_2("plain", "ended", at=now - 10**9), stale, one_series_2(change)):
            assert rig.deliver(batches.record(kind.type, value, rig.tenant_id)) == 204
        assert not broker.messages
        assert sorted(one["__name__"] for one in series(rig, f'{{tenant_id="{rig.tenant_id}"}}')) == ["bad", "plain"]


# -- OpenSearch ---------------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["opensearch"], indirect=True)
def test_log_with_huge_attributes_is_stored(real: Rig) -> None:
    """Values over Lucene's term limit, long keys, deep nesting, odd keys, a megabyte of body: found by a word of the body."""
    request = ExportLogsServiceRequest.FromString(batches.logs("needle " + "x" * 1_000_000 + " haystack"))
    log = request.resource_logs[0].scope_logs[0].log_records[0]
    log.attributes.add(key="big").value.string_value = "漢" * 50_000
    log.attributes.add(key="k" * 40_000).value.string_value = "v" * 40_000
    for key in ("", ".", "a.", "a..b", " ", "\x00", "=", "tenant_id"):
        log.attributes.add(key=key).value.string_value = "odd"
    nested = log.attributes.add(key="deep").value
    for _ in range(30):
        nested = nested.kvlist_value.values.add(key="漢" * 300).value
    nested.string_value = "v" * 40_000
    log.attributes.add(key="nan").value.double_value = float("nan")
    log.attributes.add(key="big int").value.int_value = 2**63 - 1
    log.attributes.add(key="nothing")
    assert real.deliver(batches.record(real.kind.type, request.SerializeToString(), real.tenant_id)) == 204
    assert not real.broker.messages
    [hit] = found_documents(real, {"match_phrase": {"body": "haystack"}})
    assert len(hit["body"]) > 1_000_000
    assert hit["attributes"]["big"].endswith("[cut]")
    assert hit["tenant_id"] == real.tenant_id
    [_] = found_documents(real, {"term": {"attributes.tenant_id": "odd"}})


@pytest.mark.parametrize("kind", ["opensearch"], indirect=True)
def test_mapping_does_not_grow(real: Rig) -> None:
    """Whatever customers send, the fields are the template's."""
    assert real.deliver(real.record(time_ns(), "a")) == 204
    value = one_log(many_attributes)
    assert real.deliver(batches.record(real.kind.type, value, real.tenant_id)) == 204
    [mapping] = get(f"{real.backend.address}/logs-tenant-{real.tenant_id}-*/_mapping").values()
    assert mapping["mappings"]["dynamic"] == "false"
    assert mapping["mappings"]["properties"]["@timestamp"] == {"type": "date_nanos"}
    assert mapping["mappings"]["properties"]["attributes"] == {"type": "flat_object"}
    assert not any(name.startswith("k1") for name in mapping["mappings"]["properties"])


@pytest.mark.parametrize("kind", ["opensearch"], indirect=True)
@pytest.mark.parametrize("block", ["index.blocks.write", "index.blocks.read_only_allow_delete"])
def test_blocked_index_is_held(real: Rig, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's block, and the one of a disk that is full: later, and no dead letter."""
    monkeypatch.setattr("functions.sink_opensearch.bulk.PAUSES", (0.0,))
    assert real.deliver(real.record(time_ns(), "a")) == 204
    record = real.record(time_ns(), "b")
    index = f"{real.backend.address}/logs-tenant-{real.tenant_id}-*"
    put(f"{index}/_settings", {block: True})
    assert real.deliver(record) == 503
    put(f"{index}/_settings", {block: None})
    assert real.deliver(record) == 204
    assert not real.broker.messages
    assert real.found() == ["a", "b"]


@pytest.mark.parametrize("kind", ["opensearch"], indirect=True)
def test_time_keeps_its_nanoseconds(real: Rig) -> None:
    """Neighbours by one nanosecond are in order."""
    now = time_ns()
    assert real.deliver(batches.record(real.kind.type, batches.logs("second", "first", at=[now + 1, now]), real.tenant_id)) == 204
    hits = found_documents(real, {"match_all": {}}, sort=[{"@timestamp": "asc"}])
    assert [hit["body"] for hit in hits] == ["first", "second"]


def series(real: Rig, selector: str) -> list[dict[str, str]]:
    """Labels of the series that an instant query finds."""
    return [one["metric"] for one in get(f"{real.backend.address}/api/v1/query?{urlencode({'query': selector})}")["data"]["result"]]


def found_documents(real: Rig, query: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    index = f"{real.backend.address}/logs-tenant-{real.tenant_id}-*"
    get(f"{index}/_refresh", method="POST")
    return [hit["_source"] for hit in put(f"{index}/_search", {"query": query, **more}, "POST")["hits"]["hits"]]


def put(url: str, body: dict[str, Any], method: str = "PUT") -> Any:
    request = Ask(url, json.dumps(body).encode(), {"content-type": "application/json"}, method=method)  # noqa: S310 as below
    with urlopen(request, timeout=10) as answer:  # noqa: S310 the stack's own URLs
        return json.loads(answer.read())
