"""The trigger's decisions, without a broker: what becomes an event, what may be committed, what is tried again, what is a dead letter."""

import asyncio
import base64
import itertools
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from localdev.functions import Function
from localdev.trigger import delivery as delivering
from localdev.trigger import events, lane, policy
from localdev.trigger.delivery import Delivery
from localdev.trigger.errands import Errands
from localdev.trigger.events import Event, KafkaHeaders, Record
from localdev.trigger.lane import Lane
from localdev.trigger.offsets import OffsetTracker
from localdev.trigger.policy import Verdict
from localdev.trigger.timer import Timer
from shared import envelope
from shared.contract import EventType, Source, Topic
from shared.tenant import Tenant
from tests import waiting

GOOD: dict[str, bytes | None] = {
    "ce_specversion": b"1.0",
    "ce_id": b"1",
    "ce_source": b"/ingest/otlp",
    "ce_type": b"io.obstack.telemetry.logs.v1",
    "ce_time": b"2026-11-24T10:00:00.123Z",
    "ce_tenantid": b"acme",
    "content-type": b"application/x-protobuf",
}


def record(headers: Mapping[str, bytes | None], *, value: bytes | None = b"\x00\xff", key: bytes | None = b"key") -> Record:
    """A record at offset 7 of partition 3."""
    return Record("telemetry.logs", 3, 7, 1_700_000_000_123, key, value, tuple(headers.items()))


# Record → event


def test_cloud_event_is_passed_as_it_is() -> None:
    """Attributes, media type and bytes; where it lay is added, the key and other Kafka headers are not."""
    event = events.from_record(record(GOOD | {"x-request-id": b"9"}), "/source")
    assert event.body == b"\x00\xff"
    assert event.headers == {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/ingest/otlp",
        "ce-type": "io.obstack.telemetry.logs.v1",
        "ce-time": "2026-11-24T10:00:00.123Z",
        "ce-tenantid": "acme",
        "ce-knativekafkapartition": "3",
        "ce-knativekafkaoffset": "7",
        "content-type": "application/x-protobuf",
    }


def test_what_ingest_publishes_is_an_event() -> None:
    """The two ends of the envelope agree on what goes between them."""
    tenant = Tenant(id="018f3f3e-0000-7000-8000-000000000001", token_id="t", scopes=frozenset())
    sent = envelope.new(tenant, EventType.LOGS, Source.OTLP, Topic.LOGS, b"batch", key=envelope.key_of(tenant.id, b""))
    headers = {name: value.encode() if isinstance(value, str) else value for name, value in envelope.kafka_headers(sent)}
    event = events.from_record(record(headers, value=sent.value), "/source")
    received = envelope.from_event(event.headers, event.body)
    assert {**dict(received.extensions)} == {"knativekafkapartition": "3", "knativekafkaoffset": "7"}
    assert (received.id, received.tenant_id, received.key, received.value) == (sent.id, sent.tenant_id, sent.key, b"batch")
    assert event.key == sent.key


@pytest.mark.parametrize(
    "fault",
    [
        {"ce_specversion": None},
        {"ce_specversion": b"0.3"},
        {"ce_id": b""},
        {"ce_type": None},
        {"ce_source": b"not a uri"},
        {"ce_time": b"yesterday"},
        {"ce_subject": b""},
        {"ce_tenant_id": b"x"},
        {"ce_": b"x"},
        {"ce_tenantid": b"a\r\nce-tenantid: b"},
        {"ce_tenantid": b"\xff"},
        {"ce_tenantid": None},
    ],
)
def test_anything_else_is_wrapped(fault: dict[str, bytes | None]) -> None:
    """One attribute missing or misnamed, and KafkaSource hands the record over as an event of its own; no header can be smuggled in by a value."""
    event = events.from_record(record(GOOD | fault), "/source")
    assert event.headers["ce-type"] == "dev.knative.kafka.event"
    assert event.headers["ce-source"] == "/source#telemetry.logs"
    assert (event.headers["ce-id"], event.headers["ce-subject"]) == ("partition:3/offset:7", "partition:3#7")
    assert (event.headers["ce-key"], event.headers["ce-partitionkey"]) == ("key", "key")
    assert event.headers["ce-time"] == "2023-11-14T22:13:20.123Z"
    assert event.headers["content-type"] == "application/x-protobuf"
    assert event.body == b"\x00\xff"
    assert all("\n" not in value for value in event.headers.values())


