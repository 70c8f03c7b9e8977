"""HTTP to a backend that is read: connections that slow readers keep, redirections, passwords."""

import asyncio

import pytest

from functions.query import upstream
from functions.query.upstream import TooLarge, Upstream
from shared.errors import Trouble
from shared.memory import Memory
from tests.backends import HttpBackend, Says


async def test_nobody_waits_for_ever_for_a_connection_that_slow_readers_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "CONNECT_SECONDS", 0.2)

    closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")  # and the rest never comes
        await reader.read()
        writer.close()
        await writer.wait_closed()
        closed.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 5, connections=1) as backend:
        kept = await backend.open("GET", "/", {})
        with pytest.raises(Trouble):
            await asyncio.wait_for(backend.open("GET", "/", {}), 3)
        kept.close()
        await asyncio.wait_for(closed.wait(), 3)


async def test_answer_that_is_too_large_counts_no_longer() -> None:
    """Another one is asked for in its place."""
    budget = Memory(1_000_000)
    with HttpBackend(lambda _: Says(200, b"x" * 1000)) as backend, budget.hold():
        async with Upstream(backend.url, 5) as there:
            with pytest.raises(TooLarge):
                await there.read(await there.open("GET", "/", {}), 100)
        assert budget.held == 0


async def test_redirection_is_not_followed() -> None:
    """It would go past the tenant's header, wherever it leads."""
    with HttpBackend(lambda _: Says(302, headers={"location": "/login"})) as backend:
        async with Upstream(backend.url, 1) as there:
            answer = await there.open("GET", "/", {})
            assert (answer.status, await there.read(answer, 100)) == (302, b"")
        assert [asked.path for asked in backend.asked] == ["/"]


async def test_password_in_a_url_is_used_and_not_told() -> None:
    """As an OpenSearch may have it."""
    with HttpBackend() as backend:
        async with Upstream(backend.url.replace("//", "//obstack:s3cret@"), 5) as there:
            (await there.open("GET", "/", {})).close()
        assert backend.asked[0].headers["authorization"].startswith("Basic ")
    async with Upstream("http://obstack:s3cret@127.0.0.1:1", 5) as away:
        with pytest.raises(Trouble) as told:
            await away.open("GET", "/", {})
    assert "127.0.0.1:1" in str(told.value)
    assert "s3cret" not in str(told.value)
