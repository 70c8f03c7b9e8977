"""What the event loop wants done on the consumer, kept until the consumer's thread gets to it: the latest wish per partition."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

Place = tuple[str, int]
"""Topic and partition."""


@dataclass
class Wishes:
    """Offsets to store, and partitions to pause (true) or resume (false)."""

    offsets: dict[Place, int] = field(default_factory=dict)
    pauses: dict[Place, bool] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.offsets or self.pauses)


class Errands:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wishes = Wishes()

    def store(self, place: Place, offset: int) -> None:
        """Everything before `offset` is in good hands."""
        with self._lock:
            self._wishes.offsets[place] = offset

    def pause(self, place: Place) -> None:
        """Read no more of it for now."""
        with self._lock:
            self._wishes.pauses[place] = True

    def resume(self, place: Place) -> None:
        """Read it again."""
        with self._lock:
            self._wishes.pauses[place] = False

    def take(self) -> Wishes:
        """All wishes so far; they are the caller's then."""
        with self._lock:
            taken, self._wishes = self._wishes, Wishes()
        return taken

    def forget(self, places: Iterable[Place]) -> None:
        """These partitions are gone, and every wish about them."""
        with self._lock:
            for place in places:
                self._wishes.offsets.pop(place, None)
                self._wishes.pauses.pop(place, None)
