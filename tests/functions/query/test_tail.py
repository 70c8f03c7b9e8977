"""Loki's tail by WebSocket: whose it is, how it ends, what bounds it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from starlette.types import Message

from functions.query import main, tail
from shared.errors import Later, Refused
from shared.telemetry.metrics import Tenants
from shared.tokens import digest
from tests.conftest import Customer, add_customer
from tests.edges import Database
from tests.functions.query.world import Backend, World, serve
from tests.told import growth
from tests.waiting import until

TARGET = "/query/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D"
HOST = "obstack.test"


@dataclass
class Loki(Backend):
    """A Loki that upgrades. Tests send by `socket`; `ended` is the code with which it was closed."""

    headers: list[CIMultiDictProxy[str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    ended: list[int | None] = field(default_factory=list)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.silent or "query=bad" in request.raw_path or "upgrade" not in request.headers:
            return await super().handle(request)
        self.headers.append(request.headers)
        self.targets.append(request.raw_path)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for _ in socket:
            pass
        self.ended.append(socket.close_code)
        return socket


@dataclass
class Client:
    """A WebSocket of the function, as its server drives it. `taking`: cleared, the client takes nothing."""

    task: asyncio.Task[None]
    sent: asyncio.Queue[Message]
    says: asyncio.Queue[Message]
    taking: asyncio.Event

    async def next(self) -> Message:
        async with asyncio.timeout(5):
            return await self.sent.get()

    async def end(self) -> None:
        """The function is done with it."""
        async with asyncio.timeout(5):
            await asyncio.wait([self.task])
        self.task.result()

    async def leave(self) -> None:
        await self.says.put({"type": "websocket.disconnect", "code": 1001})
        await self.end()


def follow(headers: Mapping[str, str], target: str = TARGET) -> Client:
    path, _, query = target.partition("?")
    given = {"host": HOST, "upgrade": "websocket", "connection": "Upgrade", **headers}
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("192.0.2.1", 40000),
        "server": (HOST, 80),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    sent: asyncio.Queue[Message] = asyncio.Queue()
    says: asyncio.Queue[Message] = asyncio.Queue()
    says.put_nowait({"type": "websocket.connect"})
    taking = asyncio.Event()
    taking.set()

    async def send(message: Message) -> None:
        await taking.wait()
        sent.put_nowait(message)

    return Client(asyncio.create_task(main.app(scope, says.get, send)), sent, says, taking)  # type: ignore[arg-type]  # a Task wants a coroutine


@pytest.fixture
async def loki(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Loki]:
    """In place of the world's."""
    async with serve(Loki()) as backend:
        await main.function.close()
        monkeypatch.setenv("LOKI_URL", backend.url)
        await main.function.open()
        yield backend


async def accepted(loki: Loki, headers: Mapping[str, str], target: str = TARGET) -> Client:
    client = follow(headers, target)
    assert (await client.next())["type"] == "websocket.accept"
    return client


async def refusal(headers: Mapping[str, str], target: str = TARGET) -> tuple[int, bytes, CIMultiDict[str]]:
    """Status, body and headers of a handshake that was answered by HTTP."""
    client = follow(headers, target)
    start, body = await client.next(), b""
    assert start["type"] == "websocket.http.response.start", start
    await client.end()
    while not client.sent.empty():
        body += (await client.next())["body"]
    return start["status"], body, CIMultiDict((name.decode(), value.decode()) for name, value in start["headers"])


@pytest.mark.parametrize("base", ["/query/loki", "/query/loki/loki", "/loki"])
async def test_messages_of_loki_reach_the_reader_as_the_tenants(loki: Loki, acme: Customer, base: str) -> None:
    client = await accepted(loki, acme.headers, f"{base}/api/v1/tail?query=x&limit=5&start=1&delay_for=2&regexp=y")
    await loki.sockets[0].send_str('{"streams":[]}')
    assert await client.next() == {"type": "websocket.send", "text": '{"streams":[]}'}
    assert loki.targets == ["/loki/api/v1/tail?query=x&limit=5&start=1&delay_for=2"]
    assert loki.headers[0].getall("x-scope-orgid") == [acme.tenant_id]
    assert not {"authorization", "cookie", "origin"} & {name.lower() for name in loki.headers[0]}
    await client.leave()