def test_wrapped_record_keeps_its_headers() -> None:
    """Under names that are attribute names; a missing required attribute is missing altogether here."""
    event = events.from_record(record({"X-Request-Id": b"9", "Content-Type": b"text/plain", "ce_id": b"1"}, key=None, value=None), "/source")
    assert event.headers["ce-kafkaheaderxrequestid"] == "9"
    assert event.headers["ce-kafkaheaderceid"] == "1"
    assert event.headers["content-type"] == "text/plain"
    assert "ce-key" not in event.headers
    assert event.body == b""


def test_event_without_data_is_an_event() -> None:
    """A null value with good headers."""
    assert events.from_record(record(GOOD, value=None), "/source").headers["ce-type"] == "io.obstack.telemetry.logs.v1"


def test_dead_letter_says_who_refused_and_how() -> None:
    """The event's own headers, KafkaSource's error attributes, and what the function said in Kne- headers."""
    event = Event({"ce-id": "1", "ce-partitionkey": "k", "content-type": "a/b"}, b"x")
    answer = [("Kne-Reason", "not_an_event"), ("kne-bad_name", "x"), ("Content-Type", "text/plain")]
    headers = dict(events.dead_letter_headers(event, "http://sink/", 422, answer, b"e" * 2000))
    assert headers == {
        "ce_id": b"1",
        "ce_partitionkey": b"k",
        "ce_knativeerrordest": b"http://sink/",
        "ce_knativeerrorcode": b"422",
        "ce_knativeerrordata": base64.b64encode(b"e" * 1024),
        "ce_reason": b"not_an_event",
        "content-type": b"a/b",
    }


# Offsets


def test_nothing_beyond_a_gap_is_committable() -> None:
    """In whatever order records are done."""
    for order in itertools.permutations([3, 4, 7, 9]):
        tracker, done = OffsetTracker(), set()
        for offset in (3, 4, 7, 9):
            tracker.received(offset)
        for offset in order:
            tracker.done(offset)
            done.add(offset)
            first_open = next((offset for offset in (3, 4, 7, 9) if offset not in done), 10)
            before = [offset for offset in (3, 4, 7, 9) if offset < first_open]
            assert tracker.committable == (before[-1] + 1 if before else None)


def test_latest_errand_counts() -> None:
    """Of a partition that is gone, none does."""
    errands, a, b = Errands(), ("t", 0), ("t", 1)
    errands.store(a, 1)
    errands.store(a, 2)
    errands.store(b, 5)
    errands.pause(a)
    errands.resume(a)
    errands.pause(b)
    errands.forget([b])
    taken = errands.take()
    assert (taken.offsets, taken.pauses) == ({a: 2}, {a: False})
    assert not errands.take()


# Policy


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ([200, 202, 204, 299], Verdict.DONE),
        ([404, 408, 409, 429, 500, 502, 503, 504, 599, None], Verdict.RETRY),
        ([301, 302, 304, 400, 401, 403, 405, 410, 413, 415, 422, 431], Verdict.DEAD),
    ],
)
def test_statuses_mean_what_kafkasource_says(statuses: list[int | None], verdict: Verdict) -> None:
    """Its retry table, a redirect counting as a refusal."""
    assert {policy.verdict(status) for status in statuses} == {verdict}


def test_backoff_grows_to_its_cap() -> None:
    """Full jitter: anything from nothing to the bound."""
    assert [policy.delay(retry, 1) for retry in (0, 1, 2, 5, 6, 1000)] == [0.1, 0.2, 0.4, 3.2, 5, 5]
    assert policy.delay(3, 0) == 0


# Lane


