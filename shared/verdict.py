"""A backend's answer → done, Later or Never, by a table that is data: the first row that fits decides.

Rows that look for words stand before the row of their code alone, and refusals before everything that holds: an answer may repeat a customer's words, and
those must not be able to stop a partition. An answer that no row knows is held and reported: losing data to a code nobody thought of is worse than lag.
"""

import logging
from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from shared.contract import RETRY_AFTER_SECONDS, Reason
from shared.errors import Later, Never, Trouble
from shared.telemetry import metrics

log = logging.getLogger(__name__)


class Means(Enum):
    """What an answer means when it refuses no record."""

    DONE = auto()
    TRANSIENT = auto()
    """The backend is in trouble: the same again later, and nothing else of anybody until then."""
    BUSY = auto()
    """This tenant is over a limit of the backend's: the same again later; others go on."""
    CONFIGURATION = auto()
    """Someone has to mend a setting, ours or the backend's: hold everything and say so loudly."""
    UNKNOWN = auto()
    """No row knows it: hold this, and say so loudly."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The backend won't ever take something in the batch. `named`: it said what is wrong with the data."""

    reason: Reason
    named: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """Answers of these codes (HTTP statuses, names of gRPC codes) whose message has these words."""

    codes: Container[int | str]
    means: Means | Refusal
    words: str = ""
    first: bool = False
    """Only if the words are the message's first, where nothing stands that a customer wrote: for what holds everybody."""

    def fits(self, code: int | str, message: str) -> bool:
        """Whether this row is about the answer."""
        return code in self.codes and (message.startswith(self.words) if self.first else self.words in message)


def means(table: Sequence[Row], code: int | str, message: str) -> Means | Refusal:
    """What an answer means."""
    return next((row.means for row in table if row.fits(code, message)), Means.UNKNOWN)


def judge(table: Sequence[Row], code: int | str, message: str, backend: str, retry_after: int = RETRY_AFTER_SECONDS) -> None:
    """Return when the answer means done. Raises Never and Later."""
    verdict = means(table, code, message)
    if verdict is Means.DONE:
        return
    said = f"{backend}: {code} {message[:400]}"
    match verdict:
        case Refusal():
            raise Never(verdict.reason, said, verdict.named, str(code))
        case Means.BUSY:
            raise Later(said, retry_after)
        case Means.TRANSIENT:
            raise Trouble(said, retry_after)
        case Means.CONFIGURATION:
            metrics.HELD.labels(backend, "configuration").inc()
            log.error("held, and no batch can mend it; check the backend's settings and this function's: %s", said)
            raise Trouble(said, retry_after)
        case Means.UNKNOWN:
            metrics.HELD.labels(backend, "unknown").inc()
            log.error("held, since nobody knows what this answer means: %s", said)
            raise Later(said, retry_after)
