"""`./task dead-letters -- …`: what a sink's backend will never take, kept in S3. Times are those at which ingest took the record.

replay sends letters to the sink that failed, and to no other; a letter is deleted only when that sink has said yes. What is refused again becomes a dead letter
again. It is safe to repeat: ids stay the same, so nothing is stored twice.

examples:
  ./task dead-letters -- list --tenant "Acme Rockets" --sink sink_loki --since 2h
  ./task dead-letters -- list --reason out_of_window --since 2026-11-24 --until 2026-11-25T12:00Z
  ./task dead-letters -- show 019abc01-2345-7abc-8def-0123456789ab.0
  ./task dead-letters -- replay 019abc01-2345-7abc-8def-0123456789ab.0
  ./task dead-letters -- replay --sink sink_opensearch --reason refused_by_backend
  ./task dead-letters -- purge --tenant "Acme Rockets" --until 30d --yes
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import psycopg
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from localdev import admin, backends, feed, functions
from localdev.admin import Failure
from localdev.backends import s3
from localdev.feed import Feeder, Outcome
from localdev.functions import Function
from localdev.preview import preview
from shared import dead_letters, delivery
from shared.dead_letters import PREFIX, UNKNOWN, Letter, Place
from shared.errors import Later
from shared.object_store import Listed, Missing, ObjectStore

_AT_ONCE: Final = 16
_COLUMNS: Final = ("id", "tenant", "sink", "reason", "status", "came in", "died", "tries", "bytes", "detail")


@dataclass(frozen=True, slots=True)
class Found:
    """A letter without its body."""

    place: Place
    listed: Listed
    metadata: Mapping[str, str]


async def list_(store: ObjectStore, arguments: argparse.Namespace) -> int:
    """List letters, those that died last first."""
    found = sorted(await _find(store, arguments), key=lambda one: one.listed.modified, reverse=True)
    _print(found[: arguments.limit])
    print(f"\n{len(found):,} dead letters{f', {arguments.limit:,} shown: --limit shows more' if len(found) > arguments.limit else ''}")
    return 0


async def show(store: ObjectStore, arguments: argparse.Namespace) -> int:
    """Show all that is known of a letter, and what is in it."""
    found = await _find(store, arguments)
    if len(found) > 1:
        sinks = ", ".join(sorted(one.place.sink for one in found))
        raise Failure(f"{len(found)} letters have this id; name one of their sinks by --sink: {sinks}")
    letter = await _read(store, found[0].place)
    facts = {"object": letter.place.key, "bytes": f"{len(letter.body):,}", "died": found[0].listed.modified, **dict(sorted(letter.attributes.items()))}
    admin.show(("", ""), facts.items())
    print(f"\n{preview(letter.attributes.get('type', ''), letter.body, arguments.lines)}")
    return 0


async def replay(store: ObjectStore, arguments: argparse.Namespace) -> int:
    """Send letters to the sink that failed, once more."""
    rows = {function.name: function for function in functions.catalogue()}
    by_sink: dict[str, list[Place]] = {}
    for one in await _find(store, arguments):
        by_sink.setdefault(one.place.sink, []).append(one.place)
    counts: Counter[tuple[str, str]] = Counter()
    failures = []
    for sink, places in sorted(by_sink.items()):
        if sink not in rows:
            failures.append(f"{sink}: no function is called so; its letters stay")
            continue
        try:
            await _replay(store, rows[sink], places, counts)
        except Failure as failure:
            failures.append(f"{sink}: {failure}")
    columns = ("stored", "dead again", "refused", "gone", "not ours")
    admin.show(("sink", *columns), [(sink, *(counts[sink, column] for column in columns)) for sink in sorted(by_sink)], columns)
    for text in failures:
        print(text, file=sys.stderr)
    return 1 if failures or any(counts[sink, column] for sink in by_sink for column in columns if column not in {"stored", "gone"}) else 0


async def purge(store: ObjectStore, arguments: argparse.Namespace) -> int:
    """Delete letters for good."""
    found = await _find(store, arguments)
    if not arguments.yes:
        raise Failure(f"{len(found):,} dead letters would be deleted for good, and were not; --yes deletes them")
    await store.delete([one.place.key for one in found])
    print(f"{len(found):,} dead letters deleted")
    return 0


async def _replay(store: ObjectStore, function: Function, places: Sequence[Place], counts: Counter[tuple[str, str]]) -> None:
    """Count what becomes of each. Raises Failure when the sink can't be reached; those that it has taken are deleted all the same."""

    async def one(place: Place) -> None:
        counts[function.name, await _replay_one(store, feeder, place)] += 1

    in_order = sorted(places, key=lambda place: (place.day, place.id))
    async with Feeder(function) as feeder, feed.turns(function.trigger.in_flight if function.trigger else 1) as start:
        for place in track(in_order, f"to {function.name}", transient=True, disable=not sys.stderr.isatty()):
            await start(one(place))