class Sink:
    """Where a lane delivers to: remembers, and answers when told to."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.gates: dict[bytes, asyncio.Event] = {}

    async def deliver(self, event: Event, _: asyncio.Event) -> bool:
        """Takes the event once its gate is open."""
        self.begun.append(event.body)
        await self.gates.setdefault(event.body, asyncio.Event()).wait()
        return True

    async def open(self, *bodies: bytes) -> None:
        """Let these through, and see what follows from it."""
        for body in bodies:
            self.gates.setdefault(body, asyncio.Event()).set()
        for _ in range(5):
            await asyncio.sleep(0)


def filled(sink: Sink, in_flight: int, bodies: bytes, failures: list[BaseException] | None = None) -> Lane:
    """A lane with one record a byte, offsets from 0."""
    made = Lane(in_flight, sink.deliver, lambda: None, (failures if failures is not None else []).append)
    for offset, body in enumerate(bodies):
        made.add(offset, Event({}, bytes([body])))
    return made


async def test_ordered_lane_has_one_in_flight() -> None:
    """The next is begun when the one before is done."""
    sink = Sink()
    ordered = filled(sink, 1, b"abc")
    await sink.open(b"c", b"b")
    assert sink.begun == [b"a"]
    await sink.open(b"a")
    assert sink.begun == [b"a", b"b", b"c"]
    assert ordered.committable == 3


async def test_unordered_lane_commits_no_gap() -> None:
    """Several in flight, and the slowest holds the offset."""
    sink = Sink()
    unordered = filled(sink, 2, b"abcd")
    await sink.open()
    assert sink.begun == [b"a", b"b"]
    await sink.open(b"b", b"c")
    assert (sink.begun, unordered.committable) == ([b"a", b"b", b"c", b"d"], None)
    await sink.open(b"a")
    assert (unordered.committable, unordered.in_flight) == (3, 1)
    assert await unordered.close(0) == 3


async def test_closed_lane_waits_and_then_forgets() -> None:
    """Those under way may finish in time; nothing new is begun, and what comes too late doesn't count."""
    sink = Sink()
    closing = filled(sink, 2, b"abc")
    await sink.open()
    end = asyncio.create_task(closing.close(5))
    await sink.open(b"a", b"b", b"c")
    assert await end == 2
    assert sink.begun == [b"a", b"b"]
    late = filled(sink, 1, b"x")
    await sink.open()
    assert await late.close(0.01) is None
    await sink.open(b"x")
    assert (late.committable, late.in_flight) == (None, 0)


async def test_lane_says_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """By records or by bytes, and asks for more only below half."""
    monkeypatch.setattr(lane, "MAX_RECORDS", 4)
    sink = Sink()
    full = filled(sink, 1, b"abcd")
    assert not full.full
    full.add(4, Event({}, b"e"))
    assert full.full
    await sink.open(b"a", b"b", b"c")
    assert (full.full, full.wants_more) == (False, False)
    await sink.open(b"d")
    assert full.wants_more
    full.add(5, Event({}, bytes(lane.MAX_BYTES)))
    assert full.full
    await sink.open(b"e", bytes(lane.MAX_BYTES))
    assert (full.full, full.committable) == (False, 6)


async def test_defect_in_delivery_is_reported() -> None:
    """It must end the process, not leave a partition that silently stands still."""
    failures: list[BaseException] = []

    async def broken(event: Event, closing: asyncio.Event) -> bool:
        raise RuntimeError("defect")

    Lane(1, broken, lambda: None, failures.append).add(0, Event({}, b""))
    for _ in range(5):
        await asyncio.sleep(0)
    assert [str(failure) for failure in failures] == ["defect"]


# Delivery


class Letters:
    """Dead letters in memory, out of reach for the first few times."""

    def __init__(self, outages: int = 0) -> None:
        self.outages = outages
        self.letters: list[tuple[Event, dict[str, Any]]] = []

    async def publish(self, event: Event, headers: KafkaHeaders) -> bool:
        """Whether it is safe."""
        self.letters.append((event, dict(headers)))
        return len(self.letters) > self.outages


SILENCE = 0


@asynccontextmanager
async def function_answering(*statuses: int) -> AsyncIterator[tuple[str, list[tuple[web.BaseRequest, bytes]]]]:
    """A function that answers with these statuses one after another, the last one for ever; and its requests with their bodies."""
    requests: list[tuple[web.BaseRequest, bytes]] = []
    answers = itertools.chain(statuses, itertools.repeat(statuses[-1]))

    async def handle(request: web.BaseRequest) -> web.Response:
        requests.append((request, await request.content.read()))
        status = next(answers)
        if status == SILENCE:
            await asyncio.Event().wait()
        return web.Response(status=status, text="because", headers={"Kne-Reason": "r"})

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", requests
    finally:
        await runner.cleanup()


@asynccontextmanager
async def delivery_to(url: str, letters: Letters, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Delivery]:
    """A delivery that hardly waits before a retry."""
    monkeypatch.setattr(policy, "CAP_SECONDS", 0.001)
    async with aiohttp.ClientSession() as session:
        yield Delivery(Function("sink_test", urlsplit(url).port or 0, (), None), session, letters)


EVENT = Event({"ce-id": "1", "content-type": "application/x-protobuf"}, b"\x00\xff")


async def test_event_is_posted_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the function's root, with the number of the attempt and no header that the client library would like to add."""
    async with function_answering(204) as (url, requests), delivery_to(url, Letters(), monkeypatch) as delivery:
        assert await delivery.deliver(EVENT, asyncio.Event())
        assert await delivery.deliver(Event({}, bytes(3_000_000)), asyncio.Event())
        assert await delivery.deliver(Event({}, b""), asyncio.Event())
    (small, body), (_, big_body), (empty, empty_body) = requests
    assert (small.method, small.path, body) == ("POST", "/", b"\x00\xff")
    assert {name.lower() for name in small.headers} == {"host", "ce-id", "ce-attempts", "content-type", "content-length"}
    assert (len(big_body), empty_body, empty.headers["Content-Length"]) == (3_000_000, b"", "0")
    assert "Content-Type" not in empty.headers


