"""replay: what waits for a sink goes there by itself, once the sink says yes or no again."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from starlette.testclient import TestClient

from functions.replay import main, queue
from functions.replay.round import Round
from shared import dead_letters, delivery, envelope
from shared.contract import EventType
from shared.dead_letters import PREFIX, WAITING, Place
from shared.errors import Trouble
from shared.object_store import ObjectStore
from shared.settings import Replay
from tests import batches
from tests.backends import Asked, HttpBackend, Says
from tests.s3 import S3, with_store

pytestmark = pytest.mark.stack


@pytest.fixture
def sink(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpBackend]:
    """In the place of sink_loki; takes everything. Nothing waits yet, and what is put off rests for no time."""

    async def clear(store: ObjectStore) -> None:
        await store.delete([one.key async for page in store.pages(WAITING) for one in page])

    with_store(s3, clear)
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(queue, "REST_SECONDS", 0.0)
    with HttpBackend() as backend:
        monkeypatch.setenv("SINK_URLS", json.dumps({"sink_loki": backend.url}))
        yield backend


@pytest.fixture
def client(sink: HttpBackend) -> Iterator[TestClient]:
    with TestClient(main.app) as client:
        yield client


def bury(s3: S3, *words: str, code: str = "503", tenant_id: str | None = None, sink: str = "sink_loki", days: int = 1) -> list[Place]:
    """A letter per word, each a minute younger, as KafkaSource's dead-letter sink gets them; the youngest is stored first."""
    tenant_id, now = tenant_id or str(uuid4()), datetime.now(UTC)
    places: list[Place] = []
    for number, word in reversed(list(enumerate(words))):
        time = (now - timedelta(days=days) + timedelta(minutes=number)).isoformat()
        record = batches.record(EventType.LOGS, batches.logs(word), tenant_id, time=time, id=f"0195{number:04}-0000-7000-8000-{uuid4().hex[:12]}")
        error = {"ce-knativeerrordest": f"http://{sink.replace('_', '-')}.telemetry.svc.cluster.local", "ce-knativeerrorcode": code}
        letter = dead_letters.from_event({**batches.headers(record), **error}, record.value)
        with_store(s3, lambda store, letter=letter: store.put(letter.place.key, letter.body, letter.attributes))  # type: ignore[misc]
        places.insert(0, letter.place)
    return places


def kept(s3: S3, prefix: str) -> dict[Place, dict[str, str]]:
    async def read(store: ObjectStore) -> dict[Place, dict[str, str]]:
        found = {}
        async for page in store.pages(prefix):
            for one in page:
                place = Place.of(one.key)
                assert place
                found[place] = await store.metadata(one.key)
        return found

    return with_store(s3, read)


def waiting(s3: S3) -> list[Place]:
    return list(kept(s3, WAITING))


def tick(client: TestClient) -> Any:
    answer = client.post("/")
    assert answer.status_code == 200
    return answer.json()


def sent(sink: HttpBackend) -> list[str]:
    """The words of the records that the sink was asked to take, each as often as it was."""
    return [word for asked in sink.asked for word in batches.words(EventType.LOGS, asked.body)]


def says_of(word: str, status: int) -> Callable[[Asked], Says]:
    return lambda asked: Says(status, "so it is", {"kne-reason": "not_an_event"} if status == 422 else {}) if word.encode() in asked.body else Says()


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_what_waits_is_sent_and_gone(client: TestClient, sink: HttpBackend, s3: S3) -> None:
    """Oldest first until the sink says yes; each event as it was, without its death."""
    bury(s3, "one", "two", "three")
    before = metric("obstack_replay_letters_total", sink="sink_loki", outcome="stored")
    assert tick(client) == {"sink_loki": {"stored": 3}}
    assert sent(sink)[0] == "one"
    assert sorted(sent(sink)) == ["one", "three", "two"]
    assert [envelope.from_event(asked.headers, asked.body).extensions for asked in sink.asked] == [{}] * 3
    assert waiting(s3) == []
    assert metric("obstack_replay_letters_total", sink="sink_loki", outcome="stored") == before + 3
    assert tick(client) == {}
    assert len(sink.asked) == 3


