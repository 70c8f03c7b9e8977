"""A run: requests of one protocol at one process, the answers judged, the process's memory watched. The same seed sends the same requests."""

import asyncio
import ipaddress
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil

from localdev.fuzz import http, otlp_grpc, otlp_http, remote_write

_WARM_UP = 0.1
_GROWTH = 0.1
"""The first tenth of the requests fills caches and pools; from then on memory may grow by a tenth."""


@dataclass(frozen=True)
class Protocol:
    """How its requests are made, sent and judged."""

    client: Callable[[str], AbstractAsyncContextManager[Callable[[Any], Awaitable[Any]]]]
    attempt: Callable[[random.Random, str], Any]
    judge: Callable[[Any, Any], str | None]


PROTOCOLS = {
    "ingest_otlp": Protocol(http.client, otlp_http.attempt, otlp_http.judge),
    "ingest_otlp_grpc": Protocol(otlp_grpc.client, otlp_grpc.attempt, otlp_grpc.judge),
    "ingest_prom": Protocol(http.client, remote_write.attempt, remote_write.judge),
}
"""By the function that speaks it."""


@dataclass
class Run:
    """What is sent where, and what came of it."""

    protocol: Protocol
    url: str
    token: str
    requests: int
    seconds: float
    seed: int
    statuses: Counter[str] = field(default_factory=Counter)
    complaints: Counter[str] = field(default_factory=Counter)
    rss: list[int] = field(default_factory=list)
    sent: int = 0

    async def go(self, workers: int) -> None:
        """Send all of it, or as much as time allows."""
        process, until = serving(self.url), time.monotonic() + self.seconds
        attempts = self._attempts(process, until)
        async with self.protocol.client(self.url) as send:
            await asyncio.gather(*(self._work(send, attempts) for _ in range(workers)))
        self.rss.append(rss(process))

    def _attempts(self, process: psutil.Process, until: float) -> Iterator[Any]:
        source, marks = random.Random(self.seed), {0, int(self.requests * _WARM_UP)}  # noqa: S311 repeatable, not secret
        while self.sent < self.requests and time.monotonic() < until:
            if self.sent in marks:
                self.rss.append(rss(process))
            self.sent += 1
            yield self.protocol.attempt(source, self.token)

    async def _work(self, send: Callable[[Any], Awaitable[Any]], attempts: Iterator[Any]) -> None:
        for one in attempts:
            try:
                answer = await send(one)
            except (aiohttp.ClientError, TimeoutError) as error:
                self.complaints[f"no answer: {type(error).__name__} {error}"[:200]] += 1
                continue
            self.statuses[str(answer.status)] += 1
            if complaint := self.protocol.judge(one, answer):
                self.complaints[complaint[:200]] += 1

    @property
    def is_flat(self) -> bool:
        """Whether memory stayed what it was after the warm-up."""
        return self.rss[-1] <= self.rss[-2] * (1 + _GROWTH)


def serving(url: str) -> psutil.Process:
    """The process that listens at `url`. Raises SystemExit."""
    at = urlsplit(url)
    if not (at.hostname == "localhost" or (at.hostname and ipaddress.ip_address(at.hostname).is_loopback)):
        raise SystemExit(f"{url} isn't on this machine")
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (at.port,) and connection.pid:
            return psutil.Process(connection.pid)
    raise SystemExit(f"nothing listens at {url}")


def rss(process: psutil.Process) -> int:
    """Bytes of memory that the server and its workers have."""
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
