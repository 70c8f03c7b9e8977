"""`./task dead-letters -- …`: what a sink's backend will never take, kept in S3. Times are those at which ingest took the record.

replay sends letters to the sink that failed, and to no other; a letter is deleted only when that sink has said yes. What is refused again becomes a dead letter
again. It is safe to repeat: ids stay the same, so nothing is stored twice. Letters with the reason retries_ran_out are replayed without you, by the function
`replay`; when you replay or purge one, that is all there is to it.

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
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import psycopg
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from localdev import admin, feed, functions, where
from localdev.admin import Failure
from localdev.feed import Feeder
from localdev.functions import Function
from localdev.preview import preview
from shared import replay as replaying
from shared.contract import Reason
from shared.dead_letters import PREFIX, UNKNOWN, WAITING, Place
from shared.errors import Later
from shared.object_store import Listed, Missing, ObjectStore
from shared.replay import Became
from shared.turns import turns

_AT_ONCE: Final = 16
_SWEEPS: Final = 5
"""Times that purge looks for what it deletes."""
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
    for one in await _find(store, arguments):  # several, if it died of several sinks
        letter = await replaying.read(store, one.place)
        facts = {"object": one.place.key, "bytes": f"{len(letter.body):,}", "died": one.listed.modified, **dict(sorted(letter.attributes.items()))}
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
    columns = tuple(Became)
    admin.show(("sink", *columns), [(sink, *(counts[sink, column] for column in columns)) for sink in sorted(by_sink)], columns)
    for text in failures:
        print(text, file=sys.stderr)
    return 1 if failures or any(counts[sink, column] for sink in by_sink for column in columns if column not in {Became.STORED, Became.GONE}) else 0


async def purge(store: ObjectStore, arguments: argparse.Namespace) -> int:
    """Delete letters for good."""
    found = await _find(store, arguments)
    if not arguments.yes:
        raise Failure(f"{len(found):,} dead letters would be deleted for good, and were not; --yes deletes them")
    meant = {_wherever(one.place) for one in found}
    for _ in range(_SWEEPS):
        await store.delete([one.place.key for one in found])
        # The function `replay` may have moved some of them between the look and the deleting; those that died meanwhile aren't meant.
        found = [one for one in (await _look(store, arguments))[0] if _wherever(one.place) in meant]
        if not found:
            break
    left = {_wherever(one.place) for one in found}
    print(f"{len(meant - left):,} dead letters deleted")
    if left:
        print(f"{len(left):,} are still there, since the function replay moves them at the same time; the same command again deletes them", file=sys.stderr)
    return 1 if left else 0


def _wherever(place: Place) -> Place:
    """The letter's place, however often it was put off."""
    return replace(place, put_off=None)


async def _replay(store: ObjectStore, function: Function, places: Sequence[Place], counts: Counter[tuple[str, str]]) -> None:
    """Count what becomes of each. Raises Failure when the sink can't be reached; those that it has taken are deleted all the same."""

    async def one(place: Place) -> None:
        counts[function.name, await replaying.replay(store, place, feeder.send)] += 1

    in_order = sorted(places, key=lambda place: (place.day, place.id))
    async with Feeder(function) as feeder, turns(function.trigger.in_flight if function.trigger else 1) as start:
        for place in track(in_order, f"to {function.name}", transient=True, disable=not sys.stderr.isatty()):
            await start(one(place))


async def _find(store: ObjectStore, arguments: argparse.Namespace) -> list[Found]:
    """The letters that are meant. Raises Failure when an id has none."""
    found, met = await _look(store, arguments)
    if missing := set(arguments.ids) - met:
        raise Failure(f"There is no dead letter {', '.join(sorted(missing))}; ./task dead-letters -- list shows them.")
    return found


async def _look(store: ObjectStore, arguments: argparse.Namespace) -> tuple[list[Found], set[str]]:
    """The letters that there are now, and the ids of those that might have been meant by their keys alone."""
    tenant_id, met, found = await tenant(arguments.tenant), set[str](), list[Found]()
    for prefix in _prefixes(tenant_id, arguments.reason):
        async for page in store.pages(prefix):
            placed = [(place, one) for one in page if (place := Place.of(one.key)) and tenant_id in {"", place.tenant_id} and _may_be(place, arguments)]
            met.update(place.id for place, _ in placed)
            for start in range(0, len(placed), _AT_ONCE):
                some = placed[start : start + _AT_ONCE]
                metadata = await asyncio.gather(*(_metadata(store, place) for place, _ in some))
                found += [Found(place, one, known) for (place, one), known in zip(some, metadata, strict=True) if known is not None and _is(known, arguments)]
    return found, met


def _prefixes(tenant_id: str, reason: str) -> Sequence[str]:
    """Where such letters lie. First those that wait, which may move while they are looked for."""
    waiting, staying = WAITING, f"{PREFIX}{tenant_id}/" if tenant_id else PREFIX
    return (waiting, staying) if reason in {"", Reason.RETRIES_RAN_OUT} else (staying,)


def _may_be(place: Place, arguments: argparse.Namespace) -> bool:
    """By its key alone, which has the day only."""
    since, until = arguments.since, arguments.until
    return (
        (not arguments.ids or place.id in arguments.ids)
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
        async with await admin.connect(where.database_url()) as connection:
            return await admin.tenant_id(connection, named)
    except (OSError, psycopg.OperationalError):
        raise Failure(f"Names of tenants are in PostgreSQL, which can't be reached; the tenant's id does without. {where.remedy('postgres')}") from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise Failure("Names of tenants are in PostgreSQL, whose tables are older than this checkout; ./task migrate brings them up to date.") from None


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
    parser = admin.parser("dead-letters", __doc__, where.HELP)
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
    store = ObjectStore(where.object_store())
    try:
        return await COMMANDS[arguments.command](store, arguments)
    except Later as later:
        raise Failure(f"{later}\n{where.remedy('s3')}") from None
    finally:
        await store.close()


def _filtered(arguments: argparse.Namespace) -> bool:
    return any((arguments.tenant, arguments.sink, arguments.reason, arguments.since, arguments.until))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    return admin.main("dead-letters", _parser(), lambda arguments: asyncio.run(_run(arguments)), argv, where.NAMES)


if __name__ == "__main__":
    sys.exit(main())
