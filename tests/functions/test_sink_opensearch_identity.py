"""Ids of documents: a batch that a client sends twice has each log record once; batches that are meant to be two stay two."""

import hashlib

import pytest

from functions.sink_opensearch.documents import Document, alone, documents
from functions.sink_opensearch.identity import digested
from functions.sink_opensearch.request import parse
from shared.codecs import otlp
from shared.contract import EventType, Reason
from shared.envelope import Dead, Record, dead_letter, from_event
from tests import batches

TENANT = "018f2f7e-0000-7000-8000-000000000001"
AT = 1_795_529_314_123_456_789
"""2026-11-24T14:08:34.123456789Z."""


def of(value: bytes, **extensions: str) -> Record:
    return batches.record(EventType.LOGS, value, TENANT, extensions=extensions)


def made(record: Record) -> list[Document]:
    known = digested(record)
    return list(documents(known, parse(known)))


def ids(record: Record) -> list[str]:
    return [document.id for document in made(record)]


def test_batch_that_is_sent_again_is_the_same_documents() -> None:
    """A client that heard no yes makes a new record of it, of another id and time."""
    value = batches.logs("a", "b", at=AT)
    first, second = of(value), batches.record(EventType.LOGS, value, TENANT, time="2026-11-24T23:59:59.999Z")
    assert first.id != second.id
    digest = hashlib.sha256(value).hexdigest()[:32]
    assert ids(first) == ids(second) == [f"{AT // 2**36:x}-{digest}-0", f"{AT // 2**36:x}-{digest}-1"]
    assert [document.source for document in made(first)] == [document.source for document in made(second)]


def test_later_time_has_a_greater_id() -> None:
    """Lucene then needn't look for a new id among the old ones."""
    minutes = [AT + minute * 70 * 10**9 for minute in range(0, 100_000, 997)]
    found = [id_ for at in minutes for id_ in ids(of(batches.logs("a", at=at)))]
    assert found == sorted(found)


def test_other_batches_are_other_documents() -> None:
    """Of other bytes, and equal parts of one request that was cut."""
    value = batches.logs("a", at=AT)
    records = [of(value), of(batches.logs("b", at=AT)), of(value, cut="0"), of(value, cut="1"), of(value, cut="10")]
    assert len({id_ for record in records for id_ in ids(record)}) == len(records)


def came(value: bytes, now: int) -> Record:
    """The record that ingest makes of it at this moment."""
    checked = otlp.check(otlp.LOGS, otlp.parse(otlp.LOGS, value), value, now)
    return of(checked.value, **({"arrived": str(checked.arrived)} if checked.arrived else {}))


def test_log_record_without_a_time_is_another_one_each_time_it_comes() -> None:
    """It has the time of its arrival, in every backend; those that it lies among are what they were."""
    value = batches.logs("a", "b", "c", at=[AT, 0, AT])
    first, second = came(value, AT + 10**9), came(value, AT + 10**12)
    assert (ids(first)[0], ids(first)[2]) == (ids(second)[0], ids(second)[2])
    assert (ids(first)[1], ids(second)[1]) == (f"{first.id}-1", f"{second.id}-1")


def test_batch_that_lost_records_to_the_window_since_is_another_one() -> None:
    """Its places aren't what they were: by them an id of the one would be a neighbour's in the other."""
    value = batches.logs("old", "a", at=[AT - otlp.OLDEST_NS, AT])
    first, second = came(value, AT), came(value, AT + 1)
    assert len(made(first)) == 2
    assert {*ids(first)}.isdisjoint(ids(second))


def test_without_any_time_at_all_it_is_the_records_own() -> None:
    """As from a publisher that isn't ingest."""
    record = of(batches.logs("a", at=[0]))
    assert ids(record) == [f"{record.id}-0"]


def test_observed_time_is_a_time_of_its_own() -> None:
    request = parse(of(batches.logs("a", at=[0])))
    request.resource_logs[0].scope_logs[0].log_records[0].observed_time_unix_nano = AT
    value = request.SerializeToString()
    assert ids(of(value)) == ids(of(value))


def test_replayed_part_has_the_id_that_it_had_in_its_batch() -> None:
    """Its dead letter tells of which one it was."""
    record = digested(came(batches.logs("a", "b", "c", at=[AT, AT, 0]), AT + 10**9))
    for document in made(record):
        letter = dead_letter(record, Dead(alone(document), Reason.REFUSED_BY_BACKEND, "no", part=str(document.position)), "sink_opensearch")
        replayed = from_event(batches.headers(letter), letter.value)
        assert ids(replayed) == [document.id]


@pytest.mark.parametrize("digest", ["", "x" * 32, "0" * 31, '"}}\n{"delete', "0" * 31 + "\u0660"])
def test_part_without_a_digest_has_the_id_of_its_record(digest: str) -> None:
    """As letters have that were written before there was any; nothing but a digest gets into an id."""
    part = of(batches.logs("c", at=AT), part="2", **({"digest": digest} if digest else {}))
    assert ids(part) == [f"{part.id}-2"]
