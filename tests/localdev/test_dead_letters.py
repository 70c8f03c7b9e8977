"""`./task dead-letters` and `./task backfill`: what a person sees, with the real S3 server, or a bucket in memory, and a stand-in for the sink."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from localdev import backfill, dead_letters, feed, where
from localdev.functions import Function, Trigger
from shared import delivery, envelope
from shared import replay as replaying
from shared.contract import EventType, Reason
from shared.dead_letters import Letter, Place, from_event, put_off
from shared.envelope import Dead, Record
from shared.object_store import Listed, Missing
from tests import batches
from tests.backends import HttpBackend, Says
from tests.postgres import Postgres
from tests.s3 import S3, with_store

in_s3 = pytest.mark.stack


class Bucket:
    """In memory, in the place of an ObjectStore. `before_delete` happens between a command's look and its deleting, as the function `replay` may."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.before_delete: Callable[[Sequence[str]], Awaitable[None]] | None = None

    async def put(self, key: str, body: bytes, metadata: Mapping[str, str]) -> None:
        self.objects[key] = (body, dict(metadata))

    async def get(self, key: str) -> tuple[bytes, dict[str, str]]:
        if key not in self.objects:
            raise Missing(key)
        return self.objects[key]

    async def metadata(self, key: str) -> dict[str, str]:
        return (await self.get(key))[1]

    async def pages(self, prefix: str) -> AsyncIterator[Sequence[Listed]]:
        yield [Listed(key, len(body), datetime.now(UTC)) for key, (body, _) in sorted(self.objects.items()) if key.startswith(prefix)]

    async def delete(self, keys: Sequence[str]) -> None:
        if self.before_delete:
            hook, self.before_delete = self.before_delete, None
            await hook(keys)
        for key in keys:
            self.objects.pop(key, None)

    async def close(self) -> None: ...

    def bury(self, record: Record, waiting: bool = False) -> Letter:
        letter = waiting_letter(record) if waiting else dead_letter(record)
        self.objects[letter.place.key] = (letter.body, dict(letter.attributes))
        return letter


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """That of the commands."""
    bucket = Bucket()
    for module in (dead_letters, backfill):
        monkeypatch.setattr(module, "ObjectStore", lambda _: bucket)
    monkeypatch.setattr("localdev.where.object_store", lambda: None)
    for name in where.NAMES:
        monkeypatch.delenv(name, raising=False)
    return bucket


@pytest.fixture
def sink_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpBackend]:
    """In the place of sink_loki; takes everything."""
    with HttpBackend() as backend:
        row = Function("sink_loki", urlsplit(backend.url).port or 0, (), Trigger(("telemetry.logs",), "sink-loki", 4))
        monkeypatch.setattr("localdev.functions.catalogue", lambda: [row])
        yield backend


