"""The generator against a gateway that answers as it is told: an open loop, which sends again what wasn't taken, when it is told to, and counts it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from localdev.chaos.load import Run
from localdev.load.generator import OTLP_UNDER_WAY, Load, Plan, Tick, retry_after, session
from localdev.load.profiles import LOGS, SAMPLES
from localdev.load.schedule import Batch, Client
from tests import waiting


@dataclass
class Gateway:
    """`answers`: statuses and headers of the next ones, then 200. `hold`: nothing is answered while it is set."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    came: list[tuple[float, dict[str, str]]] = field(default_factory=list)
    under_way: int = 0
    most: int = 0
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, request: web.Request) -> web.Response:
        await request.read()
        self.came.append((time.monotonic(), {name.lower(): value for name, value in request.headers.items()}))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.hold.wait()
        self.under_way -= 1
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        return web.Response(status=status, headers=headers)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """Answers at once unless told otherwise."""
    made = Gateway()
    made.hold.set()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def plan(gateway: Gateway, *clients: Client, patience: float = 30) -> Plan:
    return Plan(gateway.url, time.time(), ["token"], [Run("r", 0, 0, 0)], clients, patience)


def client(signal: str, *due: float) -> Client:
    return Client(0, signal, 2, tuple(Batch(moment, moment, 2 * number) for number, moment in enumerate(due)))


async def sent(gateway: Gateway, *clients: Client, patience: float = 30) -> Tick:
    """What came of it."""
    async with session(gateway.url) as http:
        load = Load(http, plan(gateway, *clients, patience=patience))
        await asyncio.gather(*(load.run(one) for one in clients))
        return load.tick(done=True)


async def test_each_batch_is_sent_when_it_is_due_with_its_tenants_token(gateway: Gateway) -> None:
    began = time.monotonic()
    tick = await sent(gateway, client(LOGS, 0.0, 0.3))
    assert [push.records for push in tick.pushes] == [2, 2]
    assert all(headers["x-obstack-auth-token"] == "token" for _, headers in gateway.came)
    assert [moment - began >= due for (moment, _), due in zip(gateway.came, (0.0, 0.29), strict=True)] == [True, True]


@pytest.mark.parametrize("status", [429, 503])
async def test_what_was_not_taken_is_sent_again_once_the_answer_allows_and_counted(gateway: Gateway, status: int) -> None:
    gateway.answers = [(status, {"retry-after": "2"})]
    tick = await sent(gateway, client(LOGS, 0.0))
    (first, _), (second, _) = gateway.came
    assert second - first >= 2
    assert tick.again == {str(status): 1}
    assert tick.pushes[0].latency >= 2
    assert not tick.given_up


async def test_a_refusal_for_good_is_given_up_at_once(gateway: Gateway) -> None:
    gateway.answers = [(400, {})]
    tick = await sent(gateway, client(LOGS, 0.0))
    assert len(gateway.came) == 1
    assert not tick.pushes
    assert len(tick.given_up) == 1


async def test_what_is_not_taken_in_time_is_given_up(gateway: Gateway) -> None:
    gateway.answers = [(503, {"retry-after": "0"})] * 10_000
    tick = await sent(gateway, client(LOGS, 0.0), patience=0.2)
    assert len(tick.given_up) == 1
    assert tick.again["503"] == len(gateway.came) - 1


@pytest.mark.parametrize(("signal", "most"), [(LOGS, OTLP_UNDER_WAY), (SAMPLES, 1)])
async def test_a_client_has_as_many_requests_under_way_as_the_real_one_and_waiting_counts(gateway: Gateway, signal: str, most: int) -> None:
    gateway.hold.clear()
    sending = asyncio.create_task(sent(gateway, client(signal, *[0.0] * 12)))
    await waiting.until_so(lambda: gateway.under_way >= most, what="as many are under way")
    await asyncio.sleep(0.3)  # the gateway is slow, on purpose: in this time more could come
    held = gateway.most
    gateway.hold.set()
    tick = await sending
    assert held == gateway.most == most
    assert len(tick.pushes) == 12
    assert min(push.latency for push in tick.pushes) >= 0.3  # those that waited for a place, too


async def test_every_fifth_batch_can_be_known_in_the_topic(gateway: Gateway) -> None:
    tick = await sent(gateway, client(SAMPLES, *[0.0] * 6))
    traces = [push.trace for push in tick.pushes]
    assert [bool(trace) for trace in traces] == [True, False, False, False, False, True]
    parents = [headers.get("traceparent", "") for _, headers in gateway.came]
    assert [parent[3:35] for parent in parents] == traces


@pytest.mark.parametrize(("header", "seconds"), [("2", 2.0), ("0", 0.0), ("3600", 30.0), ("", 1.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0)])
def test_retry_after(header: str, seconds: float) -> None:
    assert retry_after(header) == seconds