async def test_retried_until_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often, and without a dead letter."""
    letters = Letters()
    async with function_answering(503, 404, 408, 409, 429, 500, 502, 200) as (url, requests), delivery_to(url, letters, monkeypatch) as delivery:
        assert await delivery.deliver(EVENT, asyncio.Event())
    assert (len(requests), letters.letters) == (8, [])
    assert [request.headers["ce-attempts"] for request, _ in requests] == [str(n) for n in range(1, 9)]


async def test_attempts_that_a_record_brings_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead letter's are those of its sink: that it was itself delivered twice tells nobody anything."""
    letters, letter = Letters(), Event({**EVENT.headers, "ce-attempts": "7"}, b"")
    async with function_answering(503, 204, 400) as (url, requests), delivery_to(url, letters, monkeypatch) as delivery:
        assert await delivery.deliver(letter, asyncio.Event())
        assert await delivery.deliver(letter, asyncio.Event())
    assert [request.headers.getall("ce-attempts") for request, _ in requests] == [["7"]] * 3
    assert letters.letters[0][1]["ce_attempts"] == b"7"


@pytest.mark.parametrize("status", [302, 400, 422])
async def test_refused_event_is_a_dead_letter(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once."""
    letters = Letters()
    async with function_answering(status) as (url, requests), delivery_to(url, letters, monkeypatch) as delivery:
        assert await delivery.deliver(EVENT, asyncio.Event())
    ((event, headers),) = letters.letters
    assert (event.body, len(requests)) == (EVENT.body, 1)
    assert (headers["ce_knativeerrorcode"], headers["ce_reason"], headers["ce_attempts"], headers["ce_sink"]) == (
        str(status).encode(),
        b"r",
        b"1",
        b"sink_test",
    )
    assert headers["ce_knativeerrordata"] == base64.b64encode(b"because")


async def test_unburied_event_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the dead letters are out of reach, event and letter are tried again."""
    letters = Letters(outages=2)
    async with function_answering(400) as (url, requests), delivery_to(url, letters, monkeypatch) as delivery:
        assert await delivery.deliver(EVENT, asyncio.Event())
    assert (len(requests), len(letters.letters)) == (3, 3)


async def test_waiting_for_a_retry_ends_on_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and the event is not done; nobody is there to answer."""
    async with delivery_to("http://127.0.0.1:1", Letters(), monkeypatch) as delivery:
        monkeypatch.setattr(policy, "delay", lambda _, __: 1000)
        closing = asyncio.Event()
        task = asyncio.create_task(delivery.deliver(EVENT, closing))
        asyncio.get_running_loop().call_later(0.05, closing.set)
        assert await asyncio.wait_for(task, 5) is False


async def test_silent_function_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time-out says nothing about the event."""
    monkeypatch.setattr(delivering, "REQUEST_SECONDS", 0.05)
    async with function_answering(SILENCE, 204) as (url, requests), delivery_to(url, Letters(), monkeypatch) as delivery:
        assert await delivery.deliver(EVENT, asyncio.Event())
    assert len(requests) >= 2, "on a busy machine the good answer may be late, too"


async def test_retry_loop_logs_seldom(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One line for a hundred tries."""
    caplog.set_level(logging.INFO)
    async with function_answering(*[503] * 100, 204) as (url, requests), delivery_to(url, Letters(), monkeypatch) as delivery:
        assert await delivery.deliver(EVENT, asyncio.Event())
    lines = [line for line in caplog.records if line.name == "trigger"]
    assert (len(requests), len(lines)) == (101, 1)


# Timer


async def test_timer_calls_until_it_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the function answers; that it fails is said once, not each time."""
    async with function_answering(200, 503, 503, 503, 200) as (url, requests), aiohttp.ClientSession() as session:
        async with Timer(url, 0.01, session):
            await waiting.until_so(lambda: len(requests) >= 5, what="five ticks")
        assert [request.method for request, _ in requests[:5]] == ["POST"] * 5
    assert [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING] == ["tick not taken: 503"]


async def test_timer_outlives_a_function_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    async with aiohttp.ClientSession() as session, Timer("http://127.0.0.1:1", 0.001, session):
        await waiting.until_so(lambda: caplog.records, what="the tick that failed is told")
    assert "tick not taken" in caplog.text
