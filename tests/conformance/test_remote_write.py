"""remote_write 1.0 and 2.0, row by row: each names the section of the specification (2.0: rc.4) that asks for it.

Every answer is held to rules besides its row: 204 is empty, a refusal has a text to log, and Written headers, true ones, are on 2.0's answers and no others.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import time_ns
from typing import Any

import pytest
from confluent_kafka import KafkaError
from starlette.testclient import TestClient

from functions.ingest_prom import main
from functions.sink_prom import labels
from shared import tokens
from shared.codecs.compression import snappy
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from tests.conftest import Customer
from tests.edges import Broker, Database

NOW = time_ns() // 1_000_000
STALE = struct.unpack("<d", bytes.fromhex("020000000000f07f"))[0]
TYPE_1 = "application/x-protobuf"
TYPE_2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
WRITTEN = "x-prometheus-remote-write-"

PROTOCOL_1, LABELS_1, RETRIES_1, STALE_1 = "1.0 Protocol", "1.0 Labels", "1.0 Retries & Backoff", "1.0 Stale Markers"
PROTOCOL, ENCODING, TYPE, RESPONSE, HEADERS, PARTIAL, UNSUPPORTED, INVALID, RETRIES, MESSAGE, SYMBOLS, LABELS, SAMPLES, METADATA, EXEMPLARS = (
    f"2.0 {name}"
    for name in (
        "Protocol",
        "Content-Encoding",
        "Content-Type",
        "Response",
        "Required Written Response Headers",
        "Partial Write",
        "Unsupported Request Content",
        "Invalid Samples",
        "Retries & Backoff",
        "Protobuf Message",
        "Symbols",
        "Series Labels",
        "Samples and Histogram Samples",
        "Metadata",
        "Exemplars",
    )
)
FRAMED = b"\xff\x06\x00\x00sNaPpY\x01\x05\x00\x00\x00\x00\x00\x00\x00"


def one(*sets: dict[str, str] | list[tuple[str, str]], time: int = NOW, value: float = 1.0) -> bytes:
    """1.0: a series with a sample for each set of labels."""
    request = WriteRequest()
    for names in sets:
        series = request.timeseries.add()
        for name, text in names.items() if isinstance(names, dict) else names:
            series.labels.add(name=name, value=text)
        series.samples.add(value=value, timestamp=time)
    return request.SerializeToString()


def two(*changes: Callable[[Any, Any], Any]) -> bytes:
    """2.0: a good series with a sample for each change, which is made to it."""
    request = Request(symbols=["", "__name__", "up", "job", "node", "trace_id", "x" * 121])
    for change in changes:
        series = request.timeseries.add(labels_refs=[1, 2, 3, 4])
        series.samples.add(value=1, timestamp=NOW)
        change(series, request)
    return request.SerializeToString()


def good(*_: Any) -> None:
    """No change."""


def native(series: Any, _: Any) -> None:
    series.ClearField("samples")
    series.histograms.add(timestamp=NOW, count_int=3, sum=1, positive_spans=[{"length": 2}], positive_deltas=[1, 1])


def wrong_native(series: Any, request: Any) -> None:
    native(series, request)
    series.histograms[0].count_int = 4


def exemplar(*refs: int) -> Callable[[Any, Any], Any]:
    return lambda series, _: series.exemplars.add(labels_refs=refs, value=1, timestamp=NOW)


UP = {"__name__": "up"}
AGAIN = [*UP.items(), *UP.items()]


@dataclass(frozen=True)
class Row:
    """A request and what has to come of it."""

    section: str
    what: str
    status: int
    value: bytes = b""
    """Is sent as a snappy block unless `body` is given."""
    type: str | None = TYPE_1
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"content-encoding": "snappy"})
    method: str = "POST"
    path: str = "/v1/write"
    written: tuple[int, int, int] = (0, 0, 0)
    """2.0: samples, histograms, exemplars."""
    published: bytes | None = None
    """The record's value; None: nothing is published."""
    says: str = ""
    world: str = ""


def row_1(section: str, what: str, value: bytes, says: str = "", *, published: bytes | None = None) -> Row:
    """1.0: taken as it came, or refused with a reason."""
    return Row(section, what, 400 if says else 204, value, says=says, published=published if says else value)


