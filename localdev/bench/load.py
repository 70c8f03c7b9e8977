"""The load generator: ready-made HTTP/1.1 requests over kept-alive connections, in a process of its own, the same for every server under test.

`closed` keeps so many requests under way and finds the highest throughput; `opened` sends at a rate that doesn't heed the answers and finds the latency
that customers see. It reads no more of an answer than its status and length, so most of a core is left to the server. Anything but 2xx ends the run.
"""

import asyncio
import gc
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Self

import uvloop

OPEN_CONNECTIONS = 64
_GRACE_SECONDS = 30.0
"""For the answers still missing when no more requests are sent."""
_HEAD_END = b"\r\n\r\n"


class LoadError(Exception):
    """A server under test refused a request or hung up: nothing measured would mean anything."""


@dataclass(frozen=True)
class Target:
    """Where requests go and what is in them. Tokens take turns."""

    port: int
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    tokens: tuple[str, ...]
    more_ports: tuple[int, ...] = ()
    """Of further instances of the server, which share the connections evenly."""

    def requests(self) -> list[tuple[bytes, bytes]]:
        """Head and body, one pair a token."""
        fixed = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUser-Agent: bench\r\n{fixed}Content-Length: {len(self.body)}\r\n"
        return [(f"{head}Authorization: Bearer {token}\r\n\r\n".encode(), self.body) for token in self.tokens]


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def throughput(self) -> float:
        """Requests answered in a second."""
        return self.requests / self.seconds


def closed(target: Target, connections: int, seconds: float, at_least: int = 0) -> Outcome:
    """Keep a request under way on each connection for so long, and until there were `at_least`. Raises LoadError."""

    async def job() -> Outcome:
        async with _Client(target, connections) as client:
            deadline = time.perf_counter() + seconds
            client.on_idle = lambda: client.send() if time.perf_counter() < deadline or client.sent < at_least else None
            for _ in range(connections):
                client.send()
            return await client.outcome(seconds)

    return _run(job)


def opened(target: Target, rate: float, seconds: float) -> Outcome:
    """Send `rate` requests a second on average, at random moments, whatever is still unanswered. Raises LoadError.

    The moments are kept to about a millisecond. A request that finds no free connection waits for one, and its wait counts.
    """

    async def job() -> Outcome:
        async with _Client(target, OPEN_CONNECTIONS) as client:
            client.on_idle = client.send_waiting
            began = time.perf_counter()
            for moment in _moments(rate, seconds):
                if (pause := began + moment - time.perf_counter()) > 0:
                    await asyncio.sleep(pause)
                client.waiting.append(time.perf_counter())
                client.send_waiting()
            return await client.outcome(seconds)

    return _run(job)


def _run(job: Callable[[], Coroutine[None, None, Outcome]]) -> Outcome:
    gc.collect()
    gc.disable()  # a pause of ours would count as the server's
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(job())
    finally:
        gc.enable()


def _moments(rate: float, seconds: float) -> Iterator[float]:
    """Arrivals of a Poisson process, the same each time."""
    chance, moment = random.Random(1), 0.0  # noqa: S311 no secret
    while (moment := moment + chance.expovariate(rate)) < seconds:
        yield moment


class _Client:
    """Some connections to one server, and what came back over them."""

    def __init__(self, target: Target, connections: int) -> None:
        self._target = target
        self._requests = cycle(target.requests())
        self._count = connections
        self._connections: list[_Connection] = []
        self._latencies: list[float] = []
        self._done = asyncio.Event()
        self._fault: LoadError | None = None
        self._idle: list[_Connection] = []
        self._began = 0.0
        self.on_idle: Callable[[], None] = lambda: None
        self.sent = 0
        self.waiting: deque[float] = deque()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            for port in islice(cycle((self._target.port, *self._target.more_ports)), self._count):
                _, connection = await loop.create_connection(lambda: _Connection(self._answered, self._failed), "127.0.0.1", port)
                self._connections.append(connection)
        except OSError as error:
            await self.__aexit__()
            raise LoadError(f"port {self._target.port}: {error}") from None
        self._idle = self._connections.copy()
        self._began = time.perf_counter()
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()
        # Closing takes a turn of the loop; one that ends before leaves open sockets to the garbage collector.
        await asyncio.gather(*(connection.lost.wait() for connection in self._connections))

    def send(self, since: float | None = None) -> None:
        """The next request, over an idle connection; its latency counts from `since`, or from now."""
        self.sent += 1
        self._idle.pop().send(next(self._requests), since or time.perf_counter())

    def send_waiting(self) -> None:
        """As many of those waiting as there are idle connections."""
        while self.waiting and self._idle:
            self.send(self.waiting.popleft())

    async def outcome(self, seconds: float) -> Outcome:
        """Wait for the last answer. Raises LoadError."""
        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                while self._fault is None and (len(self._latencies) < self.sent or self.waiting):
                    self._done.clear()
                    await self._done.wait()
        except TimeoutError:
            self._fault = LoadError(f"no answer from port {self._target.port} after {seconds + _GRACE_SECONDS:.0f} s")
        if self._fault:
            raise self._fault
        took = time.perf_counter() - self._began
        ordered = sorted(self._latencies)
        return Outcome(len(ordered), took, percentile(ordered, 50), percentile(ordered, 99))

    def _answered(self, connection: "_Connection", seconds: float) -> None:
        self._latencies.append(seconds)
        self._idle.append(connection)
        self.on_idle()
        if len(self._idle) == self._count:
            self._done.set()

    def _failed(self, fault: str) -> None:
        self._fault = self._fault or LoadError(f"POST {self._target.path} at port {self._target.port}: {fault}")
        self._done.set()


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Nearest rank; nothing sent has no latency."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else float("nan")


class _Connection(asyncio.Protocol):
    """One kept-alive connection: a request at a time."""

    def __init__(self, answered: Callable[["_Connection", float], None], failed: Callable[[str], None]) -> None:
        self._answered = answered
        self._failed = failed
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._since = 0.0
        self.lost = asyncio.Event()

    def send(self, request: tuple[bytes, bytes], since: float) -> None:
        assert self._transport  # noqa: S101 connected before it is used
        self._since = since
        self._transport.writelines(request)

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        if self._transport:
            self._failed(f"the server hung up: {exc}")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(_HEAD_END)
        if not end or len(body) < _length(head):
            return
        self._buffer = b""
        if head[9:10] != b"2":
            self._failed(f"{head[9:].splitlines()[0].decode()}: {body[:300].decode(errors='replace')}")
        else:
            self._answered(self, time.perf_counter() - self._since)


def _length(head: bytes) -> int:
    """What Content-Length says; a 204 has none. None of the servers answers in chunks."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0
