"""`./task backfill -- …`: feeds one sink again with what came in between two moments, after its backend has lost it.

From the topics as far back as they reach, before that from the archive (sink_archive, if it was on). Ids stay the same, so what the backend still has isn't
stored twice, and the command can be repeated. Other sinks and the triggers' offsets are untouched.

examples:
  ./task backfill -- --sink sink_opensearch --from 2h
  ./task backfill -- --sink sink_opensearch --from 2026-11-20 --to 2026-11-21T06:00Z --tenant "Acme Rockets"
  ./task backfill -- --sink sink_loki --from 1d --rate 50 --source archive
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from localdev import admin, dead_letters, feed, functions, where
from localdev.admin import Failure
from localdev.feed import Feeder
from localdev.functions import Trigger
from localdev.past import Past
from localdev.trigger.events import WRAPPED_TYPE, Event
from shared import archive, envelope
from shared.contract import Topic
from shared.errors import Later
from shared.object_store import Missing, ObjectStore
from shared.turns import turns

_SLACK: Final = timedelta(minutes=1)
"""By which a record's time in its topic may differ from that of its coming in."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: of which tenant (all, if empty), come in between `begin` and `end`."""

    tenant_id: str
    begin: datetime
    end: datetime

    def has(self, event: Event) -> bool:
        """Whether the event is one of them."""
        headers = event.headers
        if headers.get("ce-type") == WRAPPED_TYPE or (self.tenant_id and headers.get("ce-tenantid") != self.tenant_id):
            return False
        try:
            return self.begin <= datetime.fromisoformat(headers["ce-time"]) < self.end
        except (KeyError, ValueError, TypeError):
            return False


async def from_topics(past: Past, wanted: Wanted) -> AsyncIterator[Event]:
    """From the topics, each partition in order."""
    async for event in past.between(wanted.begin - _SLACK, wanted.end + _SLACK):
        if wanted.has(event):
            yield event


async def from_archive(store: ObjectStore, signals: Sequence[Topic], wanted: Wanted) -> AsyncIterator[Event]:
    """From the archive, by tenant and hour."""
    tenants = [wanted.tenant_id] if wanted.tenant_id else [folder.split("/")[1] for folder in await store.folders(archive.PREFIX)]
    for tenant_id in tenants:
        for topic in signals:
            for hour in await store.folders(archive.folder(tenant_id, topic)):
                if not archive.in_range(hour, wanted.begin, wanted.end):
                    continue
                async for page in store.pages(hour):
                    for one in page:
                        try:
                            body, attributes = await store.get(one.key)
                        except Missing:
                            continue
                        event = Event(envelope.event_headers(attributes), body)
                        if wanted.has(event):
                            yield event


async def backfill(store: ObjectStore, arguments: argparse.Namespace) -> int:
    """Feed the sink; 1 when it refused something."""
    function, trigger = _sink(arguments.sink)
    wanted = Wanted(await dead_letters.tenant(arguments.tenant), arguments.begin, arguments.end or datetime.now(UTC))
    if wanted.begin >= wanted.end:
        raise Failure("--from must be before --to")
    signals = [Topic(topic) for topic in trigger.topics]
    past = Past(where.bootstrap_servers(), signals)
    counts: Counter[str] = Counter()
    try:
        sources = await _sources(arguments.source, store, past, signals, wanted)
        with _progress() as show:
            async with Feeder(function, arguments.rate) as feeder:
                for name, events in sources:
                    await _feed(feeder, trigger.in_flight, events, counts, partial(show, name, counts))
    finally:
        past.close()
    columns = ("taken", "with dead letters", "refused", "bytes")
    admin.show(("sink", *columns), [(function.name, *(f"{counts[column]:,}" for column in columns))], columns)
    return 1 if counts["refused"] else 0


