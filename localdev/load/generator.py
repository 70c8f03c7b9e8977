"""Sends what clients have to send, when it is due: a process of its own, so that nothing else of ours is in the latencies.

An open loop: batches become due by the schedule, however slowly answers come, and a latency counts from then on, so waiting for a slow answer counts as well.
Each client behaves like the real one: an OTLP exporter has some requests under way at a time, remote_write one, to keep order; what wasn't taken is sent again,
after `Retry-After` where the answer has one. A request that waits to be sent again holds its place among those under way.
"""

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

import aiohttp
import uvloop

from localdev.chaos.load import Run
from localdev.load.profiles import SAMPLES
from localdev.load.requests import Request, encode
from localdev.load.schedule import Batch, Client
from shared.contract import TOKEN_HEADER

OTLP_UNDER_WAY: Final = 10
"""Requests of one OTLP exporter at a time: the Collector's `sending_queue.num_consumers`."""
TRACED: Final = 5
"""Every so manieth request carries a trace context, by which its record is known in the topic again."""
TICK_SECONDS: Final = 1.0
_AGAIN: Final = frozenset({429, 502, 503, 504})
_AGAIN_SECONDS: Final = 1.0
_MOST_AGAIN_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 30.0
_AHEAD_SECONDS: Final = 0.5
"""A batch is encoded so long before it is due, so that encoding is in no latency."""


@dataclass(frozen=True)
class Plan:
    """Whom to send to, as whom, what, and from when on: `began` is in seconds since 1970. Tenants' tokens and runs by their number."""

    gateway: str
    began: float
    tokens: Sequence[str]
    runs: Sequence[Run]
    clients: Sequence[Client]
    patience: float
    """Seconds until a batch that isn't taken is given up."""


class Push(NamedTuple):
    """A batch that was taken. Seconds, from the start of the run: due, and answered; `late`: sent so long after it was due."""

    tenant: int
    signal: str
    due: float
    answered: float
    late: float
    records: int
    bytes: int
    trace: str

    @property
    def latency(self) -> float:
        """From due to taken."""
        return self.answered - self.due


@dataclass
class Tick:
    """What happened since the last one."""

    pushes: list[Push] = field(default_factory=list)
    again: Counter[str] = field(default_factory=Counter)
    """Requests sent again, by why: a status, or the kind of a transport's error."""
    given_up: list[str] = field(default_factory=list)
    """What was refused for good or not taken in time: an example of each batch."""
    cpu: float = 0.0
    """Seconds that this process used so far."""
    waiting: int = 0
    """Batches that are due and not taken."""
    done: bool = False


class GivenUp(Exception):
    """A batch was refused for good, or not taken in time."""


def work(told: Connection, plan: Plan) -> None:
    """Send everything, tell a Tick each second; the last is `done`. The process's main."""
    gc.collect()
    gc.freeze()  # the schedule is large and stays: looking through it would be a pause of ours that counts as the pipeline's
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(told.send, plan))


async def _work(tell: Callable[[Tick], None], plan: Plan) -> None:
    async with session(plan.gateway) as http:
        load = Load(http, plan)
        sending = asyncio.gather(*(load.run(client) for client in plan.clients))
        while not sending.done():
            await asyncio.wait({sending}, timeout=TICK_SECONDS)
            tell(load.tick(done=False))
        await sending
        tell(load.tick(done=True))


def session(gateway: str) -> aiohttp.ClientSession:
    """Kept connections, as many as are wanted."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    return aiohttp.ClientSession(gateway, connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60), cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout)


class Load:
    """All clients of a plan."""

    def __init__(self, http: aiohttp.ClientSession, plan: Plan) -> None:
        self._http = http
        self._plan = plan
        self._tick = Tick()
        self._waiting = 0
        self._zero = time.monotonic() + plan.began - time.time()

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._zero

    def tick(self, done: bool) -> Tick:
        """What happened since it was called last."""
        tick, self._tick = self._tick, Tick()
        tick.cpu, tick.waiting, tick.done = time.process_time(), self._waiting, done
        return tick

    async def run(self, client: Client) -> None:
        """Send all of a client's batches."""
        free = asyncio.Semaphore(1 if client.signal == SAMPLES else OTLP_UNDER_WAY)
        under_way = set[asyncio.Task[None]]()
        for number, batch in enumerate(client.batches):
            await self._until(batch.due - _AHEAD_SECONDS)
            happened_ns = int((self._plan.began + batch.happened) * 1e9)
            request = encode(client.signal, self._plan.runs[client.tenant], batch.first, client.size, happened_ns)
            await self._until(batch.due)
            self._waiting += 1
            await free.acquire()
            trace = random.randbytes(16).hex() if number % TRACED == 0 else ""  # noqa: S311 no secret
            task = asyncio.create_task(self._send(client, batch, request, trace))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            task.add_done_callback(lambda _: free.release())
        if under_way:
            await asyncio.gather(*under_way)

    async def _until(self, moment: float) -> None:
        if (left := moment - self.now()) > 0:
            await asyncio.sleep(left)

    async def _send(self, client: Client, batch: Batch, request: Request, trace: str) -> None:
        late = self.now() - batch.due
        try:
            await deliver(self._http, request, self._plan.tokens[client.tenant], trace, self._plan.patience, self._tick_again)
        except GivenUp as failure:
            self._tick.given_up.append(str(failure))
        else:
            self._tick.pushes.append(Push(client.tenant, client.signal, batch.due, self.now(), late, client.size, len(request.body), trace))
        self._waiting -= 1

    def _tick_again(self, why: str) -> None:
        self._tick.again[why] += 1


async def deliver(http: aiohttp.ClientSession, request: Request, token: str, trace: str, patience: float, again: Callable[[str], None]) -> None:
    """Send until it is taken, telling each time why it is sent again. Raises GivenUp."""
    headers = {**request.headers, TOKEN_HEADER: token}
    if trace:
        headers["traceparent"] = f"00-{trace}-{trace[:16]}-00"
    deadline = time.monotonic() + patience
    while True:
        wait = _AGAIN_SECONDS
        try:
            async with http.post(request.path, headers=headers, data=request.body) as answer:
                text = await answer.read()
            if answer.status // 100 == 2:
                return
            why = str(answer.status)
            if answer.status not in _AGAIN:
                raise GivenUp(f"{request.path}: {answer.status} {text[:200].decode(errors='replace')}")
            wait = retry_after(answer.headers.get("retry-after", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            why = type(error).__name__
        if time.monotonic() + wait > deadline:
            raise GivenUp(f"{request.path}: not taken within {patience:.0f} s; last: {why}")
        again(why)
        await asyncio.sleep(wait)


def retry_after(value: str) -> float:
    """Seconds to wait as the header says; a second where it says nothing that we know, and never longer than half a minute."""
    return min(float(value), _MOST_AGAIN_SECONDS) if value.isdecimal() else _AGAIN_SECONDS
