"""sink_prom through its ASGI app: what it asks of Prometheus for each type of record, and each of Prometheus' answers."""

import struct
from collections.abc import Iterator

import cramjam
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from starlette.testclient import TestClient

from functions.sink_prom import labels, main, resource, version
from functions.sink_prom.answers import ANSWERS, WRITTEN
from shared.breaker import FAILURES
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request, TimeSeries
from shared.contract import NOBODY, EventType, Reason
from shared.errors import Never
from tests import batches
from tests.backends import Asked, HttpBackend, Says
from tests.edges import Broker

TENANT = "018f2f7e-0000-7000-8000-000000000001"
STALE = struct.unpack("<d", bytes.fromhex("020000000000f07f"))[0]


@pytest.fixture
def client(broker: Broker, backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("PROMETHEUS_URL", backend.url)
    with TestClient(main.app) as client:
        yield client


def deliver(client: TestClient, value: bytes, kind: EventType = EventType.METRICS) -> int:
    record = batches.record(kind, value, TENANT)
    return int(client.post("/", content=value, headers=batches.headers(record)).status_code)


def unsnappy(asked: Asked) -> bytes:
    return bytes(cramjam.snappy.decompress_raw(asked.body))


def test_otlp_goes_with_the_tenant_in_its_resource(client: TestClient, backend: HttpBackend) -> None:
    """The record's bytes, and one more attribute on every resource."""
    assert deliver(client, batches.metrics("m1", "m2")) == 204
    [asked] = backend.asked
    assert (asked.path, asked.headers["content-type"]) == ("/api/v1/otlp/v1/metrics", "application/x-protobuf")
    [found] = ExportMetricsServiceRequest.FromString(asked.body).resource_metrics
    assert {pair.key: pair.value.string_value for pair in found.resource.attributes} == {"tenant_id": TENANT, "service.name": "checkout"}


@pytest.mark.parametrize(
    ("kind", "value", "media_type", "version"),
    [
        (EventType.REMOTE_WRITE_1, batches.series_1("m"), "application/x-protobuf", "0.1.0"),
        (EventType.REMOTE_WRITE_2, batches.series_2("m"), "application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
    ],
)
def test_remote_write_goes_as_it_came_in(client: TestClient, backend: HttpBackend, kind: EventType, value: bytes, media_type: str, version: str) -> None:
    """The version that the customer spoke, compressed again."""
    backend.answer = lambda _: Says(204, headers={WRITTEN: "1"})
    assert deliver(client, value, kind) == 204
    [asked] = backend.asked
    assert asked.path == "/api/v1/write"
    sent = {name: asked.headers[name] for name in ("content-type", "content-encoding", "x-prometheus-remote-write-version")}
    assert sent == {"content-type": media_type, "content-encoding": "snappy", "x-prometheus-remote-write-version": version}
    assert batches.words(kind, unsnappy(asked)) == ["m"]
    assert TENANT.encode() in unsnappy(asked)


@pytest.mark.parametrize("unable", [Says(415, "unsupported"), Says(204)], ids=["says so", "reads it as an empty one"])
def test_receiver_that_does_not_know_2_0_gets_1_0(client: TestClient, backend: HttpBackend, broker: Broker, unable: Says) -> None:
    """The same samples under the same labels, at once, and from then on without asking; a yes to 2.0 has to come with counts."""
    backend.answer = lambda asked: unable if asked.headers["x-prometheus-remote-write-version"] == "2.0.0" else Says(204)
    assert [deliver(client, batches.series_2(word), EventType.REMOTE_WRITE_2) for word in ("m", "n")] == [204, 204]
    assert [asked.headers["x-prometheus-remote-write-version"] for asked in backend.asked] == ["2.0.0", "0.1.0", "0.1.0"]
    assert [asked.headers["content-type"] for asked in backend.asked][1:] == ["application/x-protobuf"] * 2
    for word, asked in zip("mn", backend.asked[1:], strict=True):
        [series] = WriteRequest.FromString(unsnappy(asked)).timeseries
        assert [(label.name, label.value) for label in series.labels] == [("__name__", word), ("tenant_id", TENANT), ("zone", "z1")]
        assert [sample.value for sample in series.samples] == [1.0]
    assert not broker.messages


def test_old_receiver_is_asked_again_after_a_while(client: TestClient, backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been updated."""
    monkeypatch.setattr("functions.sink_prom.receiver.OLD_SECONDS", 0.0)
    backend.script = [Says(415), Says(204)]
    backend.answer = lambda _: Says(204, headers={WRITTEN: "1"})
    assert [deliver(client, batches.series_2("m"), EventType.REMOTE_WRITE_2) for _ in range(2)] == [204, 204]
    assert [asked.headers["x-prometheus-remote-write-version"] for asked in backend.asked] == ["2.0.0", "0.1.0", "2.0.0"]


def test_receiver_that_knows_neither_is_held(client: TestClient, backend: HttpBackend, broker: Broker) -> None:
    """415 to both versions is a matter of settings."""
    backend.answer = lambda _: Says(415)
    assert deliver(client, batches.series_2("m"), EventType.REMOTE_WRITE_2) == 503
    assert not broker.messages


def test_2_0_as_1_0_keeps_all_numbers() -> None:
    """Stale markers, native histograms with both kinds of buckets, and exemplars with their labels."""
    two = Request.FromString(batches.series_2("m"))
    two.symbols.extend(("trace_id", "abc"))
    series = two.timeseries[0]
    series.samples[0].value, series.samples[0].start_timestamp = STALE, 5
    histogram = series.histograms.add(count_int=3, sum=1.5, schema=2, zero_count_int=0, timestamp=9, positive_deltas=[1, -2], reset_hint=2)
    histogram.positive_spans.add(offset=-3, length=2)
    series.histograms.add(count_float=2.5, sum=STALE, schema=-53, custom_values=[1.0, 2.5], positive_counts=[1.0, 1.5], timestamp=10)
    series.exemplars.add(labels_refs=[len(two.symbols) - 2, len(two.symbols) - 1], value=0.5, timestamp=7)
    [one] = WriteRequest.FromString(version.as_1(two.SerializeToString())).timeseries
    assert struct.pack("<d", one.samples[0].value) == struct.pack("<d", STALE)
    assert [old.SerializeToString() for old in one.histograms] == [new.SerializeToString() for new in series.histograms]
    [exemplar] = one.exemplars
    assert ([(label.name, label.value) for label in exemplar.labels], exemplar.value, exemplar.timestamp) == ([("trace_id", "abc")], 0.5, 7)


@pytest.mark.parametrize("value", [b"\xff\xff", Request(timeseries=[TimeSeries(labels_refs=[1])]).SerializeToString()])
def test_2_0_that_cannot_be_read_has_no_1_0(value: bytes) -> None:
    """Any bytes give a request or Never."""
    with pytest.raises(Never):
        version.as_1(value)


def test_unnamed_refusal_needs_a_probe(client: TestClient, backend: HttpBackend, broker: Broker) -> None:
    """A single point that Prometheus never takes must not hold its partition: it takes a point of nobody's right after it, so the point is at fault."""
    backend.answer = lambda asked: Says(200) if b"obstack_sink_probe" in asked.body else Says(500, "something nobody has heard of")
    assert deliver(client, batches.metrics("m")) == 204
    assert [letter.headers["ce_reason"] for letter in broker.messages] == ["refused_by_backend"]
    assert "something nobody has heard of" in broker.messages[0].headers["ce_detail"]
    assert {NOBODY.encode() in asked.body for asked in backend.asked if b"obstack_sink_probe" in asked.body} == {True}


@pytest.mark.parametrize("words", ["write to WAL: ", "no space left on device", "read-only file system", "context canceled", "context deadline exceeded"])
def test_customers_words_are_not_the_storages(client: TestClient, backend: HttpBackend, broker: Broker, words: str) -> None:
    """An answer that repeats them concerns the one who wrote them, and nobody else waits."""
    refusal = Says(500, f"empty data points. {words} is dropped\n")
    backend.answer = lambda asked: Says(200) if b"obstack_sink_probe" in asked.body else refusal
    assert deliver(client, batches.metrics("m")) == 204
    assert [letter.headers["ce_reason"] for letter in broker.messages] == ["refused_by_backend"]


def test_batch_that_cannot_be_encoded_says_nothing_about_prometheus(client: TestClient, backend: HttpBackend, broker: Broker) -> None:
    """It is a dead letter, and the failures in a row go on: else a few of them would keep the breaker closed before a Prometheus that is away."""
    backend.answer = lambda _: Says(503)
    for _ in range(FAILURES):
        assert deliver(client, batches.metrics("m")) == 503
        assert deliver(client, b"\xff\xff", EventType.REMOTE_WRITE_1) == 204
    assert len(broker.messages) == len(backend.asked) == FAILURES
    assert deliver(client, batches.metrics("m")) == 503
    assert len(backend.asked) == FAILURES, "the breaker is open"


def test_unnamed_refusal_that_passes_is_none(client: TestClient, backend: HttpBackend, broker: Broker) -> None:
    """A moment's trouble that Prometheus calls 500."""
    backend.script = [Says(500, "something nobody has heard of")] * 2
    assert deliver(client, batches.metrics("m")) == 204
    assert not broker.messages
    assert len(backend.asked) == 3


_FUTURE = "out of bounds: timestamp is too far in the future"
ROWS = [
    (200, "", 204, None),
    (204, "", 204, None),
    (413, "", 204, "too_large"),
    (400, "too old sample", 204, "out_of_window"),
    (400, _FUTURE, 204, "out_of_window"),
    (400, "out of order sample", 204, "out_of_order"),
    (400, "duplicate sample for timestamp 1795529314133; overrides not allowed: existing 1, new value 2", 204, "out_of_order"),
    (500, 'invalid temporality and type combination for metric "d"', 204, "invalid"),
    (500, "could not get aggregation temporality for n as it has unsupported metric type Empty", 204, "invalid"),
    (500, "cannot convert exponential to native histogram. Scale must be >= -4, was -9", 204, "invalid"),
    (500, "unsupported exemplar value type: 3", 204, "invalid"),
    (500, 'normalization for metric "" resulted in empty name', 204, "invalid"),
    (500, "label name is empty", 204, "invalid"),
    (500, 'label name "__" contains only underscores', 204, "invalid"),
    (500, 'normalization for label name "_" resulted in invalid name "_"', 204, "invalid"),
    (400, "1 observations found: histogram's observation count should equal the number of observations found in the buckets", 204, "invalid"),
    (400, "histogram's observation count is negative", 204, "invalid"),
    (400, "histogram has a bucket whose observation count is negative", 204, "invalid"),
    (400, "histogram has an invalid schema, which must be between -4 and 8", 204, "invalid"),
    (400, "histogram spans specify different number of buckets than provided", 204, "invalid"),
    (400, "histogram custom bounds must be finite", 204, "invalid"),
    (400, "custom buckets: must have zero count of 0", 204, "invalid"),
    (400, "histogram with exponential schema must not have custom bounds", 204, "invalid"),
    (400, 'TimeSeries must contain at least one sample or histogram for series {__name__="s3"}', 204, "invalid"),
    (400, "invalid labels for series, labels {}, duplicated label __name__", 204, "invalid"),
    (400, "invalid metric name or labels, got {}", 204, "invalid"),
    (400, "parsing labels for series [1 77]: outside of symbols table (size 3)", 204, "invalid"),
    (400, "parsing metadata for series [1 2]: outside of symbols table", 204, "invalid"),
    (400, "parsing exemplar for series {}: outside of symbols table", 204, "invalid"),
    (500, "empty labelset: invalid sample", 204, "invalid"),
    (400, "proto: wrong wireType = 2 for field Symbols", 204, "undecodable"),
    (500, "write to WAL: log samples: write data/wal/00000001: no space left on device\n", 503, None),
    (500, "context canceled\n", 503, None),
    (500, "context deadline exceeded\n", 503, None),
    (400, "unexpected EOF", 503, None),
    (500, "something nobody has heard of", 503, None),
    (429, "", 503, None),
    (502, "", 503, None),
    (503, "", 503, None),
    (404, "404 page not found", 503, None),
    (401, "", 503, None),
    (415, "", 503, None),
    (302, "an answer that is in no row", 503, None),
]


@pytest.mark.parametrize(("status", "message", "answered", "reason"), ROWS)
def test_each_answer_has_its_outcome(
    client: TestClient, backend: HttpBackend, broker: Broker, status: int, message: str, answered: int, reason: str | None
) -> None:
    """A single point, and each answer of the table: done, later, or a dead letter with a reason."""
    backend.answer = lambda _: Says(status, message)
    assert deliver(client, batches.metrics("m")) == answered
    assert [letter.headers["ce_reason"] for letter in broker.messages] == ([reason] if reason else [])


def test_each_row_is_tried() -> None:
    """The rows above reach every row of the answer table."""
    reached = [next(row for row in ANSWERS if row.fits(status, message)) for status, message, _, _ in ROWS if status != 302]
    assert [row for row in ANSWERS if row not in reached] == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (EventType.METRICS, batches.metrics("a", "b", "bad", "c")),
        (EventType.REMOTE_WRITE_1, batches.series_1("a", "b", "bad", "c")),
        (EventType.REMOTE_WRITE_2, batches.series_2("a", "b", "bad", "c")),
    ],
)
def test_bad_series_is_alone_in_the_dead_letters(client: TestClient, backend: HttpBackend, broker: Broker, kind: EventType, value: bytes) -> None:
    """Prometheus takes nothing of a refused request; the neighbours get through in the second place, and the dead letter has no label of ours."""
    kept: list[str] = []

    def answer(asked: Asked) -> Says:
        words = batches.words(kind, asked.body if kind is EventType.METRICS else unsnappy(asked))
        if "bad" in words:
            return Says(400, "too old sample")
        kept.extend(words)
        return Says(204, headers={WRITTEN: "1"})

    backend.answer = answer
    assert deliver(client, value, kind) == 204
    assert kept == ["a", "b", "c"]
    [letter] = broker.messages
    assert batches.words(kind, letter.value) == ["bad"]
    assert b"tenant_id" not in letter.value


def test_event_of_another_kind_is_refused(client: TestClient, backend: HttpBackend) -> None:
    """A trigger on the wrong topic shows at once."""
    assert deliver(client, batches.logs("one"), EventType.LOGS) == 400
    assert not backend.asked


# -- the tenant in OTLP -------------------------------------------------------------------------------------------------------------------------------------


def test_only_the_resource_changes() -> None:
    """Everything else in the request is what it was, unknown fields included."""
    before = ExportMetricsServiceRequest.FromString(batches.metrics("a", "b") + batches.metrics("c") + b"\xf8\x01\x07" + b"\xfd\x01abcd" + b"\xf9\x01abcdefgh")
    after = ExportMetricsServiceRequest.FromString(resource.with_tenant(before.SerializeToString(), TENANT))
    assert len(after.resource_metrics) == 2
    for one in after.resource_metrics:
        ours = one.resource.attributes.pop()
        assert (ours.key, ours.value.string_value) == ("tenant_id", TENANT)
    assert after.SerializeToString() == before.SerializeToString()


@pytest.mark.parametrize("size", [0, 1, 70, 126, 127, 128, 16_000, 16_383, 16_384, 300_000])
def test_lengths_of_all_widths(size: int) -> None:
    """A length prefix has one byte more from 128, and again from 16384."""
    value = batches.metrics("x" * size)
    [found] = ExportMetricsServiceRequest.FromString(resource.with_tenant(value, TENANT)).resource_metrics
    assert found.scope_metrics[0].metrics[0].name == "x" * size
    assert len(found.resource.attributes) == 2


def test_resource_that_is_missing_is_made() -> None:
    """A ResourceMetrics without a resource, even an empty one, gets the tenant."""
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add()
    request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    after = ExportMetricsServiceRequest.FromString(resource.with_tenant(request.SerializeToString(), TENANT))
    assert [[pair.key for pair in one.resource.attributes] for one in after.resource_metrics] == [["tenant_id"], ["tenant_id"]]
    assert resource.with_tenant(b"", TENANT) == b""


@pytest.mark.parametrize("value", [b"\x0a", b"\x0a\x05ab", b"\x0a\xff\xff\xff", b"\xff", b"\x0b\x0c", b"\x0d\x00", b"\x09\x00", batches.metrics("m")[:-1]])
def test_bytes_that_end_early_are_refused(value: bytes) -> None:
    """Any bytes give a request or Never."""
    with pytest.raises(Never) as never:
        resource.with_tenant(value, TENANT)
    assert never.value.reason is Reason.UNDECODABLE


# -- the tenant in remote_write -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([("__name__", "m"), ("zone", "z")], [("__name__", "m"), ("tenant_id", TENANT), ("zone", "z")]),
        ([("__name__", "m"), ("tenant_id", "evil"), ("zone", "z")], [("__name__", "m"), ("tenant_id", TENANT), ("zone", "z")]),
        ([("__name__", "m"), ("tenant_id", "evil"), ("tenant_id", "more")], [("__name__", "m"), ("tenant_id", TENANT)]),
        ([("__name__", "tenant_id")], [("__name__", "tenant_id"), ("tenant_id", TENANT)]),
        ([("zone", "z")], [("tenant_id", TENANT), ("zone", "z")]),
        ([], [("tenant_id", TENANT)]),
    ],
)
def test_our_label_takes_the_place_of_theirs(given: list[tuple[str, str]], wanted: list[tuple[str, str]]) -> None:
    """In the order of names, in both versions."""
    one, two = WriteRequest(), Request(symbols=[""])
    series, series_2 = one.timeseries.add(), two.timeseries.add()
    for name, value in given:
        series.labels.add(name=name, value=value)
        two.symbols.extend((name, value))
        series_2.labels_refs.extend((len(two.symbols) - 2, len(two.symbols) - 1))
    [found] = WriteRequest.FromString(labels.with_tenant_1(one.SerializeToString(), TENANT)).timeseries
    assert [(label.name, label.value) for label in found.labels] == wanted
    [found_2] = batches.labels_2(labels.with_tenant_2(two.SerializeToString(), TENANT))
    assert list(found_2.items()) == wanted


