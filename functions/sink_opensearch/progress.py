"""How far the deliveries of a batch came that took longer than one may: the next one goes on from there, and so the batch comes to its end.

Only a short cut, as in `shared.isolation`: without it (another instance, a restart) the work begins again, and what is stored already adds nothing.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from shared.delivery import Died
from shared.envelope import Record
from shared.errors import Later

MOST_BATCHES: Final = 1000
"""That are remembered; the oldest are forgotten first."""


@dataclass(slots=True)
class Progress:
    """`done`: that many of the batch's first log records are stored or buried; `died`: how much of it is buried."""

    done: int = 0
    died: Died = Died.NOTHING


class Unfinished:
    """One per sink."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[tuple[str, str], Progress] = OrderedDict()

    @contextmanager
    def of(self, record: Record) -> Iterator[Progress]:
        """What is known of the record's batch; remembered if the block raises Later."""
        key = (record.id, record.extensions.get("part", ""))
        progress = self._remembered.pop(key, None) or Progress()
        try:
            yield progress
        except Later:
            if progress.done:
                self._remembered[key] = progress
            if len(self._remembered) > MOST_BATCHES:
                self._remembered.popitem(last=False)
            raise
