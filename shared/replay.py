"""A dead letter to the sink that failed, once more, and what becomes of its object. For the function `replay` and for `./task dead-letters -- replay`.

The object is deleted only after the sink's yes. A crash in between, or two that replay the same letter at once, send it twice, which does no harm: ids stay the
same, so no sink stores it twice.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared import dead_letters
from shared.backend import Backend
from shared.dead_letters import Letter, Place
from shared.delivery import DEAD_HEADER, REASON_HEADER, SKIPPED_HEADER, Died
from shared.errors import Later
from shared.object_store import Missing, ObjectStore


@dataclass(frozen=True, slots=True)
class Outcome:
    """A sink's final word: taken or refused.

    `dead`: what its backend refused is dead letters now, the whole batch or parts of it. `skipped`: taken and let go, since the sink is switched to skip.
    """

    status: int
    reason: str
    text: str
    dead: str
    skipped: bool

    @property
    def taken(self) -> bool:
        return self.status == 204


class Became(StrEnum):
    """What became of a letter."""

    STORED = "stored"
    DEAD_AGAIN = "dead again"
    """The sink took it, and its backend refused it or parts of it: new letters say why."""
    REFUSED = "refused"
    """By the sink itself; it stays, with what was said now."""
    GONE = "gone"
    """Somebody else was faster."""
    NOT_OURS = "not ours"
    """No event that could be sent."""


Send = Callable[[Mapping[str, str], bytes], Awaitable[Outcome]]
"""An event's headers and body to a sink."""


async def ask(sink: Backend, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Send an event as a trigger does. Raises Later when the sink says neither yes nor no.

    Stricter than a trigger, since letters are deleted by the answer: a page that says 200 to everybody, or a gateway's 403, is no sink's word.
    """
    answer = await sink.post("/", body, headers)
    text, reason = " ".join(answer.text.split()), answer.headers.get(REASON_HEADER, "")
    if answer.status != 204 and not (reason and 400 <= answer.status < 500):
        raise Later(f"{answer.status} {text}")
    return Outcome(answer.status, reason, text, answer.headers.get(DEAD_HEADER, ""), SKIPPED_HEADER in answer.headers)


async def replay(store: ObjectStore, place: Place, send: Send) -> Became:
    """Send a letter. Raises whatever `send` raises, and Trouble when S3 is away: the letter is still there then."""
    try:
        letter = await read(store, place)
    except Missing:
        return Became.GONE
    headers = dead_letters.event(letter)
    if headers is None:
        return Became.NOT_OURS
    outcome = await send(headers, letter.body)
    if not outcome.taken:
        news = {"status": str(outcome.status), "reason": outcome.reason, "detail": outcome.text}
        await move(store, place, dead_letters.refused_again(letter, news))
        return Became.REFUSED
    if outcome.dead != Died.WHOLE or place.put_off is not None:  # else it is the same letter again: dead_letter puts it in this one's place, perhaps already
        await store.delete([place.key])
    return Became.DEAD_AGAIN if outcome.dead else Became.STORED


async def read(store: ObjectStore, place: Place) -> Letter:
    """The letter at a place. Raises Missing and Trouble."""
    body, attributes = await store.get(place.key)
    return Letter(place, body, attributes)


async def move(store: ObjectStore, place: Place, letter: Letter) -> None:
    """Put a letter that lay at `place` where it belongs now. Raises Trouble."""
    await store.put(letter.place.key, letter.body, letter.attributes)
    if letter.place != place:
        await store.delete([place.key])
