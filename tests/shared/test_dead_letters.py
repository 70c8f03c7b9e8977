"""Dead letters as objects: of sinks, of triggers, of things that nobody knows; and the event again."""

import base64
from dataclasses import replace

import pytest

from shared import dead_letters, envelope
from shared.contract import EventType, Reason
from shared.dead_letters import Letter, Place
from shared.envelope import Dead, Record
from tests import batches

TENANT = "0c8ee5a2-6d12-4f0c-93ee-0e3f4f6f8f10"
KNATIVE = {"ce-knativeerrordest": "http://sink-loki.telemetry.svc.cluster.local/", "ce-knativekafkapartition": "3", "ce-knativekafkaoffset": "17"}


def record(**changes: object) -> Record:
    made = batches.record(EventType.LOGS, batches.logs("one"), TENANT)
    return replace(made, **{"time": "2026-11-24T23:59:59.999Z", **changes})  # type: ignore[arg-type]


def by_sink(made: Record, part: str = "3", detail: str = "loki: 400 too old") -> Letter:
    dead = envelope.dead_letter(made, Dead(b"\x00part\xff", Reason.OUT_OF_WINDOW, detail, "400", part), "sink_loki")
    return dead_letters.from_event(batches.headers(dead) | {"ce-attempts": "2"}, dead.value)


def test_sinks_letter_is_an_object_of_its_tenant_sink_and_day() -> None:
    made = record()
    letter = by_sink(made)
    assert letter.place.key == f"dead-letters/{TENANT}/sink_loki/2026-11-24/{made.id}.3"
    assert letter.body == b"\x00part\xff"
    told = {name: letter.attributes[name] for name in ("sink", "reason", "status", "detail", "attempts", "topic", "id", "part", "tenantid")}
    assert told == {
        "sink": "sink_loki",
        "reason": "out_of_window",
        "status": "400",
        "detail": "loki: 400 too old",
        "attempts": "2",
        "topic": "telemetry.logs",
        "id": made.id,
        "part": "3",
        "tenantid": TENANT,
    }
    assert Place.of(letter.place.key) == letter.place


def test_same_letter_is_the_same_object() -> None:
    made = record()
    assert by_sink(made) == by_sink(made)
    assert by_sink(made).place != by_sink(made, part="4").place


def test_event_is_the_record_again_without_its_death() -> None:
    made = record(traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    letter = by_sink(made)
    headers = dead_letters.event(letter)
    assert headers is not None
    assert envelope.from_event(headers, made.value) == replace(made, extensions={"part": "3"})


@pytest.mark.parametrize(
    ("code", "extra", "reason", "waits"),
    [
        ("400", {"ce-reason": "not_an_event"}, "not_an_event", False),
        ("422", {}, "invalid", False),
        *((code, {}, "retries_ran_out", True) for code in ("503", "500", "404", "408", "409", "429", "302", "")),
    ],
)
def test_what_a_trigger_gave_up_names_sink_reason_and_answer(code: str, extra: dict[str, str], reason: str, waits: bool) -> None:
    """KafkaSource's own extensions; the sink's name is the destination's host. What nobody refused waits for its sink."""
    made = record()
    answer = {"ce-knativeerrorcode": code, "ce-knativeerrordata": base64.b64encode("backend\nis “away”".encode()).decode()} if code else {}
    letter = dead_letters.from_event({**batches.headers(made), **KNATIVE, **answer, **extra}, made.value)
    assert letter.place == Place(TENANT, "sink_loki", "2026-11-24", made.id, 0 if waits else None)
    assert letter.body == made.value
    assert letter.attributes["reason"] == reason
    assert letter.attributes.get("status", "") == code
    assert letter.attributes.get("detail", "") == ("backend is ?away?" if code else "")
    headers = dead_letters.event(letter)
    assert headers is not None
    assert envelope.from_event(headers, letter.body) == made


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ce-type": "dev.knative.kafka.event", "ce-id": "partition:1/offset:2", "ce-source": "/x", "ce-time": "2026-11-24T10:00:00Z"},
        {**batches.headers(record()), "ce-id": "../../other"},
        {**batches.headers(record()), "ce-tenantid": "acme|globex"},
        {**batches.headers(record()), "ce-time": "yesterday"},
        {**batches.headers(record()), "ce-part": "../1"},
        {**batches.headers(record()), "ce-sink": "../x"},
        {"ce-x": "é" * 9000, "ce-y": "\x07bell", "ce-knativeerrordata": "no base64"},
    ],
)
def test_whatever_comes_is_kept(headers: dict[str, str]) -> None:
    """Under keys that lead nowhere else, with metadata that S3 takes."""
    letter = dead_letters.from_event(headers, b"anything")
    assert letter.body == b"anything"
    assert letter.place.key.count("/") == 4
    assert ".." not in letter.place.key
    assert all(value.isascii() and value.isprintable() for value in letter.attributes.values())
    if headers.get("ce-sink"):
        assert letter.place.sink == "unknown"
    else:
        assert (letter.place.tenant_id, letter.attributes["reason"]) == ("unknown", "not_an_event")
        assert dead_letters.event(letter) is None
    assert dead_letters.from_event(headers, b"anything") == letter
    assert dead_letters.from_event(headers, b"other").place != letter.place or headers.get("ce-sink")