async def _replay_one(store: ObjectStore, feeder: Feeder, place: Place) -> str:
    try:
        letter = await _read(store, place)
    except Missing:
        return "gone"
    headers = dead_letters.event(letter)
    if headers is None:
        return "not ours"
    outcome = await feeder.send(headers, letter.body)
    if not outcome.taken:
        await _refused_again(store, letter, outcome)
        return "refused"
    if outcome.dead != delivery.Died.WHOLE:  # the same letter again: dead_letter puts it in this one's place, perhaps already
        await store.delete([place.key])
    return "dead again" if outcome.dead else "stored"


async def _refused_again(store: ObjectStore, letter: Letter, outcome: Outcome) -> None:
    """The letter stays, with what was said now."""
    news = {"status": str(outcome.status), "detail": outcome.text, **({"reason": outcome.reason} if outcome.reason else {})}
    letter = dead_letters.told(letter, news)
    await store.put(letter.place.key, letter.body, letter.attributes)


async def _read(store: ObjectStore, place: Place) -> Letter:
    body, metadata = await store.get(place.key)
    return Letter(place, body, metadata)


async def _find(store: ObjectStore, arguments: argparse.Namespace) -> list[Found]:
    """The letters that are meant. Raises Failure when an id has none."""
    ids, candidates = set(arguments.ids), list[tuple[Place, Listed]]()
    tenant_id = await tenant(arguments.tenant)
    async for page in store.pages(f"{PREFIX}{tenant_id}/" if tenant_id else PREFIX):
        places = ((Place.of(one.key), one) for one in page)
        candidates += [(place, one) for place, one in places if place and _may_be(place, ids, arguments)]
    if missing := ids - {place.id for place, _ in candidates}:
        raise Failure(f"There is no dead letter {', '.join(sorted(missing))}; ./task dead-letters -- list shows them.")
    found = []
    for start in range(0, len(candidates), _AT_ONCE):
        some = candidates[start : start + _AT_ONCE]
        metadata = await asyncio.gather(*(_metadata(store, place) for place, _ in some))
        found += [Found(place, one, known) for (place, one), known in zip(some, metadata, strict=True) if known is not None and _is(known, arguments)]
    return found


def _may_be(place: Place, ids: set[str], arguments: argparse.Namespace) -> bool:
    """By its key alone, which has the day only."""
    since, until = arguments.since, arguments.until
    return (
        (not ids or place.id in ids)
        and (not arguments.sink or place.sink == arguments.sink)
        and (not since or place.day >= (since - timedelta(days=1)).date().isoformat())
        and (not until or place.day <= (until + timedelta(days=1)).date().isoformat())
    )


def _is(metadata: Mapping[str, str], arguments: argparse.Namespace) -> bool:
    if arguments.reason and metadata.get("reason") != arguments.reason:
        return False
    if not (arguments.since or arguments.until):
        return True
    try:
        at = datetime.fromisoformat(metadata.get("time", ""))
    except ValueError:
        return False
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (not arguments.since or at >= arguments.since) and (not arguments.until or at < arguments.until)


