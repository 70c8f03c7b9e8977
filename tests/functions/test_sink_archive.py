"""sink_archive: batches of all signals, byte for byte."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from functions.sink_archive import main
from shared import archive, envelope
from shared.contract import EventType
from tests import batches
from tests.edges import Broker
from tests.s3 import S3, with_store

pytestmark = pytest.mark.stack


@pytest.fixture
def client(s3: S3, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with TestClient(main.app) as client:
        yield client


@pytest.mark.parametrize("kind", EventType)
def test_batch_is_stored_and_gives_its_record_again(kind: EventType, client: TestClient, s3: S3) -> None:
    """Whatever its bytes are: nothing is decoded here."""
    record = batches.record(kind, b"\xff\x00 raw")
    for _ in range(2):
        assert client.post("/", content=record.value, headers=batches.headers(record)).status_code == 204

    body, metadata = with_store(s3, lambda store: store.get(archive.key(record)))
    assert envelope.from_event(envelope.event_headers(metadata), body) == record


def test_without_s3_the_trigger_waits(client: TestClient, s3: S3) -> None:
    record = batches.record(EventType.LOGS, b"x")
    s3.stop()
    try:
        assert client.post("/", content=record.value, headers=batches.headers(record)).status_code == 503
    finally:
        s3.start()
    assert client.post("/", content=record.value, headers=batches.headers(record)).status_code == 204


def test_what_is_no_event_goes_to_the_dead_letters(client: TestClient) -> None:
    assert client.post("/", content=b"x", headers={"ce-id": "1"}).status_code == 400