def test_what_was_refused_is_left_alone(client: TestClient, sink: HttpBackend, s3: S3) -> None:
    (place,) = bury(s3, "bad", code="400")
    assert tick(client) == {}
    assert sink.asked == []
    assert place in kept(s3, f"{PREFIX}{place.tenant_id}/")


def test_refused_now_it_stays_with_what_was_said(client: TestClient, sink: HttpBackend, s3: S3) -> None:
    """And isn't sent by itself any more. Its neighbours are."""
    bad, _ = bury(s3, "bad", "good")
    sink.answer = says_of("bad", 422)
    assert tick(client) == {"sink_loki": {"refused": 1, "stored": 1}}
    assert waiting(s3) == []
    ((place, metadata),) = kept(s3, f"{PREFIX}{bad.tenant_id}/").items()
    assert (place.id, metadata["status"], metadata["reason"]) == (bad.id, "422", "not_an_event")
    assert tick(client) == {}


@pytest.mark.parametrize("died", [delivery.Died.WHOLE, delivery.Died.PARTS])
def test_dead_again_it_waits_no_more(died: str, client: TestClient, sink: HttpBackend, s3: S3) -> None:
    """Its sink has written the letter that says why."""
    bury(s3, "old")
    sink.answer = lambda _: Says(204, headers={delivery.DEAD_HEADER: died})
    assert tick(client) == {"sink_loki": {"dead again": 1}}
    assert waiting(s3) == []


@pytest.mark.parametrize("status", [503, 429, 404, 302, 200, 403])
def test_sink_in_trouble_is_asked_once_a_tick_and_tenant(status: int, client: TestClient, sink: HttpBackend, s3: S3) -> None:
    """Of a few tenants; nothing is lost, and all of it goes when the sink is back."""
    for tenant in range(5):
        bury(s3, f"{tenant}a", f"{tenant}b")
    sink.answer = lambda _: Says(status)
    assert tick(client) == {"sink_loki": {"put off": 3}}
    assert len(sink.asked) == 3
    assert len(waiting(s3)) == 10
    assert metric("obstack_replay_waiting_letters", sink="sink_loki") == 10
    assert metric("obstack_replay_oldest_seconds", sink="sink_loki") > 86_000
    sink.answer = lambda _: Says()
    assert tick(client) == {"sink_loki": {"stored": 10}}
    assert waiting(s3) == []