async def _metadata(store: ObjectStore, place: Place) -> Mapping[str, str] | None:
    with suppress(Missing):
        return await store.metadata(place.key)
    return None


async def tenant(named: str) -> str:
    """A tenant's id by its name or id; the database is asked for names only."""
    if not named or named == UNKNOWN:
        return named
    with suppress(ValueError):
        return str(UUID(named))
    try:
        async with await psycopg.AsyncConnection.connect(backends.postgres_url(), connect_timeout=3) as connection:
            return await admin.tenant_id(connection, named)
    except (OSError, psycopg.OperationalError):
        raise Failure("Names of tenants are in PostgreSQL, which can't be reached: ./task up starts it; the tenant's id does without.") from None


def _print(found: Sequence[Found]) -> None:
    """A line a letter: ids whole, to be copied; of the detail as much as there is room for."""
    rows = [_cells(one) for one in found]
    console = Console() if sys.stdout.isatty() else Console(width=320)
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(_COLUMNS):
        widest = max(len(column), *(len(row[number]) for row in rows)) if rows else 0
        table.add_column(column, no_wrap=True, min_width=widest if column != "detail" else 20, justify="right" if column in {"tries", "bytes"} else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table, soft_wrap=True)


def _cells(one: Found) -> Sequence[str]:
    known, place, died = one.metadata, one.place, one.listed.modified.strftime("%Y-%m-%d %H:%M:%S")
    came_in = known.get("time", "")[:19].replace("T", " ")
    why = (known.get("reason", ""), known.get("status", ""), came_in, died, known.get("attempts", ""), f"{one.listed.size:,}", known.get("detail", ""))
    return (place.id, place.tenant_id, place.sink, *why)


COMMANDS: dict[str, Callable[[ObjectStore, argparse.Namespace], Awaitable[int]]] = {"list": list_, "show": show, "replay": replay, "purge": purge}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./task dead-letters --", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        if name == "show":
            sub.add_argument("ids", nargs=1, metavar="ID", help="as list shows it")
            sub.add_argument("--lines", type=int, default=60, metavar="N", help="of the preview (default: 60)")
        elif name == "list":
            sub.set_defaults(ids=[])
            sub.add_argument("--limit", type=int, default=50, metavar="N", help="how many to show (default: 50)")
        else:
            sub.add_argument("ids", nargs="*", metavar="ID", help="as list shows it")
            sub.add_argument("--all", action="store_true", help="every letter")
        if name == "purge":
            sub.add_argument("--yes", action="store_true", help="yes, delete them")
        sub.add_argument("--tenant", default="", metavar="NAME", help="the tenant's name or id; `unknown` for what isn't a record of ours")
        sub.add_argument("--sink", default="", metavar="NAME", help="who refused it, such as sink_loki")
        sub.add_argument("--reason", default="", metavar="WORD", help="as list shows it")
        sub.add_argument("--since", type=feed.moment, metavar="WHEN", help="came in then or later: 2h (ago), 2026-11-24, 2026-11-24T10:30Z")
        sub.add_argument("--until", type=feed.moment, metavar="WHEN", help="came in before")
    return parser


async def _run(arguments: argparse.Namespace) -> int:
    if arguments.command in {"replay", "purge"} and not (arguments.all or arguments.ids or _filtered(arguments)):
        raise Failure(f"Say which: ids, filters, or --all. ./task dead-letters -- {arguments.command} --help explains them.")
    store = ObjectStore(s3.settings())
    try:
        return await COMMANDS[arguments.command](store, arguments)
    except Later as later:
        raise Failure(f"{later}\n./task status shows whether S3 runs here; ./task up starts it.") from None
    finally:
        await store.close()


def _filtered(arguments: argparse.Namespace) -> bool:
    return any((arguments.tenant, arguments.sink, arguments.reason, arguments.since, arguments.until))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    try:
        return asyncio.run(_run(_parser().parse_args(argv)))
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