def _sink(name: str) -> tuple[functions.Function, Trigger]:
    rows = {function.name: (function, function.trigger) for function in functions.catalogue() if function.trigger and function.name.startswith("sink_")}
    found = rows.get(name) or rows.get(f"sink_{name}")
    if found is None:
        raise Failure(f"There is no sink {name!r}; there are: {', '.join(rows)}")
    return found


async def _sources(source: str, store: ObjectStore, past: Past, signals: Sequence[Topic], wanted: Wanted) -> list[tuple[str, AsyncIterator[Event]]]:
    """What to read, oldest first. What both have is sent twice, and stored once."""
    found = []
    lost = await asyncio.to_thread(past.lost_before) if source == "auto" else None
    if source == "archive" or (lost and wanted.begin < lost + _SLACK):
        until = min(wanted.end, lost + _SLACK) if lost else wanted.end
        archived = Wanted(wanted.tenant_id, wanted.begin, until)
        if source == "auto":
            print(f"The topics don't reach back beyond {lost:%Y-%m-%d %H:%M:%S} UTC; what was before comes from the archive.", file=sys.stderr)
        if not await store.folders(archive.PREFIX):
            print("The archive is empty: was sink_archive on? (./task up -- --with sink_archive)", file=sys.stderr)
        found.append(("archive", from_archive(store, signals, archived)))
    if source != "archive":
        found.append(("topics", from_topics(past, wanted)))
    return found


async def _feed(feeder: Feeder, at_once: int, events: AsyncIterator[Event], counts: Counter[str], show: Callable[[], None]) -> None:
    """Send all, at most `at_once` at a time. Raises the first Failure."""

    async def one(event: Event) -> None:
        outcome = await feeder.send(event.headers, event.body)
        counts["taken" if outcome.taken else "refused"] += 1
        counts["with dead letters"] += bool(outcome.dead)
        counts["bytes"] += len(event.body)
        if not outcome.taken:
            print(f"refused: {event.headers.get('ce-id')}: {outcome.status} {outcome.text}", file=sys.stderr)
        show()

    async with turns(at_once) as start:
        async for event in events:
            await start(one(event))


@contextmanager
def _progress() -> Iterator[Callable[[str, Counter[str]], None]]:
    """A line on the terminal: where from, how many."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("looking", total=None)
        yield lambda name, counts: progress.update(task, description=f"from the {name}: {counts['taken']:,} taken, {counts['refused']:,} refused")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of records a second")
    return rate


def _parser() -> argparse.ArgumentParser:
    parser = admin.parser("backfill", __doc__, where.HELP)
    parser.add_argument("--sink", required=True, metavar="NAME", help="which: sink_opensearch, or opensearch for short")
    parser.add_argument(
        "--from", dest="begin", required=True, type=feed.moment, metavar="WHEN", help="came in then or later: 2h (ago), 2026-11-24, 2026-11-24T10:30Z"
    )
    parser.add_argument("--to", dest="end", type=feed.moment, metavar="WHEN", help="came in before (default: now)")
    parser.add_argument("--tenant", default="", metavar="NAME", help="one tenant's only: name or id")
    parser.add_argument("--rate", type=_rate, metavar="N", help="at most so many records (batches) a second (default: as fast as the sink takes them)")
    parser.add_argument(
        "--source", choices=("auto", "topic", "archive"), default="auto", help="where from (default: the topics, and the archive for what is past them)"
    )
    return parser


async def _run(arguments: argparse.Namespace) -> int:
    store = ObjectStore(where.object_store())
    try:
        return await backfill(store, arguments)
    except Later as later:
        raise Failure(f"{later}\n{where.remedy('s3')}") from None
    except KafkaException as error:
        raise Failure(f"Kafka can't be reached: {error}\n{where.remedy('kafka')}") from None
    finally:
        await store.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    return admin.main("backfill", _parser(), lambda arguments: asyncio.run(_run(arguments)), argv, where.NAMES)


if __name__ == "__main__":
    sys.exit(main())