def test_sink_that_nobody_reaches_keeps_its_letters(client: TestClient, sink: HttpBackend, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bury(s3, "one", "two")
    sink.__exit__()
    assert tick(client) == {"sink_loki": {"put off": 1}}
    assert len(waiting(s3)) == 2


def test_letter_that_its_sink_can_not_bear_blocks_nobody(client: TestClient, sink: HttpBackend, s3: S3) -> None:
    """It goes behind the others of its own tenant, too."""
    bury(s3, "poison", "one", "two")
    sink.answer = says_of("poison", 503)
    assert tick(client) == {"sink_loki": {"put off": 1}}
    assert tick(client) == {"sink_loki": {"stored": 2, "put off": 1}}
    (place,) = waiting(s3)
    assert place.put_off == 2


def test_limit_of_one_tenant_holds_no_other(client: TestClient, sink: HttpBackend, s3: S3) -> None:
    limited = str(uuid4())
    bury(s3, "one", "two", "three", tenant_id=limited, days=2)
    bury(s3, "other")
    sink.answer = lambda asked: Says(429 if asked.headers["ce-tenantid"] == limited else 204)
    assert tick(client) == {"sink_loki": {"put off": 1, "stored": 1}}
    assert [place.tenant_id for place in waiting(s3)] == [limited] * 3


def test_what_was_put_off_rests(client: TestClient, sink: HttpBackend, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "REST_SECONDS", 100.0)
    bury(s3, "one")
    sink.answer = lambda _: Says(503)
    assert tick(client) == {"sink_loki": {"put off": 1}}
    assert tick(client) == {"sink_loki": {}}
    assert [queue.rest(times) for times in (0, 1, 2, 1000)] == [0, 200, 300, 300]


async def test_after_its_time_a_tick_sends_no_more(sink: HttpBackend, s3: S3) -> None:
    await asyncio.to_thread(bury, s3, "one", "two")
    store = ObjectStore(s3.settings)
    try:
        (waits,) = await queue.find(store)
        await Round(store, waits, Replay(), monotonic()).run()
    finally:
        await store.close()
    assert sink.asked == []
    assert len(waits.left) == 2


def test_yes_without_a_deletion_is_sent_again(client: TestClient, sink: HttpBackend, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a crash between the two."""
    bury(s3, "one")
    real = ObjectStore.delete
    failures = [Trouble("s3: away"), Trouble("s3: away")]

    async def delete(store: ObjectStore, keys: list[str]) -> None:
        if failures:
            raise failures.pop()
        await real(store, keys)

    monkeypatch.setattr(ObjectStore, "delete", delete)
    tick(client)
    assert len(waiting(s3)) == 2  # where it was, and where it was put off to
    tick(client)
    assert waiting(s3) == []
    assert set(sent(sink)) == {"one"}


async def test_two_at_once_do_no_harm(sink: HttpBackend, s3: S3) -> None:
    """Each letter is sent, perhaps twice, which its sink takes; none stays."""
    await asyncio.to_thread(bury, s3, *(f"word {number}" for number in range(20)))
    store, settings = ObjectStore(s3.settings), Replay()
    try:
        queues = [(await queue.find(store))[0] for _ in range(2)]
        await asyncio.gather(*(Round(store, one, settings, monotonic() + 60).run() for one in queues))
        assert await queue.find(store) == []
    finally:
        await store.close()
    assert set(sent(sink)) == {f"word {number}" for number in range(20)}


def test_sink_that_nobody_knows_keeps_its_letters(client: TestClient, sink: HttpBackend, s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    bury(s3, "span", sink="sink_tempo")
    bury(s3, "line")
    assert tick(client) == {"sink_loki": {"stored": 1}, "sink_tempo": {}}
    assert [place.sink for place in waiting(s3)] == ["sink_tempo"]
    assert "SINK_URLS" in caplog.text


def test_stranger_among_the_letters_does_no_harm(client: TestClient, sink: HttpBackend, s3: S3) -> None:
    bury(s3, "line")
    for key in ("sink_loki/000000/day/id/tenant", "sink_loki/x", "query/000000/2026-11-24/a/b"):
        with_store(s3, lambda store, key=key: store.put(WAITING + key, batches.logs("?"), {}))  # type: ignore[misc]
    sink.answer = lambda asked: Says() if "ce-id" in asked.headers else Says(400, "?", {"kne-reason": "not_an_event"})
    assert tick(client)["sink_loki"]["stored"] == 1
    assert sorted(sent(sink)) == ["?", "line"]
    assert tick(client) == {"sink_loki": {}}


def test_without_s3_it_says_so(client: TestClient, s3: S3) -> None:
    s3.stop()
    try:
        assert client.post("/").status_code == 503
    finally:
        s3.start()
    assert client.post("/").status_code == 200


def test_second_tick_at_the_same_time_does_nothing(client: TestClient, sink: HttpBackend, s3: S3) -> None:
    bury(s3, "slow")
    sink.open.clear()
    first: list[Any] = []
    thread = threading.Thread(target=lambda: first.append(tick(client)))
    thread.start()
    assert sink.reached.wait(10)
    assert client.post("/").status_code == 204
    sink.open.set()
    thread.join()
    assert first == [{"sink_loki": {"stored": 1}}]
