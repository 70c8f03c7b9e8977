"""dead_letter: everything that comes is stored, or shall come again."""

import asyncio
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from functions.dead_letter import main
from shared import envelope
from shared.contract import EventType, Reason
from shared.dead_letters import Place
from shared.envelope import Dead
from shared.object_store import ObjectStore
from tests import batches
from tests.s3 import S3

pytestmark = pytest.mark.stack


@pytest.fixture
def client(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with TestClient(main.app) as client:
        yield client


def stored(s3: S3, prefix: str) -> dict[str, tuple[bytes, dict[str, str]]]:
    async def read() -> dict[str, tuple[bytes, dict[str, str]]]:
        store = ObjectStore(s3.settings)
        try:
            return {one.key: await store.get(one.key) async for page in store.pages(prefix) for one in page}
        finally:
            await store.close()

    return asyncio.run(read())


def test_letter_is_stored_once_with_all_that_is_known(client: TestClient, s3: S3) -> None:
    record = batches.record(EventType.TRACES, batches.traces("one", "two"))
    letter = envelope.dead_letter(record, Dead(b"\x0a\x00\xff", Reason.TOO_LARGE, "tempo: 413 too large", "413", "01"), "sink_tempo")
    for _ in range(2):
        assert client.post("/", content=letter.value, headers=batches.headers(letter)).status_code == 204
    ((key, (body, metadata)),) = stored(s3, f"dead-letters/{record.tenant_id}/").items()
    assert key == Place(record.tenant_id, "sink_tempo", record.time[:10], f"{record.id}.01").key
    assert body == b"\x0a\x00\xff"
    assert envelope.from_event(envelope.event_headers(metadata), body) == letter


def test_what_is_no_event_is_stored_too(client: TestClient, s3: S3) -> None:
    assert client.post("/", content=b"??", headers={"ce-id": "1", "x-other": "2"}).status_code == 204
    assert client.post("/", content=b"").status_code == 204
    assert sorted(body for body, _ in stored(s3, "dead-letters/unknown/").values()) == [b"", b"??"]


def test_without_s3_the_trigger_waits(client: TestClient, s3: S3) -> None:
    record = batches.record(EventType.LOGS, batches.logs("late"))
    s3.stop()
    try:
        assert client.post("/", content=record.value, headers=batches.headers(record)).status_code == 503
    finally:
        s3.start()
    assert client.post("/", content=record.value, headers=batches.headers(record)).status_code == 204
    assert len(stored(s3, f"dead-letters/{record.tenant_id}/")) == 1