def test_numbers_keep_their_bits() -> None:
    """A stale marker is a NaN with a payload; exemplars, histograms, metadata and unknown fields stay as well."""
    one = WriteRequest()
    series = one.timeseries.add()
    series.labels.add(name="__name__", value="m")
    series.samples.add(value=1.0, timestamp=1)
    histogram = series.histograms.add(count_int=3, sum=1.5, schema=2, timestamp=9, positive_deltas=[1, -2])
    histogram.positive_spans.add(offset=-3, length=2)
    series.exemplars.add(value=0.5, timestamp=3).labels.add(name="trace_id", value="abc")
    one.metadata.add(type=1, metric_family_name="m", help="h", unit="s")
    pattern = bytes.fromhex("020000000000f07f")
    value = one.SerializeToString().replace(struct.pack("<d", 1.0), pattern) + b"\xfa\x01\x03new"
    after = labels.with_tenant_1(value, TENANT)
    assert pattern in after
    assert b"\xfa\x01\x03new" in after
    found = WriteRequest.FromString(after)
    assert struct.pack("<d", found.timeseries[0].samples[0].value) == pattern
    del found.timeseries[0].labels[1]
    assert found.SerializeToString() == value


def test_2_0_keeps_all_but_labels() -> None:
    """Symbols keep their places, so that exemplars, metadata and other series still refer to them."""
    two = Request.FromString(batches.series_2("a", "b"))
    two.symbols.extend(("trace_id", "abc", "help"))
    two.timeseries[0].samples[0].value = STALE
    two.timeseries[0].exemplars.add(labels_refs=[6, 7], value=1, timestamp=5)
    two.timeseries[1].metadata.help_ref = 8
    found = Request.FromString(labels.with_tenant_2(two.SerializeToString(), TENANT))
    assert list(found.symbols) == [*two.symbols, "tenant_id", TENANT]
    for series, before in zip(found.timeseries, two.timeseries, strict=True):
        series.labels_refs[:] = before.labels_refs
    del found.symbols[-2:]
    assert found.SerializeToString() == two.SerializeToString()


@pytest.mark.parametrize("refs", [[1], [1, 99], [99, 1], [1, 2, 2**32 - 1]])
def test_label_without_a_symbol_is_refused(refs: list[int]) -> None:
    """Such a series would have no tenant."""
    two = Request(symbols=["", "__name__", "m"])
    two.timeseries.add(labels_refs=refs).samples.add(value=1, timestamp=1)
    with pytest.raises(Never):
        labels.with_tenant_2(two.SerializeToString(), TENANT)


@pytest.mark.parametrize("put", [labels.with_tenant_1, labels.with_tenant_2])
def test_bytes_that_are_no_request_are_refused(put: object) -> None:
    """Any bytes give a request or Never."""
    with pytest.raises(Never):
        put(b"\xff\xff", TENANT)  # type: ignore[operator]