async def test_reader_that_leaves_ends_lokis_tail(loki: Loki, acme: Customer) -> None:
    client = await accepted(loki, acme.headers)
    await client.leave()
    assert client.sent.empty()
    await asyncio.to_thread(until, lambda: loki.ended == [1000], 5)


async def test_lokis_end_is_passed_on_as_it_is(loki: Loki, acme: Customer) -> None:
    client = await accepted(loki, acme.headers)
    await loki.sockets[0].close(code=1011, message=b"reached tail max duration limit")
    assert await client.next() == {"type": "websocket.close", "code": 1011, "reason": "reached tail max duration limit"}
    await client.end()


async def test_connection_that_breaks_off_at_loki_breaks_off_here(loki: Loki, acme: Customer) -> None:
    """Without a close frame: it makes logcli connect anew."""
    client = await accepted(loki, acme.headers)
    transport = loki.sockets[0]._req.transport  # type: ignore[union-attr]  # nothing public cuts a connection
    assert transport
    transport.abort()
    await client.end()
    assert client.sent.empty()


async def test_what_loki_has_against_a_query_is_told_as_it_is(loki: Loki, acme: Customer) -> None:
    loki.answer = (400, {"content-type": "text/plain; charset=utf-8"}, b"parse error at line 1, col 1: syntax error\n")
    status, body, headers = await refusal(acme.headers, "/query/loki/api/v1/tail?query=bad")
    assert (status, body) == (400, b"parse error at line 1, col 1: syntax error\n")
    assert headers["content-type"] == "text/plain; charset=utf-8"


async def test_refusals_answer_the_handshake_in_lokis_form(loki: Loki, world: World, database: Database, acme: Customer, session: dict[str, str]) -> None:
    writer = add_customer(database, scopes=["logs"])
    for headers, target, status in (
        ({}, TARGET, 401),
        ({"authorization": "Bearer obs_x"}, TARGET, 401),
        (writer.headers, TARGET, 403),
        (acme.headers, "/query/loki/api/v1/tail", 400),
        (acme.headers, TARGET + "&query=y", 400),
        (acme.headers, TARGET + "&start=9999999999", 400),
        (acme.headers, "/query/loki/api/v1/query?query=x", 404),
        (acme.headers, "/query/nothing", 404),
    ):
        assert (await refusal(headers, target))[0] == status, target
    _, body, told = await refusal({})
    assert (told["content-type"], body[-1:]) == ("text/plain; charset=utf-8", b"\n")
    assert not loki.sockets


async def test_loki_away_is_503(loki: Loki, acme: Customer) -> None:
    loki.silent = True
    status, body, headers = await refusal(acme.headers)
    assert (status, body, headers["retry-after"]) == (503, b"loki is not available\n", "2")


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", f"https://{HOST}.evil.example", ""])
async def test_session_is_taken_from_the_own_page_only(loki: Loki, session: dict[str, str], origin: str | None) -> None:
    headers = {**session, **({} if origin is None else {"origin": origin})}
    assert (await refusal(headers))[0] == 403
    assert not loki.sockets


async def test_own_page_tails_by_session(loki: Loki, session: dict[str, str], acme: Customer) -> None:
    client = await accepted(loki, {**session, "origin": f"http://{HOST}"})
    assert loki.headers[0]["x-scope-orgid"] == acme.tenant_id
    await client.leave()


async def test_foreign_origin_does_not_matter_where_a_token_says_who_it_is(loki: Loki, acme: Customer) -> None:
    client = await accepted(loki, {**acme.headers, "origin": "https://grafana.example"})
    await client.leave()


async def test_tails_are_bounded_by_tenant(loki: Loki, world: World, acme: Customer, globex: Customer, few_tenants: Tenants) -> None:
    clients, hits = [await accepted(loki, acme.headers) for _ in range(10)], growth("obstack_limit_hits_total", tenant=acme.tenant_id, limit="tails")
    status, body, headers = await refusal(acme.headers)
    assert (status, body, headers["retry-after"]) == (429, b"over 10 tails at the same time\n", "1")
    assert hits() == 1
    clients.append(await accepted(loki, globex.headers))
    for client in clients:
        await client.leave()
    await (await accepted(loki, acme.headers)).leave()


