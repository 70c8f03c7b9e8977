"""HTTP to a backend: time, connections that were kept and are gone, and what is trouble."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from shared import upstream
from shared.errors import Trouble
from shared.upstream import Upstream
from tests.backends import HttpBackend, Says
from tests.told import growth


@dataclass
class Server:
    """Answers `answers` requests on each connection, then ends it under the next one; `silent`: answers none."""

    answers: int = 1
    silent: bool = False
    asked: int = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(self.answers + 1):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            self.asked += 1
            if self.silent or number == self.answers:
                await asyncio.sleep(1 if self.silent else 0)
                return
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Upstream]:
        connections: list[asyncio.Task[None]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):
                await self._serve(reader, writer)
            writer.close()
            await writer.wait_closed()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(asyncio.create_task(serve(reader, writer)))

        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            async with Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 0.2) as upstream:
                yield upstream
            await asyncio.gather(*connections)


async def test_kept_connection_that_is_gone_is_no_trouble() -> None:
    """The same goes once more, on a new one."""
    server, retries = Server(), growth("obstack_backend_retries_total", reason="dropped_connection")
    async with server.up() as upstream:
        assert [(await upstream.post("/", b"x", {})).status for _ in range(3)] == [204] * 3
    assert server.asked == 5
    assert retries() == 2


async def test_backend_that_drops_every_request_is_trouble() -> None:
    """Once more is enough."""
    server = Server(answers=0)
    async with server.up() as upstream:
        with pytest.raises(Trouble):
            await upstream.post("/", b"x", {})
    assert server.asked == 2


async def test_silence_is_trouble_in_time_and_not_repeated() -> None:
    """A second try would double the time."""
    server = Server(silent=True)
    async with server.up() as upstream:
        with pytest.raises(Trouble):
            await asyncio.wait_for(upstream.post("/", b"x", {}), 0.9)
    assert server.asked == 1


async def test_nobody_there_is_trouble() -> None:
    """At once."""
    async with Upstream("http://127.0.0.1:1", 5) as upstream:
        with pytest.raises(Trouble):
            await upstream.post("/", b"x", {})


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


async def test_redirection_is_not_followed() -> None:
    """A POST would come back as a GET, and its 200 would pass for the backend's yes."""
    with HttpBackend(lambda _: Says(302, headers={"location": "/login"})) as backend:
        async with Upstream(backend.url, 1) as upstream:
            assert (await upstream.post("/", b"x", {})).status == 302
        assert [asked.method for asked in backend.asked] == ["POST"]


@pytest.mark.parametrize("how", ["silent", "cancelled", "cut"])
async def test_answer_that_breaks_off_keeps_no_connection(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one connection, the next request goes through all the same."""
    monkeypatch.setattr(upstream, "CONNECT_SECONDS", 2)
    begun = asyncio.Event()
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + (b"o" if connections == 1 else b"ok"))
        begun.set()
        if how != "cut":
            await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 0.3 if how == "silent" else 5, connections=1) as backend:
        first = asyncio.create_task(backend.post("/", b"", {}))
        await begun.wait()
        if how == "cancelled":
            await asyncio.sleep(0)
            first.cancel()
        with pytest.raises(asyncio.CancelledError if how == "cancelled" else Trouble):
            await first
        assert (await asyncio.wait_for(backend.post("/", b"", {}), 3)).body == b"ok"


async def test_password_in_a_url_is_used_and_not_told() -> None:
    """As an OpenSearch may have it."""
    with HttpBackend() as backend:
        async with Upstream(backend.url.replace("//", "//obstack:s3cret@"), 5) as there:
            assert (await there.post("/", b"", {})).status == 204
        assert backend.asked[0].headers["authorization"].startswith("Basic ")
    async with Upstream("http://obstack:s3cret@127.0.0.1:1", 5) as away:
        with pytest.raises(Trouble) as told:
            await away.post("/", b"", {})
    assert "127.0.0.1:1" in str(told.value)
    assert "s3cret" not in str(told.value)