def row_2(section: str, what: str, value: bytes, written: tuple[int, int, int], says: str = "", *, published: bytes | None = None) -> Row:
    """2.0: the same, and how much was taken."""
    return Row(section, what, 400 if says else 204, value, TYPE_2, written=written, says=says, published=published if says else value)


GOOD = two(good)
ROWS = [
    # -- 1.0 -------------------------------------------------------------------------------------------------------------------------------------------------
    row_1(PROTOCOL_1, "a sample", one(UP)),
    Row(PROTOCOL_1, "framed snappy", 400, body=FRAMED, says="framed"),
    Row(PROTOCOL_1, "not snappy", 400, body=b"\x05abc", says="snappy"),
    Row(PROTOCOL_1, "no body", 400, body=b"", says="snappy"),
    Row(PROTOCOL_1, "declares more than is taken, and is never allocated", 413, body=b"\xff\xff\xff\xff\x0f", says="too_large"),
    Row(PROTOCOL_1, "not protobuf", 400, b"\xff\xff", says="undecodable"),
    Row(PROTOCOL_1, "GET", 405, method="GET", body=b"", says="POST"),
    Row(PROTOCOL_1, "another path", 404, one(UP), path="/v1/read", says="path"),
    Row(PROTOCOL_1, "without a content type, as some senders do", 204, one(UP), None, published=one(UP)),
    row_1(PROTOCOL_1, "time 7 days and more back", one(UP, time=NOW - 8 * 86_400_000), "out_of_window: 1 not taken"),
    row_1(PROTOCOL_1, "time in seconds", one(UP, time=NOW // 1000), "7 days back"),
    row_1(PROTOCOL_1, "time far ahead", one(UP, time=NOW + 3_600_000), "10 minutes ahead"),
    row_1(LABELS_1, "sorted", one({"__name__": "up", "job": "a"})),
    row_1(LABELS_1, "unsorted: Prometheus sorts", one({"job": "a", "__name__": "up"})),
    row_1(LABELS_1, "UTF-8 values", one({"__name__": "up", "job": "größe"})),
    row_1(LABELS_1, "none, which Prometheus drops in silence", one({}), "series 0: it has no labels"),
    row_1(LABELS_1, "no __name__", one({"job": "a"}), "__name__"),
    row_1(LABELS_1, "empty name", one({"": "a", "__name__": "up"}), "no name"),
    row_1(LABELS_1, "empty value", one({"__name__": "up", "job": ""}), "'job' has no value"),
    row_1(LABELS_1, "repeated, which Prometheus drops in silence", one(UP, AGAIN), "'__name__' is there twice", published=one(UP)),
    row_1(LABELS_1, "not UTF-8", one({"__name__": "WRONG"}).replace(b"WRONG", b"WR\xff\xfeG"), "UTF-8"),
    row_1(LABELS_1, "good series of a partly wrong request", one(UP, {}, UP), "1 not taken, the rest was; first series 1", published=one(UP, UP)),
    row_1(STALE_1, "bit for bit", one(UP, value=STALE)),
    row_1(STALE_1, "bit for bit, beside a wrong series", one(UP, {}, value=STALE), "series 1", published=one(UP, value=STALE)),
    Row(RETRIES_1, "broker away", 503, one(UP), world="broker", says="broker"),
    Row(RETRIES_1, "database away, which is no reason for 401", 503, one(UP), world="database"),
    Row(RETRIES_1, "no token", 401, one(UP), world="no token"),
    Row(RETRIES_1, "false token", 401, one(UP), world="false token"),
    # -- 2.0: headers ----------------------------------------------------------------------------------------------------------------------------------------
    row_2(PROTOCOL, "2.0", GOOD, (1, 0, 0)),
    Row(TYPE, "1.0 by name", 204, one(UP), "application/x-protobuf;proto=prometheus.WriteRequest", published=one(UP)),
    Row(
        TYPE,
        "RFC 9110: space, capitals, quotes",
        204,
        GOOD,
        'Application/X-Protobuf; Proto="io.prometheus.write.v2.Request"',
        written=(1, 0, 0),
        published=GOOD,
    ),
    Row(TYPE, "2.0 called 1.0, which is empty by its field numbers", 400, GOOD, says="Content-Type"),
    Row(TYPE, "1.0 called 2.0", 400, one(UP), TYPE_2, says="Content-Type"),
    Row(UNSUPPORTED, "another media type", 415, one(UP), "application/json", says="x-protobuf"),
    Row(UNSUPPORTED, "another message", 415, one(UP), "application/x-protobuf;proto=io.prometheus.write.v3.Request", says="proto="),
    Row(UNSUPPORTED, "decided before decoding", 415, type="text/plain", body=b"garbage", says="x-protobuf"),
    Row(UNSUPPORTED, "another encoding", 415, GOOD, TYPE_2, headers={"content-encoding": "zstd"}, says="snappy"),
    Row(ENCODING, "in capitals", 204, GOOD, TYPE_2, headers={"content-encoding": "Snappy"}, written=(1, 0, 0), published=GOOD),
    # -- 2.0: answers ----------------------------------------------------------------------------------------------------------------------------------------
    row_2(RESPONSE, "nothing but symbols", Request(symbols=[""]).SerializeToString(), (0, 0, 0)),
    Row(HEADERS, "on 400", 400, b"\xff", TYPE_2, says="undecodable"),
    Row(HEADERS, "on 401", 401, GOOD, TYPE_2, world="no token"),
    Row(HEADERS, "on 503", 503, GOOD, TYPE_2, world="broker"),
    row_2(HEADERS, "samples, histograms, exemplars", two(good, native, exemplar(5, 4)), (2, 1, 1)),
    row_2(
        PARTIAL,
        "true counts",
        two(good, lambda s, _: s.labels_refs.append(1), good),
        (2, 0, 0),
        "1 not taken, the rest was; first series 1",
        published=two(good, good),
    ),
    row_2(PARTIAL, "nothing good", two(lambda s, _: s.labels_refs.append(1)), (0, 0, 0), "nothing was"),
    row_2(INVALID, "time 7 days and more back", two(good, lambda s, _: setattr(s.samples[0], "timestamp", 1)), (1, 0, 0), "out_of_window", published=GOOD),
    row_2(INVALID, "time far ahead", two(good, lambda s, _: setattr(s.samples[0], "timestamp", NOW * 2)), (1, 0, 0), "out_of_window", published=GOOD),
    Row(RETRIES, "database away", 503, GOOD, TYPE_2, world="database"),
    # -- 2.0: message ----------------------------------------------------------------------------------------------------------------------------------------
    row_2(MESSAGE, "no labels_refs", two(good, lambda s, _: s.ClearField("labels_refs")), (1, 0, 0), "no labels", published=GOOD),
    row_2(MESSAGE, "neither samples nor histograms", two(good, lambda s, _: s.ClearField("samples")), (1, 0, 0), "neither", published=GOOD),
    row_2(MESSAGE, "exemplars alone", two(good, lambda s, r: (exemplar()(s, r), s.ClearField("samples"))), (1, 0, 0), "neither", published=GOOD),
    row_2(MESSAGE, "both samples and histograms", two(good, lambda s, _: s.histograms.add(timestamp=NOW)), (1, 0, 0), "both", published=GOOD),
    row_2(MESSAGE, "field 6 of earlier drafts", two(lambda s, _: s.MergeFromString(b"\x30\x05")), (1, 0, 0)),
    row_2(MESSAGE, "unknown fields of 2.x", GOOD + b"\xfa\x01\x03new", (1, 0, 0)),
    row_2(SYMBOLS, "first isn't the empty string", GOOD.replace(b"\x22\x00", b"", 1), (0, 0, 0), "first symbol"),
    row_2(SYMBOLS, "none", GOOD[GOOD.index(b"\x2a") :], (0, 0, 0), "first symbol"),
    row_2(SYMBOLS, "reference out of the table", two(good, lambda s, _: s.labels_refs.extend([1, 7])), (1, 0, 0), "pairs", published=GOOD),
    row_2(SYMBOLS, "odd references", two(good, lambda s, _: s.labels_refs.append(1)), (1, 0, 0), "pairs", published=GOOD),
    row_2(LABELS, "unsorted", two(lambda s, _: s.labels_refs.__setitem__(slice(0, 4), [3, 4, 1, 2])), (1, 0, 0)),
    row_2(LABELS, "repeated", two(good, lambda s, _: s.labels_refs.extend([3, 2])), (1, 0, 0), "'job' is there twice", published=GOOD),
    row_2(LABELS, "no __name__", two(good, lambda s, _: s.labels_refs.__setitem__(slice(0, 2), [])), (1, 0, 0), "__name__", published=GOOD),
    row_2(LABELS, "empty name", two(good, lambda s, _: s.labels_refs.__setitem__(2, 0)), (1, 0, 0), "no name", published=GOOD),
    row_2(LABELS, "empty value", two(good, lambda s, _: s.labels_refs.__setitem__(3, 0)), (1, 0, 0), "no value", published=GOOD),
    row_2(SAMPLES, "stale marker bit for bit", two(lambda s, _: setattr(s.samples[0], "value", STALE)), (1, 0, 0)),
    row_2(SAMPLES, "start time", two(lambda s, _: setattr(s.samples[0], "start_timestamp", 1)), (1, 0, 0)),
    row_2(SAMPLES, "native histogram", two(native), (0, 1, 0)),
    row_2(
        SAMPLES,
        "native histogram that isn't one",
        two(good, wrong_native),
        (1, 0, 0),
        "count is 4",
        published=GOOD,
    ),
    row_2(METADATA, "type, help, unit", two(lambda s, _: s.metadata.MergeFromString(b"\x08\x01\x18\x02\x20\x04")), (1, 0, 0)),
    row_2(METADATA, "reference out of the table", two(good, lambda s, _: setattr(s.metadata, "unit_ref", 7)), (1, 0, 0), "metadata", published=GOOD),
    row_2(EXEMPLARS, "with labels", two(exemplar(5, 4)), (1, 0, 1)),
    row_2(EXEMPLARS, "without", two(exemplar()), (1, 0, 1)),
    row_2(EXEMPLARS, "too long, which costs no sample", two(exemplar(5, 6)), (1, 0, 0), "128", published=GOOD),
    row_2(EXEMPLARS, "reference out of the table", two(exemplar(5, 7)), (1, 0, 0), "exemplar", published=GOOD),
]


@pytest.fixture
def client(broker: Broker, database: Database) -> Iterator[TestClient]:
    with TestClient(main.app) as client:
        yield client


def send(client: TestClient, row: Row, token: str) -> Any:
    headers = row.headers | ({"content-type": row.type} if row.type else {}) | ({"authorization": f"Bearer {token}"} if token else {})
    return client.request(row.method, row.path, content=snappy(row.value) if row.body is None else row.body, headers=headers)


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.section}: {row.what}") for row in ROWS])
def test_row(client: TestClient, broker: Broker, database: Database, acme: Customer, row: Row) -> None:
    if row.world == "broker":
        broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    database.down = row.world == "database"
    answer = send(client, row, {"no token": "", "false token": tokens.create()}.get(row.world, acme.token))
    assert answer.status_code == row.status, answer.text
    assert (answer.content == b"") == (row.status == 204)
    assert row.says in answer.text
    written = tuple(
        int(answer.headers[WRITTEN + name]) for name in ("samples-written", "histograms-written", "exemplars-written") if WRITTEN + name in answer.headers
    )
    assert written == (row.written if "v2.Request" in (row.type or "") else ())
    if row.world != "broker":
        assert [message.value for message in broker.messages] == ([] if row.published is None else [row.published] if row.published else [])


@pytest.mark.parametrize(("status", "header"), [(401, "www-authenticate"), (405, "allow"), (503, "retry-after")])
def test_headers_that_go_with_a_status(client: TestClient, broker: Broker, acme: Customer, status: int, header: str) -> None:
    row = next(row for row in ROWS if row.status == status)
    if row.world:
        broker.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    assert send(client, row, "" if status == 401 else acme.token).headers[header]


def test_unsorted_labels_come_through_the_sink_whole() -> None:
    """Section Labels: Prometheus sorts what it gets; our label goes among the others, none is lost."""
    for value in (one({"zone": "z", "__name__": "up", "a": "b"}), one({"zone": "z", "tenant_id": "mine", "__name__": "up", "a": "b"})):
        (series,) = WriteRequest.FromString(labels.with_tenant_1(value, "t")).timeseries
        assert sorted((label.name, label.value) for label in series.labels) == [("__name__", "up"), ("a", "b"), ("tenant_id", "t"), ("zone", "z")]
    value = two(lambda s, _: s.labels_refs.__setitem__(slice(0, 4), [3, 4, 1, 2]))
    request = Request.FromString(labels.with_tenant_2(value, "t"))
    texts = [request.symbols[ref] for ref in request.timeseries[0].labels_refs]
    assert sorted(zip(texts[::2], texts[1::2], strict=True)) == [("__name__", "up"), ("job", "node"), ("tenant_id", "t")]