@pytest.mark.parametrize(("error", "ends"), [(Refused("unknown_token", "the token is revoked", 401), True), (Later("database away"), False)])  # type: ignore[arg-type]
async def test_reader_is_looked_up_again(loki: Loki, acme: Customer, monkeypatch: pytest.MonkeyPatch, error: Exception, ends: bool) -> None:
    monkeypatch.setattr(tail, "AGAIN_SECONDS", 0.01)
    asked = asyncio.Event()
    client = await accepted(loki, acme.headers)

    async def tenant(*_: Any, **__: Any) -> None:
        asked.set()
        raise error

    monkeypatch.setattr("shared.auth.Authenticator.tenant", tenant)
    async with asyncio.timeout(5):
        await asked.wait()
    if ends:
        assert await client.next() == {"type": "websocket.close", "code": 1008, "reason": "the token is revoked"}
        await client.end()
    else:
        await loki.sockets[0].send_str("goes on")
        assert (await client.next())["text"] == "goes on"
        await client.leave()


async def test_token_that_was_revoked_a_moment_ago_ends_its_tail(
    loki: Loki, database: Database, acme: Customer, globex: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long requests go on by what the database said before."""
    monkeypatch.setattr(tail, "AGAIN_SECONDS", 0.01)
    client, other = await accepted(loki, acme.headers), await accepted(loki, globex.headers)
    del database.tokens[digest(acme.token)]
    assert await client.next() == {"type": "websocket.close", "code": 1008, "reason": "the token is unknown, expired or revoked"}
    await client.end()
    await loki.sockets[1].send_str("goes on")
    assert (await other.next())["text"] == "goes on"
    await other.leave()


async def test_reader_that_takes_nothing_is_let_go(loki: Loki, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "SEND_SECONDS", 0.05)
    client = await accepted(loki, acme.headers)
    client.taking.clear()
    await loki.sockets[0].send_str("x")
    await client.end()
    await asyncio.to_thread(until, lambda: loki.ended, 5)


async def test_tail_has_a_longest_duration(loki: Loki, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "TAIL_SECONDS", 0.05)
    client = await accepted(loki, acme.headers)
    assert await client.next() == {"type": "websocket.close", "code": 1011, "reason": "reached tail max duration limit"}


async def test_message_of_loki_that_is_too_large_ends_it(loki: Loki, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "MAX_MESSAGE_BYTES", 1000)
    client = await accepted(loki, acme.headers)
    await loki.sockets[0].send_str("x" * 2000)
    assert (await client.next())["code"] == 1009


async def test_reader_that_talks_is_closed(loki: Loki, acme: Customer) -> None:
    client = await accepted(loki, acme.headers)
    await client.says.put({"type": "websocket.receive", "text": "hello"})
    assert (await client.next())["code"] == 1008
    await client.end()


async def test_defect_of_ours_closes_it(loki: Loki, acme: Customer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(tail, "_forward", broken)
    client = await accepted(loki, acme.headers)
    assert await client.next() == {"type": "websocket.close", "code": 1011, "reason": ""}
    monkeypatch.setattr("functions.query.relay.connect", broken)
    status, body, _ = await refusal(acme.headers)
    assert (status, body) == (503, b"internal error\n")


async def test_request_without_a_websocket_gets_lokis_own_word(world: World, acme: Customer) -> None:
    world.loki.answer = (400, {"content-type": "text/plain"}, b"Bad Request\n")
    answer = await world.ask("GET", TARGET, acme.headers)
    assert (answer.status, answer.body) == (400, b"Bad Request\n")


def test_close_codes_are_those_that_may_be_sent() -> None:
    assert not {1004, 1005, 1006, 1015, 999, 5000} & tail._CODES
    assert {1000, 1001, 1008, 1011, 1013, 3000, 4999} <= tail._CODES
    assert {code.value for code in aiohttp.WSCloseCode} - {1006} <= tail._CODES | {1004, 1005, 1015}
