"""A record survives the way from Kafka headers to a CloudEvent request."""

import re
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from shared import envelope
from shared.contract import EventType, Period, Reason, Scope, Source, Topic
from shared.envelope import Dead, Record
from shared.errors import Refused
from shared.tenant import Tenant

TENANT = Tenant(str(uuid4()), str(uuid4()), frozenset(Scope))
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def record(**changes: Any) -> Record:
    arguments: dict[str, Any] = {"value": b"112345678", "key": envelope.key_of(TENANT.id, b"s"), "traceparent": TRACEPARENT, **changes}
    return envelope.new(TENANT, EventType.LOGS, Source.OTLP, Topic.LOGS, **arguments)


def as_request(made: Record) -> dict[str, str]:
    """What KafkaSource makes of the record's headers: `ce_x` → `ce-x`."""
    return {name.replace("ce_", "ce-"): bytes(value).decode() for name, value in envelope.kafka_headers(made)}  # type: ignore[arg-type]


def test_record_comes_back_from_its_event() -> None:
    made = record()
    assert envelope.from_event(as_request(made), made.value) == made


def test_record_keeps_the_index_period_of_its_tenants_plan() -> None:
    """Also as a dead letter; a day is not said, so records from before there were others are a day's."""
    made = envelope.new(replace(TENANT, index_period=Period.WEEK), EventType.LOGS, Source.OTLP, Topic.LOGS, b"", key=envelope.key_of(TENANT.id, b"s"))
    assert as_request(made)["ce-indexperiod"] == "week"
    assert envelope.from_event(as_request(made), b"").index_period is Period.WEEK
    letter = envelope.dead_letter(made, Dead(b"x", Reason.INVALID, "x"), "sink_x")
    assert envelope.from_event(as_request(letter), b"x").index_period is Period.WEEK
    assert "ce-indexperiod" not in as_request(record())
    assert envelope.from_event(as_request(record()), b"").index_period is Period.DAY


def test_unknown_index_period_is_refused() -> None:
    with pytest.raises(Refused):
        envelope.from_event({**as_request(record()), "ce-indexperiod": "../x"}, b"")


def test_attributes_are_what_kafkasource_takes() -> None:
    headers = dict(envelope.kafka_headers(record()))
    names = [name for name in headers if name != "content-type"]
    assert all(re.fullmatch(r"ce_[a-z0-9]+", name) for name in names)
    assert {"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_tenantid", "ce_tokenid", "ce_topic", "ce_partitionkey", "ce_traceparent"} == set(
        names
    )
    assert headers["content-type"] == b"application/x-protobuf"
    assert all(isinstance(value, bytes) and re.fullmatch(rb"[ -~]+", value) for value in headers.values())


def test_ids_are_uuid7_and_in_order() -> None:
    first, second = record(), record()
    assert first.id[14] == second.id[14] == "7"
    assert first.id < second.id


def test_a_tenant_keeps_to_a_few_keys() -> None:
    keys = {envelope.key_of(TENANT.id, str(n).encode()) for n in range(100)}
    assert {key.text for key in keys} == {f"{TENANT.id}/{n}" for n in range(envelope.SHARDS)}
    assert keys == set(envelope.keys(TENANT.id))
    assert envelope.key_of(TENANT.id, b"same") == envelope.key_of(TENANT.id, b"same")


def test_dead_letter_keeps_the_record_and_adds_the_reason() -> None:
    made = record()
    letter = envelope.dead_letter(made, Dead(b"part", Reason.OUT_OF_ORDER, "too old\nünïcode", "400", "2"), "sink_prom")
    assert (letter.id, letter.key, letter.tenant_id, letter.value) == (made.id, made.key, made.tenant_id, b"part")
    assert letter.extensions == {"reason": "out_of_order", "detail": "too old??n?code", "sink": "sink_prom", "status": "400", "part": "2"}
    envelope.kafka_headers(letter)
    assert envelope.dead_letter(letter, Dead(b"", Reason.INVALID, "", part="0"), "sink_prom").extensions["part"] == "2.0"
    assert envelope.dead_letter(letter, Dead(b"part", Reason.INVALID, ""), "sink_prom").extensions["part"] == "2"  # the same letter


def test_extensions_added_on_the_way_are_kept() -> None:
    made = record()
    headers = as_request(made) | {"ce-knativekafkaoffset": "17", "x-other": "dropped"}
    assert envelope.from_event(headers, b"").extensions == {"knativekafkaoffset": "17"}


@pytest.mark.parametrize(
    "change",
    [
        {"ce-type": "dev.knative.kafka.event"},
        {"ce-type": "com.example.other"},
        {"ce-tenantid": "acme|globex"},
        {"ce-tenantid": None},
        {"ce-topic": "other"},
        {"ce-id": None},
        {"ce-id": f'x","_index":"logs-tenant-{uuid4()}-2026.11.24'},
        {"ce-id": "é" * 36},
        {"ce-time": "yesterday"},
        {"ce-time": "2026-11-24T10:00:00.000"},
        {"ce-time": "0001-01-01T00:00:00+14:00"},
        {"ce-time": "9999-12-31T23:59:59.9999-14:00"},
        {"ce-part": "../1"},
        {"ce-part": "1."},
        {"ce-part": ""},
        {"ce-part": "1" * 5000},
        {"ce-part": "\u0661"},
        {"ce-knativeerrordata": "caf\xe9"},
        {"ce-other": "bell\x07"},
        {"ce-tokenid": "caf\xe9"},
        {"ce-partitionkey": "caf\xe9"},
    ],
)
def test_event_of_others_is_refused(change: dict[str, str | None]) -> None:
    headers = {name: value for name, value in (as_request(record()) | change).items() if value is not None}
    with pytest.raises(Refused) as refused:
        envelope.from_event(headers, b"")
    assert refused.value.reason == Reason.NOT_AN_EVENT


def test_id_is_a_uuid_in_its_usual_form() -> None:
    made = record()
    assert envelope.from_event({**as_request(made), "ce-id": made.id.upper()}, b"").id == made.id


@pytest.mark.parametrize("part", ["0", "01101", "12.0.011"])
def test_part_is_numbers_with_dots(part: str) -> None:
    assert envelope.from_event({**as_request(record()), "ce-part": part}, b"").extensions == {"part": part}