@pytest.fixture
def sink(s3: S3, sink_here: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> HttpBackend:
    """The sink, and the real S3 for its letters."""
    monkeypatch.setattr("localdev.backends.s3.settings", lambda: s3.settings)
    return sink_here


def dead_letter(record: Record, part: str = "2", detail: str = "loki: 400 too old") -> Letter:
    dead = envelope.dead_letter(record, Dead(batches.logs("one"), Reason.OUT_OF_WINDOW, detail, "400", part), "sink_loki")
    return from_event(batches.headers(dead) | {"ce-attempts": "1"}, dead.value)


def bury(s3: S3, record: Record, part: str = "2", detail: str = "loki: 400 too old") -> Letter:
    letter = dead_letter(record, part, detail)
    with_store(s3, lambda store: store.put(letter.place.key, letter.body, letter.attributes))
    return letter


def kept(s3: S3, place: Place) -> dict[str, str] | None:
    try:
        return with_store(s3, lambda store: store.metadata(place.key))
    except Missing:
        return None


@pytest.fixture
def record() -> Record:
    return batches.record(EventType.LOGS, batches.logs("zero", "one"))


@pytest.mark.parametrize("main", [dead_letters.main, backfill.main])
def test_help_has_examples(main: Callable[[Sequence[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "examples:\n  ./task " in capsys.readouterr().out


@pytest.mark.parametrize("text", ["2x", "yesterday", "2026-13-01", ""])
def test_wrong_moment_is_explained(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        dead_letters.main(["list", "--since", text])
    assert "2h (ago), 2026-11-24" in capsys.readouterr().err


@in_s3
def test_without_s3_it_says_what_starts_it(s3: S3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("localdev.backends.s3.settings", lambda: s3.settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1"}))
    assert dead_letters.main(["list"]) == 1
    assert "./task up" in capsys.readouterr().err


def test_database_for_a_tenants_name_is_told_without_its_password(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(where, "database_url", lambda: "postgresql:/obstack:hush-hush@db/x")
    assert dead_letters.main(["list", "--tenant", "Acme"]) == 1
    err = capsys.readouterr().err
    assert "postgresql://role:password@host/database" in err
    assert "hush" not in err


def test_database_without_our_tables_is_sent_to_migrate(
    bucket: Bucket, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(where, "database_url", postgres.database)
    assert dead_letters.main(["list", "--tenant", "Acme"]) == 1
    assert "./task migrate" in capsys.readouterr().err


@in_s3
@pytest.mark.parametrize("command", ["replay", "purge"])
def test_nothing_is_done_to_all_letters_unasked(command: str, sink: HttpBackend, s3: S3, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    letter = bury(s3, record)
    assert dead_letters.main([command]) == 1
    assert "--all" in capsys.readouterr().err
    assert (kept(s3, letter.place) is not None, sink.asked) == (True, [])


@in_s3
def test_replay_sends_the_event_as_it_was(sink: HttpBackend, s3: S3, record: Record) -> None:
    """With its id and part, and nothing of its death; then the letter is gone."""
    letter = bury(s3, record)
    assert dead_letters.main(["replay", letter.place.id]) == 0
    (asked,) = sink.asked
    assert envelope.from_event(asked.headers, asked.body) == replace(record, value=letter.body, extensions={"part": "2"})
    assert kept(s3, letter.place) is None


@in_s3
@pytest.mark.parametrize(("word", "stays"), [(delivery.Died.WHOLE, True), (delivery.Died.PARTS, False)])
def test_letter_that_dies_again_is_there_once(word: str, stays: bool, sink: HttpBackend, s3: S3, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """As a whole it is the same object, which must not be deleted; parts of it are objects of their own."""
    letter = bury(s3, record)
    sink.answer = lambda _: Says(204, headers={delivery.DEAD_HEADER: word})
    assert dead_letters.main(["replay", letter.place.id]) == 1
    assert (kept(s3, letter.place) is not None) is stays
    assert "dead again" in capsys.readouterr().out


@in_s3
def test_refusal_is_noted_and_the_letter_stays(sink: HttpBackend, s3: S3, record: Record) -> None:
    letter = bury(s3, record)
    sink.answer = lambda _: Says(422, "not\nlike this", {"kne-reason": "not_an_event"})
    assert dead_letters.main(["replay", letter.place.id]) == 1
    now = kept(s3, letter.place)
    assert now is not None
    assert (now["status"], now["detail"], now["reason"], now["id"]) == ("422", "not like this", "not_an_event", record.id)


def waiting_letter(record: Record) -> Letter:
    death = {"ce-knativeerrordest": "http://sink-loki.telemetry.svc.cluster.local", "ce-knativeerrorcode": "503"}
    return from_event(batches.headers(record) | death, record.value)


def bury_waiting(s3: S3, record: Record) -> Letter:
    letter = waiting_letter(record)
    with_store(s3, lambda store: store.put(letter.place.key, letter.body, letter.attributes))
    return letter


@in_s3
def test_letter_that_waits_for_its_sink_is_like_any_other(sink: HttpBackend, s3: S3, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """Listed, shown, replayed, purged, and only its tenant's; refused by request it waits no more."""
    other = batches.record(EventType.LOGS, batches.logs("other"))
    letter, others = bury_waiting(s3, record), bury_waiting(s3, other)
    assert dead_letters.main(["list", "--tenant", record.tenant_id]) == dead_letters.main(["show", record.id]) == 0
    shown = capsys.readouterr().out
    assert "1 dead letters" in shown
    assert "retries_ran_out" in shown
    sink.answer = lambda _: Says(400, "no", {"kne-reason": "not_an_event"})
    assert dead_letters.main(["replay", record.id]) == 1
    assert kept(s3, letter.place) is None
    now = kept(s3, replace(letter.place, put_off=None))
    assert now
    assert (now["reason"], now["detail"]) == ("not_an_event", "no")
    assert dead_letters.main(["purge", "--tenant", other.tenant_id, "--yes"]) == 0
    assert kept(s3, others.place) is None


@in_s3
def test_id_that_died_of_several_sinks_is_shown_for_each(sink: HttpBackend, s3: S3, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    bury_waiting(s3, record)
    bury(s3, record, part="", detail="loki: 400 too old")
    assert dead_letters.main(["show", record.id]) == 0
    shown = capsys.readouterr().out
    assert "loki: 400 too old" in shown
    assert "retries_ran_out" in shown


@in_s3
def test_letters_of_a_cluster_reach_no_sink_of_this_machine(
    sink: HttpBackend, s3: S3, record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = bury(s3, record)
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    assert dead_letters.main(["replay", letter.place.id]) == 1
    assert "SINK_URLS" in capsys.readouterr().err
    assert (sink.asked, kept(s3, letter.place) is not None) == ([], True)
    monkeypatch.setenv("SINK_URLS", f'{{"sink_loki": "{sink.url}"}}')
    assert dead_letters.main(["replay", letter.place.id]) == 0
    assert kept(s3, letter.place) is None


@in_s3
@pytest.mark.parametrize("says", [Says(302, headers={"location": "/login"}), Says(200, "welcome"), Says(403, "not through this gateway")])
def test_what_no_sink_would_say_is_no_answer(says: Says, sink: HttpBackend, s3: S3, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the URL is another's."""
    monkeypatch.setattr(feed, "PATIENCE_SECONDS", 0.2)
    letter = bury(s3, record)
    sink.answer = lambda asked: says if asked.path == "/" else Says(200)
    assert dead_letters.main(["replay", letter.place.id]) == 1
    assert kept(s3, letter.place) is not None


@in_s3
def test_sink_that_is_away_keeps_its_letters(
    sink: HttpBackend, s3: S3, record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(feed, "PATIENCE_SECONDS", 0.2)
    letter = bury(s3, record)
    sink.answer = lambda _: Says(503, "loki is away")
    assert dead_letters.main(["replay", letter.place.id]) == 1
    assert "loki is away" in capsys.readouterr().err
    assert kept(s3, letter.place) is not None
    sink.answer = lambda _: Says(204)
    assert dead_letters.main(["replay", letter.place.id]) == 0


@pytest.mark.parametrize("waiting", [False, True])
def test_sink_that_skips_gets_no_letter_deleted(
    waiting: bool, sink_here: HttpBackend, bucket: Bucket, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once: its switch is no trouble that passes."""
    letter = bucket.bury(record, waiting)
    sink_here.answer = lambda _: Says(204, headers={delivery.SKIPPED_HEADER: "1"})
    assert dead_letters.main(["replay", letter.place.id]) == 1
    assert "sink_loki is switched to skip" in capsys.readouterr().err
    assert (letter.place.key in bucket.objects, len(sink_here.asked)) == (True, 1)
    sink_here.answer = lambda _: Says(204)
    assert dead_letters.main(["replay", letter.place.id]) == 0
    assert not bucket.objects


@pytest.mark.parametrize("by", ["id", "sink"])
def test_letter_that_moves_while_it_is_purged_is_found_again(by: str, bucket: Bucket, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """As the function `replay` moves those that its sink can't take yet."""
    letter = bucket.bury(record, waiting=True)
    bucket.before_delete = lambda _: replaying.move(bucket, letter.place, put_off(letter))  # type: ignore[arg-type]
    assert dead_letters.main(["purge", "--yes", *([letter.place.id] if by == "id" else ["--sink", "sink_loki"])]) == 0
    assert capsys.readouterr().out == "1 dead letters deleted\n"
    assert not bucket.objects


def test_letters_that_a_purge_doesnt_get_are_told(bucket: Bucket, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """One moves whenever it is looked for, one died meanwhile and wasn't meant."""
    moving, still = bucket.bury(record, waiting=True), bucket.bury(batches.record(EventType.LOGS, batches.logs("x")))
    new = dead_letter(batches.record(EventType.LOGS, batches.logs("new")))

    async def move(_: Sequence[str]) -> None:
        nonlocal moving
        moved = put_off(moving)
        await replaying.move(bucket, moving.place, moved)  # type: ignore[arg-type]
        await bucket.put(new.place.key, new.body, new.attributes)
        moving, bucket.before_delete = moved, move

    bucket.before_delete = move
    assert dead_letters.main(["purge", "--all", "--yes"]) == 1
    said = capsys.readouterr()
    assert said.out == "1 dead letters deleted\n"
    assert "1 are still there" in said.err
    assert set(bucket.objects) == {moving.place.key, new.place.key}
    assert still.place.key not in bucket.objects


@in_s3
def test_filters_and_purge(sink: HttpBackend, s3: S3, capsys: pytest.CaptureFixture[str]) -> None:
    old = batches.record(EventType.LOGS, b"x", time="2026-01-01T12:00:00.000Z")
    new = replace(old, id=batches.record(EventType.LOGS, b"x").id, time="2026-01-02T12:00:00.000Z")
    letters = [bury(s3, old), bury(s3, new)]
    tenant = ["--tenant", old.tenant_id]
    for arguments, found in (
        ([], 2),
        (["--since", "2026-01-02"], 1),
        (["--until", "2026-01-01T12:00Z"], 0),
        (["--reason", "invalid"], 0),
        (["--sink", "x"], 0),
    ):
        assert dead_letters.main(["list", *tenant, *arguments]) == 0
        assert f"{found} dead letters" in capsys.readouterr().out
    assert dead_letters.main(["purge", *tenant, "--until", "2026-01-02"]) == 1
    assert "1 dead letters would be deleted" in capsys.readouterr().err
    assert dead_letters.main(["purge", *tenant, "--until", "2026-01-02", "--yes"]) == 0
    assert [kept(s3, letter.place) is None for letter in letters] == [True, False]
    assert dead_letters.main(["show", "nobody"]) == 1
    assert "There is no dead letter nobody" in capsys.readouterr().err


@in_s3
def test_hostile_letter_reaches_no_terminal(sink: HttpBackend, s3: S3, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    letter = bury(s3, replace(record, value=b""), detail="\x1b[31m[bold]red")
    hostile = Letter(letter.place, batches.logs("\x1b]0;title\x07"), letter.attributes)
    with_store(s3, lambda store: store.put(hostile.place.key, hostile.body, hostile.attributes))
    assert dead_letters.main(["list", "--tenant", record.tenant_id]) == dead_letters.main(["show", letter.place.id]) == 0
    shown = capsys.readouterr().out
    assert "?[31m[bold]red" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


@in_s3
def test_backfill_names_the_sinks_there_are(sink: HttpBackend, capsys: pytest.CaptureFixture[str]) -> None:
    assert backfill.main(["--sink", "nothing", "--from", "1h"]) == 1
    assert "there are: sink_loki" in capsys.readouterr().err
