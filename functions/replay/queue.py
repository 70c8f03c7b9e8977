"""The letters that wait for a sink, as a listing shows them: in the order in which they are sent, and how many there are and how old."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Final
from uuid import UUID

from shared import dead_letters
from shared.dead_letters import Place
from shared.object_store import Listed, ObjectStore
from shared.telemetry import metrics

MOST: Final = 10_000
"""Letters of a sink that one tick looks at."""
REST_SECONDS: Final = 5.0
MOST_REST_SECONDS: Final = 300.0


@dataclass(slots=True)
class Queue:
    """Of one sink. `left`: those that still wait, resting ones too."""

    sink: str
    left: dict[Place, datetime]
    """With the moment at which each was put where it lies."""

    def due(self) -> list[Place]:
        """Those whose turn it is: never put off, or long enough ago."""
        now = datetime.now(UTC)
        return [place for place, since in self.left.items() if (now - since).total_seconds() >= rest(place.put_off or 0)]


def rest(put_off: int) -> float:
    """Seconds between two tries of a letter: twice as many each time, so that one which its sink can't bear comes ever more rarely."""
    return min(REST_SECONDS * 2.0 ** min(put_off, 16), MOST_REST_SECONDS) if put_off else 0.0


async def find(store: ObjectStore) -> list[Queue]:
    """A queue for each sink that letters wait for. Raises Trouble."""
    names = [folder.removeprefix(dead_letters.WAITING).rstrip("/") for folder in await store.folders(dead_letters.WAITING)]
    sinks = filter(dead_letters.is_sink, names)
    return [Queue(sink, {place: one.modified for one in await _first(store, sink) if (place := Place.of(one.key))}) for sink in sinks]


async def _first(store: ObjectStore, sink: str) -> list[Listed]:
    found: list[Listed] = []
    async for page in store.pages(dead_letters.waiting_for(sink)):
        found += page
        if len(found) >= MOST:
            break
    return found


def tell(queues: Iterable[Queue]) -> None:
    """The metrics, after a tick."""
    metrics.WAITING.clear()
    metrics.WAITING_SECONDS.clear()
    for queue in queues:
        metrics.WAITING.labels(queue.sink).set(len(queue.left))
        metrics.WAITING_SECONDS.labels(queue.sink).set(max((time() - _came_in(place) for place in queue.left), default=0.0))


def _came_in(place: Place) -> float:
    """When ingest took the record, in seconds since 1970: a UUIDv7 begins with its milliseconds; of another id only the day is known."""
    try:
        id_ = UUID(place.id.partition(".")[0])
        return (id_.int >> 80) / 1000 if id_.version == 7 else datetime.fromisoformat(place.day).replace(tzinfo=UTC).timestamp()
    except ValueError:  # no letter of ours
        return time()
