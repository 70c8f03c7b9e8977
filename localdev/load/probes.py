"""From an event to its being found: as one tenant, a numbered log record, sample and span every second, and a look through query until each shows up.

Looks come every half second, so what is told is up to so much too long and never too short.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp

from localdev.backends import tempo
from localdev.chaos.load import METRIC, SPANS_PER_TRACE, Run
from localdev.load.generator import GivenUp, deliver, session
from localdev.load.profiles import LOGS, SAMPLES, SPANS
from localdev.load.requests import encode
from shared.contract import QUERY_PREFIX, TOKEN_HEADER

BACKENDS: Final[Mapping[str, str]] = {"loki": LOGS, "opensearch": LOGS, "prometheus": SAMPLES, "tempo": SPANS}
"""And the signal that each has."""
EVERY_SECONDS, LOOK_SECONDS = 1.0, 0.5
PAGE: Final = 100
"""Of the oldest that may be missing: so many a look asks for."""


class Probes:
    """On a thread of its own. Use it in a `with`; `stop` before its end, so that the last ones can be found."""

    def __init__(self, gateway: str, token: str, run: Run, patience: float) -> None:
        self._gateway, self._token, self._run, self._patience = gateway, token, run, patience
        self._sent = 0
        self._pending: dict[str, dict[int, float]] = {backend: {} for backend in BACKENDS}
        self._stopping, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="probes", daemon=True)
        self.found: dict[str, list[tuple[float, float]]] = {backend: [] for backend in BACKENDS}
        """By backend: when an event happened, in seconds since 1970, and how many seconds later it was found."""
        self.given_up: list[str] = []

    def __enter__(self) -> "Probes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._ending.set()
        self._thread.join()

    def stop(self) -> None:
        """Send no more."""
        self._stopping.set()

    def missing(self) -> dict[str, int]:
        """By backend: how many of those sent weren't found yet."""
        return {backend: len(pending) for backend, pending in self._pending.items()}

    async def _main(self) -> None:
        async with session(self._gateway) as http:
            looks: dict[str, Callable[[aiohttp.ClientSession], Awaitable[set[int]]]]
            looks = {"loki": self._loki, "opensearch": self._opensearch, "prometheus": self._prometheus, "tempo": self._tempo}
            await asyncio.gather(self._send_all(http), *(self._find(http, backend, look) for backend, look in looks.items()))

    async def _send_all(self, http: aiohttp.ClientSession) -> None:
        began, tasks = time.monotonic(), set[asyncio.Task[None]]()
        while not self._stopping.is_set():
            for signal in (LOGS, SAMPLES, SPANS):
                task = asyncio.create_task(self._send(http, signal, self._sent))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            self._sent += 1
            await asyncio.sleep(max(0.0, began + self._sent * EVERY_SECONDS - time.monotonic()))
        await asyncio.gather(*tasks)

    async def _send(self, http: aiohttp.ClientSession, signal: str, number: int) -> None:
        happened_ns = time.time_ns()
        waiting = [self._pending[backend] for backend, has in BACKENDS.items() if has == signal]
        for pending in waiting:
            pending[number] = happened_ns / 1e9
        try:
            await deliver(http, encode(signal, self._run, number, 1, happened_ns), self._token, "", self._patience, lambda _: None)
        except GivenUp as failure:
            self.given_up.append(str(failure))
            for pending in waiting:
                pending.pop(number, None)

    async def _find(self, http: aiohttp.ClientSession, backend: str, look: Callable[[aiohttp.ClientSession], Awaitable[set[int]]]) -> None:
        pending = self._pending[backend]
        while not self._ending.is_set() and not (self._stopping.is_set() and not pending):
            if pending:
                try:
                    numbers = await look(http)
                except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):  # a backend that is busy or coming back: the next look tells
                    numbers = set()
                now = time.time()
                self.found[backend] += [(happened, now - happened) for number in numbers if (happened := pending.pop(number, None)) is not None]
            await asyncio.sleep(LOOK_SECONDS)

    def _oldest(self, backend: str) -> float:
        """When the first of those that are missing happened; seconds since 1970."""
        return min(self._pending[backend].values(), default=time.time())

    async def _loki(self, http: aiohttp.ClientSession) -> set[int]:
        start = str(int((self._oldest("loki") - 1) * 1e9))
        asked = {"query": f'{{service_name="{self._run.service}"}}', "start": start, "limit": str(PAGE), "direction": "forward"}
        streams = (await self._get(http, "/loki/api/v1/query_range", asked))["data"]["result"]
        return {int(line.split()[1]) for stream in streams for _, line in stream["values"]}

    async def _opensearch(self, http: aiohttp.ClientSession) -> set[int]:
        asked = {"q": self._run.name, "from": str(int((self._oldest("opensearch") - 1) * 1000)), "sort": "oldest", "size": str(PAGE)}
        return {int(hit["body"].split()[1]) for hit in (await self._get(http, "/api/logs/search", asked))["hits"]}

    async def _prometheus(self, http: aiohttp.ClientSession) -> set[int]:
        seconds = int(time.time() - self._oldest("prometheus")) + 2
        series = (await self._get(http, "/prometheus/api/v1/query", {"query": f'{METRIC}{{run="{self._run.name}"}}[{seconds}s]'}))["data"]["result"]
        return {int(float(value)) for one in series for _, value in one["values"]}

    async def _tempo(self, http: aiohttp.ClientSession) -> set[int]:
        """The traces of the oldest and the newest that are missing: a trace has the spans of some minutes."""
        pending = self._pending["tempo"]
        found: set[int] = set()
        for trace in {min(pending) // SPANS_PER_TRACE, max(pending) // SPANS_PER_TRACE}:
            answer = await self._get(http, f"/tempo/api/traces/{self._run.trace_id(trace).hex()}", {})
            found |= {int(span["name"]) for span in tempo.spans(answer)}
        return found

    async def _get(self, http: aiohttp.ClientSession, path: str, asked: Mapping[str, str]) -> Any:
        async with http.get(f"{QUERY_PREFIX}{path}", params=asked, headers={TOKEN_HEADER: self._token, "accept": "application/json"}) as answer:
            answer.raise_for_status()
            return await answer.json()
