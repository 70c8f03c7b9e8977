"""A record that a backend refuses: kept, listed, sent again when the cause is mended, stored once. And a sink fed again from topic and archive."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import time_ns
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from localdev import backfill, dead_letters, topics
from localdev.backends import s3
from shared import archive, envelope
from shared.contract import EventType, Reason, Topic
from shared.dead_letters import PREFIX, WAITING
from shared.envelope import Dead, Record
from shared.object_store import ObjectStore
from tests import batches
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack


@dataclass
class Tenant:
    """One of a test's own: nobody else's records are among its."""

    opensearch: str
    id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def index(self) -> str:
        return f"logs-tenant-{self.id}-{datetime.now(UTC):%Y.%m.%d}"

    def send(self, *words: str) -> Record:
        """A batch into the topic, as ingest puts it there."""
        record = batches.record(EventType.LOGS, batches.logs(*words), self.id)
        publish(record, record.topic)
        return record

    def ask(self, method: str, path: str = "", body: Any = None) -> Any:
        request = Request(  # noqa: S310 loopback
            f"{self.opensearch}/{self.index}{path}", json.dumps(body).encode() if body else None, {"content-type": "application/json"}, method=method
        )
        try:
            with urlopen(request) as answer:  # noqa: S310
                return json.loads(answer.read())
        except HTTPError as error:
            if error.code == 404:
                return None
            raise

    def seen(self) -> list[str]:
        """Bodies of all documents, each as often as it is there."""
        try:
            self.ask("POST", "/_refresh")
            found = self.ask("GET", "/_search?size=1000")
        except HTTPError as error:
            if error.code != 503:  # so for the moment in which the index is made: nothing is to be seen yet
                raise
            return []
        return sorted(str(hit["_source"]["body"]) for hit in found["hits"]["hits"]) if found else []

    def objects(self, prefix: str) -> list[str]:
        async def read() -> list[str]:
            store = ObjectStore(s3.settings())
            try:
                return [one.key async for page in store.pages(prefix) for one in page]
            finally:
                await store.close()

        return asyncio.run(read())

    def letters(self) -> list[str]:
        """Ids of what sink_opensearch's backend refused."""
        return [key.rpartition("/")[2] for key in self.objects(f"{PREFIX}{self.id}/sink_opensearch/")]


def publish(record: Record, topic: Topic) -> None:
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers(), "acks": "all"})
    producer.produce(topic.value, record.value, record.key, headers=envelope.kafka_headers(record))
    assert producer.flush(10) == 0


@pytest.fixture
def tenant(stack: Stack) -> Iterator[Tenant]:
    made = Tenant(stack.backends["opensearch"])
    yield made
    made.ask("DELETE")


def run(command: Callable[[list[str]], int], *arguments: str) -> int:
    return command(list(arguments))


def test_refused_record_is_kept_and_replayed_when_the_cause_is_mended(tenant: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    tenant.ask("PUT", body={"mappings": {"properties": {"body": {"type": "integer"}}}})  # so that words are refused
    record = tenant.send("41", "one", "42", "two")
    until(lambda: len(tenant.letters()) == 2)
    assert tenant.letters() == [f"{record.id}.1", f"{record.id}.3"]  # alone, their neighbours are stored
    assert tenant.seen() == ["41", "42"]

    assert run(dead_letters.main, "list", "--tenant", tenant.id, "--sink", "sink_opensearch", "--since", "1h") == 0
    listed = capsys.readouterr().out
    assert f"{record.id}.1" in listed
    assert "sink_opensearch" in listed
    assert run(dead_letters.main, "list", "--tenant", tenant.id, "--until", "1h") == 0
    assert "0 dead letters" in capsys.readouterr().out
    assert run(dead_letters.main, "show", f"{record.id}.3") == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ('string_value: "two"', "status", "400", "attempts", "telemetry.logs", "opensearch"))

    assert re.search(r"\battempts +1\b", shown), shown

    # Before the cause is mended it is the same letter again.
    assert run(dead_letters.main, "replay", f"{record.id}.1") == 1
    assert tenant.letters() == [f"{record.id}.1", f"{record.id}.3"]

    tenant.ask("DELETE")
    assert run(dead_letters.main, "replay", "--tenant", tenant.id) == 0
    assert tenant.letters() == []
    assert tenant.seen() == ["one", "two"]

    # The whole record once more: what was lost with the index comes, what was replayed isn't doubled.
    assert run(backfill.main, "--sink", "opensearch", "--from", "1h", "--tenant", tenant.id) == 0
    assert tenant.seen() == ["41", "42", "one", "two"]


