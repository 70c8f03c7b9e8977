"""One event into good hands: posted until the function takes it, or refuses it and the dead letters take it.

There is no third way out but being told to stop, so nothing is ever dropped. Retry loops log a line now and then, not one a try.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from time import monotonic
from typing import Protocol

import aiohttp

from localdev.functions import Function
from localdev.trigger import metrics, policy
from localdev.trigger.events import Event, KafkaHeaders, dead_letter_headers
from localdev.trigger.patience import Patience
from localdev.trigger.policy import Verdict

log = logging.getLogger("trigger")

REQUEST_SECONDS = 60.0
CONNECT_SECONDS = 2.0
COMPLAINT_SECONDS = 10.0
"""At most one line per function and so long about a function that doesn't take its events."""
_BIG_BODY = 1 << 20
"""From here on the HTTP client wants a file, which it sends in pieces."""
_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class Grave(Protocol):
    """The dead letters."""

    async def publish(self, event: Event, headers: KafkaHeaders) -> bool:
        """Whether the letter is safe."""


@dataclass(frozen=True)
class Answer:
    """What came back; status None when nothing did."""

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""


class Delivery:
    """Delivers to one function."""

    def __init__(self, function: Function, session: aiohttp.ClientSession, dead_letters: Grave) -> None:
        self._name = function.name
        self._url = f"{function.url}/"
        self._session = session
        self._dead_letters = dead_letters
        self._timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        self._seconds = metrics.SECONDS.labels(self._name)
        self._buried = metrics.DEAD_LETTERS.labels(self._name)  # told as 0 from now on
        self._deliveries = {verdict: metrics.DELIVERIES.labels(self._name, verdict) for verdict in Verdict}
        self._patience = Patience()
        self._next_complaint = 0.0
        self._tries_since = 0

    async def deliver(self, event: Event, closing: asyncio.Event) -> bool:
        """True once the event is in good hands; false when `closing` was set before."""
        retry = 0
        while not closing.is_set():
            answer = await self._post(event, retry + 1)
            meaning = policy.verdict(answer.status)
            self._deliveries[meaning].inc()
            if meaning is Verdict.DONE or (meaning is Verdict.DEAD and await self._bury(event, retry + 1, answer)):
                self._patience.taken()
                return True
            self._complain(event, answer)
            metrics.RETRIES.labels(self._name).inc()
            await self._patience.wait(retry, closing)
            retry += 1
        return False

    async def _post(self, event: Event, attempts: int) -> Answer:
        data = event.body if len(event.body) < _BIG_BODY else BytesIO(event.body)
        headers, began = _tried(event, attempts), monotonic()
        try:
            response = await self._session.post(
                self._url, data=data, headers=headers, timeout=self._timeout, allow_redirects=False, skip_auto_headers=_AUTOMATIC
            )
            # Read it lets its connection go, and closes it when that fails; a context manager would only cost.
            return Answer(response.status, response.headers, await response.read())
        except TimeoutError:
            return Answer(None, error=f"no answer within {REQUEST_SECONDS:.0f} s")
        except aiohttp.ClientError as error:
            return Answer(None, error=str(error) or type(error).__name__)
        finally:
            self._seconds.observe(monotonic() - began)

    async def _bury(self, event: Event, attempts: int, answer: Answer) -> bool:
        # In a cluster the sink's name is the destination's host.
        event = replace(event, headers={**_tried(event, attempts), "ce-sink": self._name})
        headers = dead_letter_headers(event, self._url, answer.status or 0, answer.headers.items(), answer.body)
        buried = await self._dead_letters.publish(event, headers)
        fields = {"target": self._name, "status": answer.status, "event": event.headers.get("ce-id")}
        if buried:
            self._buried.inc()
            log.error("refused, now a dead letter", extra=fields)
        else:
            log.error("refused, but the dead letters don't take it; both will be tried again", extra=fields)
        return buried

    def _complain(self, event: Event, answer: Answer) -> None:
        self._tries_since += 1
        if monotonic() < self._next_complaint:
            return
        fields = {"target": self._name, "status": answer.status, "error": answer.error, "event": event.headers.get("ce-id"), "tries": self._tries_since}
        log.warning("not delivered, will be tried again", extra=fields)
        self._next_complaint = monotonic() + COMPLAINT_SECONDS
        self._tries_since = 0


def _tried(event: Event, attempts: int) -> dict[str, str]:
    """The event's headers with the number of its attempt, unless it has one: that of a dead letter says how often its record was tried before it died."""
    return {"ce-attempts": str(attempts), **event.headers}