def test_metadata_fit_and_the_detail_gives_way() -> None:
    made = record(extensions={"long": "y" * 3000})
    letter = by_sink(made)
    assert sum(len(name) + len(value) for name, value in letter.attributes.items()) <= 2048
    assert letter.attributes["detail"] == "loki: 400 too old"
    assert letter.attributes["long"].startswith("yyy")


def given_up(made: Record, sink: str = "sink_loki") -> Letter:
    return dead_letters.from_event({**batches.headers(made), **KNATIVE, "ce-sink": sink}, made.value)


def test_letters_that_wait_for_a_sink_lie_together_oldest_first() -> None:
    """And behind them those that were put off."""
    newer, older = (given_up(record(time=f"2026-11-{day}T10:00:00Z")) for day in (24, 23))
    put_off = dead_letters.put_off(older)
    keys = [letter.place.key for letter in (older, newer, put_off, dead_letters.put_off(put_off))]
    assert keys == sorted(keys)
    assert keys[0] == f"waiting-letters/sink_loki/000000/2026-11-23/{older.place.id}/{TENANT}"
    assert all(key.startswith(dead_letters.waiting_for("sink_loki")) for key in keys)
    assert [Place.of(key) for key in keys[:3]] == [older.place, newer.place, put_off.place]


@pytest.mark.parametrize("sink", ["query", "dead_letter", "unknown", "../sink_loki"])
def test_nothing_waits_for_what_is_no_sink(sink: str) -> None:
    assert given_up(record(), sink).place.put_off is None


@pytest.mark.parametrize(
    ("time", "day"), [("2026-11-24T23:30:00-05:00", "2026-11-25"), ("20261124T100000Z", "2026-11-24"), ("1970-01-01T00:00:00+23:00", "1969-12-31")]
)
def test_its_day_is_that_of_utc_however_the_time_is_written(time: str, day: str) -> None:
    assert by_sink(record(time=time)).place.day == day


def test_refused_again_the_letter_says_so() -> None:
    letter = by_sink(record())
    now = dead_letters.refused_again(letter, {"status": "413", "reason": "too_large", "detail": "too\nlarge"})
    assert now.place == letter.place
    assert (now.attributes["status"], now.attributes["detail"], now.attributes["reason"]) == ("413", "too large", "too_large")


def test_letter_that_waited_stays_once_it_is_refused() -> None:
    made = record()
    letter = dead_letters.refused_again(given_up(made), {"status": "400", "reason": "not_an_event", "detail": "no"})
    assert (letter.place, letter.attributes["reason"]) == (Place(TENANT, "sink_loki", "2026-11-24", made.id), "not_an_event")


@pytest.mark.parametrize(
    "key",
    [
        *("archive/x/y/z/a", "dead-letters/a/b/c", "dead-letters/a/b//d", "dead-letters/a/b/c/d/e"),
        *("waiting-letters/a/b/c/d", "waiting-letters/a/x/c/d/e", "waiting-letters/a/²/c/d/e", "waiting-letters/a/0/c//e"),
    ],
)
def test_other_keys_are_no_letters(key: str) -> None:
    assert Place.of(key) is None