def test_letter_says_how_often_its_sink_was_tried(tenant: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    """And not how often the letter itself was delivered."""
    record = batches.record(EventType.LOGS, batches.logs("odd"), tenant.id, extensions={"attempts": "7"})
    letter = envelope.dead_letter(record, Dead(record.value, Reason.INVALID, "said so", "400"), "sink_opensearch")
    publish(letter, Topic.DEAD_LETTERS)
    until(lambda: tenant.letters() == [record.id])
    assert run(dead_letters.main, "show", record.id) == 0
    shown = capsys.readouterr().out
    assert re.search(r"\battempts +7\b", shown), shown


def test_a_lost_index_is_fed_again_from_topic_and_archive(tenant: Tenant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [tenant.send(f"word {n}a", f"word {n}b") for n in range(5)]
    words = sorted(f"word {n}{letter}" for n in range(5) for letter in "ab")
    until(lambda: tenant.seen() == words)
    until(lambda: len(tenant.objects(archive.folder(tenant.id, Topic.LOGS))) == len(sent))
    feed = ["--sink", "sink_opensearch", "--from", "10m", "--tenant", tenant.id]

    tenant.ask("DELETE")
    assert run(backfill.main, *feed, "--source", "topic", "--rate", "50") == 0
    assert tenant.seen() == words
    tenant.ask("DELETE")
    assert run(backfill.main, *feed, "--source", "archive") == 0
    assert tenant.seen() == words

    # What the topic has no more comes from the archive by itself; what both have is stored once.
    tenant.ask("DELETE")
    monkeypatch.setattr("localdev.past.Past.lost_before", lambda _: datetime.now(UTC))
    assert run(backfill.main, *feed) == 0
    assert "comes from the archive" in capsys.readouterr().err
    assert tenant.seen() == words


def test_letter_whose_retries_ran_out_is_replayed_by_itself(stack: Stack) -> None:
    """As Knative's dead-letter sink hands it over; one that was refused stays."""
    tenant_id, now = str(uuid4()), time_ns()
    waits, refused = (batches.record(EventType.LOGS, batches.logs(word, at=now), tenant_id) for word in ("waits", "refused"))
    for record, code in ((waits, "503"), (refused, "400")):
        death = {"ce-knativeerrordest": "http://sink-loki.telemetry.svc.cluster.local", "ce-knativeerrorcode": code}
        url = f"{stack.functions['dead_letter']}/"
        with urlopen(Request(url, record.value, batches.headers(record) | death, method="POST")) as answer:  # noqa: S310 loopback
            assert answer.status == 204

    def in_loki() -> list[str]:
        parameters = urlencode({"query": '{service_name="checkout"}', "start": now - 10**9, "end": now + 10**9})
        asked = Request(f"{stack.backends['loki']}/loki/api/v1/query_range?{parameters}", headers={"X-Scope-OrgID": tenant_id})  # noqa: S310 loopback
        with urlopen(asked) as answer:  # noqa: S310 loopback
            return [line for stream in json.loads(answer.read())["data"]["result"] for _, line, *_ in stream["values"]]

    until(in_loki)
    assert in_loki() == ["waits"]
    until(lambda: not [key for key in Tenant("", tenant_id).objects(WAITING) if waits.id in key])
    assert [key.rpartition("/")[2] for key in Tenant("", tenant_id).objects(f"{PREFIX}{tenant_id}/")] == [refused.id]
