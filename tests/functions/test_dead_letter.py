"""dead_letter: everything that comes is stored, or shall come again."""

from collections.abc import Iterator

import pytest
import yaml
from starlette.testclient import TestClient

from functions.dead_letter import main
from localdev import paths
from shared import envelope
from shared.breaker import FAILURES
from shared.contract import EventType, Reason
from shared.dead_letters import Place
from shared.envelope import Dead
from shared.object_store import ObjectStore
from tests import batches
from tests.backends import Asked, HttpBackend, Says
from tests.s3 import S3, with_store

in_s3 = pytest.mark.stack


@pytest.fixture
def client(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with TestClient(main.app) as client:
        yield client


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TestClient, HttpBackend]]:
    """The function before an S3 that says what a test wants."""
    with HttpBackend(lambda _: Says(200)) as backend:
        for name, value in {"S3_BUCKET": "obstack", "S3_ENDPOINT_URL": backend.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(name, value)
        with TestClient(main.app) as client:
            yield client, backend


def stored(s3: S3, prefix: str) -> dict[str, tuple[bytes, dict[str, str]]]:
    async def read(store: ObjectStore) -> dict[str, tuple[bytes, dict[str, str]]]:
        return {one.key: await store.get(one.key) async for page in store.pages(prefix) for one in page}

    return with_store(s3, read)


@in_s3
def test_letter_is_stored_once_with_all_that_is_known(client: TestClient, s3: S3) -> None:
    record = batches.record(EventType.TRACES, batches.traces("one", "two"))
    letter = envelope.dead_letter(record, Dead(b"\x0a\x00\xff", Reason.TOO_LARGE, "tempo: 413 too large", "413", "01"), "sink_tempo")
    for _ in range(2):
        assert client.post("/", content=letter.value, headers=batches.headers(letter)).status_code == 204
    ((key, (body, metadata)),) = stored(s3, f"dead-letters/{record.tenant_id}/").items()
    assert key == Place(record.tenant_id, "sink_tempo", record.time[:10], f"{record.id}.01").key
    assert body == b"\x0a\x00\xff"
    assert envelope.from_event(envelope.event_headers(metadata), body) == letter


@in_s3
@pytest.mark.parametrize(("code", "waits"), [("503", True), ("400", False)])
def test_letter_whose_retries_ran_out_waits_for_its_sink(code: str, waits: bool, client: TestClient, s3: S3) -> None:
    """Where the function `replay` looks; one that was refused doesn't."""
    record = batches.record(EventType.LOGS, batches.logs("late"))
    death = {"ce-knativeerrordest": "http://sink-loki.telemetry.svc.cluster.local", "ce-knativeerrorcode": code}
    for _ in range(2):
        assert client.post("/", content=record.value, headers=batches.headers(record) | death).status_code == 204
    (key,) = [key for key in stored(s3, "") if record.id in key]
    assert key == Place(record.tenant_id, "sink_loki", record.time[:10], record.id, 0 if waits else None).key


@in_s3
def test_what_is_no_event_is_stored_too(client: TestClient, s3: S3) -> None:
    assert client.post("/", content=b"??", headers={"ce-id": "1", "x-other": "2"}).status_code == 204
    assert client.post("/", content=b"").status_code == 204
    assert sorted(body for body, _ in stored(s3, "dead-letters/unknown/").values()) == [b"", b"??"]


@in_s3
def test_letter_as_large_as_the_topic_takes_is_stored_and_no_larger_one_is_held(client: TestClient, s3: S3) -> None:
    limit = yaml.safe_load((paths.ROOT / "stack/redpanda/topics.yml").read_text())["topics"]["telemetry.dead-letters"]["config"]["max.message.bytes"]
    record = batches.record(EventType.LOGS, b"")
    assert client.post("/", content=bytes(limit), headers=batches.headers(record)).status_code == 204
    assert [len(body) for body, _ in stored(s3, f"dead-letters/{record.tenant_id}/").values()] == [limit]
    assert client.post("/", content=bytes(limit + 1), headers=batches.headers(record)).status_code == 503


@in_s3
def test_without_s3_the_trigger_waits(client: TestClient, s3: S3) -> None:
    record = batches.record(EventType.LOGS, batches.logs("late"))
    s3.stop()
    try:
        assert client.post("/", content=record.value, headers=batches.headers(record)).status_code == 503
    finally:
        s3.start()
    assert client.post("/", content=record.value, headers=batches.headers(record)).status_code == 204
    assert len(stored(s3, f"dead-letters/{record.tenant_id}/")) == 1


def refused_unless_bare(asked: Asked) -> Says:
    return Says(200) if "/dead-letters/unknown/" in asked.path else Says(400, "<Error><Code>MetadataTooLarge</Code></Error>")


def test_letter_that_s3_never_takes_is_kept_without_its_metadata(answering: tuple[TestClient, HttpBackend], caplog: pytest.LogCaptureFixture) -> None:
    """Under the tenant `unknown`, the same object each time; the others don't wait for it."""
    client, backend = answering
    backend.answer = refused_unless_bare
    record = batches.record(EventType.LOGS, batches.logs("odd"))
    letter = envelope.dead_letter(record, Dead(record.value, Reason.TOO_LARGE, "loki: 413", "413", "3"), "sink_loki")
    for _ in range(2 * FAILURES):
        assert client.post("/", content=letter.value, headers=batches.headers(letter)).status_code == 204
    kept = backend.asked[1::2]
    assert len(kept) == 2 * FAILURES
    assert {one.path.partition("?")[0].rpartition("/")[0] for one in kept} == {f"/obstack/dead-letters/unknown/sink_loki/{record.time[:10]}"}
    assert len({one.path for one in kept}) == 1
    assert all(letter.value in one.body for one in kept)
    metadata = {name.removeprefix("x-amz-meta-"): value for name, value in kept[0].headers.items() if name.startswith("x-amz-meta-")}
    assert metadata == {"reason": "too_large", "tenantid": record.tenant_id, "id": f"{record.id}.3"}
    assert "MetadataTooLarge" in caplog.text


def test_letter_that_s3_takes_in_no_form_waits_alone(answering: tuple[TestClient, HttpBackend]) -> None:
    client, backend = answering
    record = batches.record(EventType.LOGS, batches.logs("odd"))
    backend.answer = lambda asked: Says(400, "<Error><Code>InvalidArgument</Code></Error>") if b"odd" in asked.body else Says(200)
    for _ in range(2 * FAILURES):
        assert client.post("/", content=record.value, headers=batches.headers(record)).status_code == 503
    other = batches.record(EventType.LOGS, batches.logs("good"))
    assert client.post("/", content=other.value, headers=batches.headers(other)).status_code == 204


def test_body_larger_than_any_letter_is_held_loudly(
    answering: tuple[TestClient, HttpBackend], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And not kept in memory; refused it would be lost."""
    client, backend = answering
    monkeypatch.setattr(main, "MOST_BYTES", 10)
    assert client.post("/", content=b"x" * 10).status_code == 204
    assert client.post("/", content=b"x" * 11).status_code == 503
    assert client.post("/", content=iter([b"x" * 11])).status_code == 503
    assert len(backend.asked) == 1
    assert [line.levelname for line in caplog.records if "held" in line.message] == ["ERROR"] * 2
