"""HTTP to a backend, on the event loop that the functions have and on Python's own: whole answers however they come, connections that are kept and those that
are gone, time, TLS, and what is trouble.
"""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from shared import http1
from shared.backend import Backend
from shared.errors import Trouble
from tests.backends import HttpBackend, Says
from tests.told import growth

Run = Callable[[Coroutine[Any, Any, None]], None]
Talk = Callable[["Side"], Awaitable[None]]
"""What the server does with one connection."""

YES = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture(params=[uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test's coroutine."""
    found: Run = request.param
    return found


class Side:
    """The server's side of a connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request's body; IncompleteReadError when there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return await self.reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))

    async def gone(self) -> None:
        """Wait until the client has closed."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


class Server:
    """Speaks bytes. `asked`: how many requests came, `connections`: on how many."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.connections = 0
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def up(self, seconds: float = 5.0, most: int = 64, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Backend]:
        """The server as a backend."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=tls)
        async with server, Backend(f"http{'s' if tls else ''}://{host}:{server.sockets[0].getsockname()[1]}", seconds, most) as backend:
            yield backend
        await asyncio.gather(*self._tasks)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.append(asyncio.create_task(self._serve(Side(self.connections, reader, writer))))

    async def _serve(self, side: Side) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._talk(side)
        side.writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await side.writer.wait_closed()


def says(*answers: bytes) -> Server:
    """A server that gives each connection's requests these answers in turn, then closes under the next one."""

    async def talk(side: Side) -> None:
        for answer in answers:
            await side.request()
            side.writer.write(answer)
        await side.request()

    return Server(talk)


def test_kept_connection_that_is_gone_is_no_trouble(run: Run) -> None:
    """The same goes once more, on a new one."""

    async def main() -> None:
        server, retries = says(YES), growth("obstack_backend_retries_total", reason="dropped_connection")
        async with server.up() as backend:
            assert [(await backend.post("/", b"x", {})).status for _ in range(3)] == [204] * 3
        assert (server.connections, retries()) == (3, 2)

    run(main())


def test_backend_that_drops_every_request_is_trouble(run: Run) -> None:
    """Once more is enough."""

    async def main() -> None:
        server = says()
        async with server.up() as backend:
            with pytest.raises(Trouble, match="Dropped"):
                await backend.post("/", b"x", {})
        assert server.connections == 2

    run(main())


def test_connections_that_end_as_soon_as_they_are_made_are_trouble(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: as of a balancer with nothing behind it."""

    class Ended(http1._Connection):
        """Is handed over once it has ended."""

        def __init__(self) -> None:
            super().__init__()
            self.ended = asyncio.Event()

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            self.ended.set()

    class Late(http1.Connections):
        async def _connect(self) -> http1._Connection:
            connection = await super()._connect()
            assert isinstance(connection, Ended)
            await connection.ended.wait()
            return connection

    monkeypatch.setattr(http1, "_Connection", Ended)
    monkeypatch.setattr("shared.backend.Connections", Late)

    async def main() -> None:
        async def talk(_: Side) -> None:
            return

        async with Server(talk).up() as backend:
            with pytest.raises(Trouble, match="Dropped"):
                await backend.post("/", b"x", {})

    run(main())


def test_many_kept_connections_that_are_gone_cost_one_request_more_each(run: Run) -> None:
    """The second try takes none of those that were kept: it could be gone, too."""

    async def main() -> None:
        server, together = says(YES), asyncio.Barrier(3)

        async def post(backend: Backend) -> int:
            await together.wait()
            return (await backend.post("/", b"x", {})).status

        async with server.up() as backend:
            for _ in range(2):
                assert await asyncio.gather(*(post(backend) for _ in range(3))) == [204] * 3
        assert server.connections == 6

    run(main())


def test_silence_is_trouble_in_time_and_not_repeated(run: Run) -> None:
    """A second try would double the time."""

    async def main() -> None:
        async def talk(side: Side) -> None:
            await side.request()
            await side.gone()

        server = Server(talk)
        async with server.up(seconds=0.2) as backend:
            with pytest.raises(Trouble, match="TimeoutError"):
                await asyncio.wait_for(backend.post("/", b"x", {}), 3)
        assert server.connections == 1

    run(main())


def test_nobody_there_is_trouble(run: Run) -> None:
    """At once."""

    async def main() -> None:
        async with Backend("http://127.0.0.1:1", 5) as backend:
            with pytest.raises(Trouble, match="ConnectionRefusedError"):
                await backend.post("/", b"x", {})

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRetry-After: 7\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nRETRY-AFTER: 7\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nx-hint: 1\r\n\r\nHTTP/1.1 200 OK\r\nretry-after: 7\r\ncontent-length: 5\r\n\r\nhello",
    ],
    ids=["length", "chunks", "after an interim one"],
)
@pytest.mark.parametrize("pieces", [1, 1000])
def test_answers_are_whole_however_they_come(run: Run, answer: bytes, pieces: int) -> None:
    """And the connection is used again."""

    async def main() -> None:
        async def talk(side: Side) -> None:
            while True:
                await side.request()
                for part in [answer] if pieces == 1 else [answer[at : at + 1] for at in range(len(answer))]:
                    side.writer.write(part)
                    await side.writer.drain()
                    await asyncio.sleep(0)

        server = Server(talk)
        async with server.up() as backend:
            for _ in range(3):
                got = await backend.post("/", b"x", {})
                assert (got.status, got.body, got.retry_after) == (200, b"hello", 7)
                assert "x-hint" not in got.headers
        assert server.connections == 1

    run(main())


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\n"]
)
def test_answers_that_end_with_their_connection_are_whole(run: Run, head: bytes) -> None:
    """The next request takes a new one."""

    async def main() -> None:
        async def talk(side: Side) -> None:
            await side.request()
            side.writer.write(head + b"hello")

        server = Server(talk)
        async with server.up() as backend:
            assert [(await backend.post("/", b"x", {})).body for _ in range(2)] == [b"hello"] * 2
        assert server.connections == 2

    run(main())


@pytest.mark.parametrize("cut", [b"HTTP/1.1 200 OK\r\nserver: x\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell"], ids=["in the head", "in the body"])
def test_answers_that_are_cut_are_trouble(run: Run, cut: bytes) -> None:
    """No yes, whatever the status line said."""

    async def main() -> None:
        async def talk(side: Side) -> None:
            await side.request()
            side.writer.write(cut)

        async with Server(talk).up() as backend:
            with pytest.raises(Trouble, match="Dropped"):
                await backend.post("/", b"x", {})

    run(main())


@pytest.mark.parametrize("nonsense", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\0\0"])
def test_what_is_no_answer_is_trouble(run: Run, nonsense: bytes) -> None:
    """And not asked for twice: the port is another program's."""

    async def main() -> None:
        async def talk(side: Side) -> None:
            await side.request()
            side.writer.write(nonsense)
            await side.gone()

        server = Server(talk)
        async with server.up() as backend:
            with pytest.raises(Trouble, match="Malformed"):
                await backend.post("/", b"x", {})
        assert server.connections == 1

    run(main())


@pytest.mark.parametrize("more", [b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 20", b"junk"])
@pytest.mark.parametrize("late", [False, True])
def test_what_nobody_asked_for_is_nobodys_answer(run: Run, more: bytes, late: bool) -> None:
    """Right behind an answer or a while after it: the next request must not take it for its own."""

    async def main() -> None:
        sent, closed = asyncio.Event(), asyncio.Event()

        async def talk(side: Side) -> None:
            await side.request()
            side.writer.write(YES if late or side.number > 1 else YES + more)
            if side.number == 1:
                if late:
                    await side.writer.drain()
                    await sent.wait()
                    side.writer.write(more)
                await side.gone()
                closed.set()

        server = Server(talk)
        async with server.up() as backend:
            assert (await backend.post("/", b"x", {})).status == 204
            sent.set()
            await asyncio.wait_for(closed.wait(), 5)
            assert (await backend.post("/", b"x", {})).status == 204
        assert server.connections == 2

    run(main())


def test_answer_before_all_was_read_is_heard_and_ends_the_connection(run: Run) -> None:
    """A 413 comes so. What the server makes of the rest nobody knows."""

    async def main() -> None:
        async def talk(side: Side) -> None:
            if side.number > 1:
                await side.request()
                side.writer.write(YES)
                return
            await side.reader.readuntil(b"\r\n\r\n")
            side.writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
            await side.writer.drain()
            await side.gone()

        server = Server(talk)
        async with server.up() as backend:
            assert (await backend.post("/", b"x" * 64_000_000, {})).status == 413
            assert (await backend.post("/", b"x", {})).status == 204
        assert server.connections == 2

    run(main())


def test_large_bodies_come_as_they_were(run: Run) -> None:
    async def main() -> None:
        body = bytes(range(256)) * 40_000

        async def talk(side: Side) -> None:
            digest = sha256(await side.request()).hexdigest().encode()
            side.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(digest) + len(body)) + digest + body)

        async with Server(talk).up() as backend:
            assert (await backend.post("/", body, {})).body == sha256(body).hexdigest().encode() + body

    run(main())


@pytest.mark.parametrize("how", ["silent", "cancelled", "cut"])
def test_answer_that_breaks_off_keeps_no_connection(run: Run, how: str) -> None:
    """With one connection, the next request goes through all the same."""

    async def main() -> None:
        begun = asyncio.Event()

        async def talk(side: Side) -> None:
            await side.request()
            bad = side.number == 1 or (how == "cut" and side.number == 2)
            side.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + (b"o" if bad else b"ok"))
            begun.set()
            if how != "cut":
                await side.gone()

        async with Server(talk).up(seconds=0.3 if how == "silent" else 5, most=1) as backend:
            first = asyncio.create_task(backend.post("/", b"", {}))
            await begun.wait()
            if how == "cancelled":
                first.cancel()
            with pytest.raises(asyncio.CancelledError if how == "cancelled" else Trouble):
                await first
            assert (await asyncio.wait_for(backend.post("/", b"", {}), 3)).body == b"ok"

    run(main())


def test_no_more_connections_than_allowed(run: Run) -> None:
    """The others wait for their turn, and within their own time."""

    async def main() -> None:
        async def talk(side: Side) -> None:
            while True:
                if await side.request() == b"slow":
                    return await side.gone()
                side.writer.write(YES)

        server = Server(talk)
        async with server.up(most=2) as backend:
            assert {(await one).status for one in asyncio.as_completed([backend.post("/", b"x", {}) for _ in range(20)])} == {204}
        assert server.connections == 2
        async with server.up(seconds=0.2, most=1) as backend:
            outcomes = await asyncio.gather(backend.post("/", b"slow", {}), backend.post("/", b"x", {}), return_exceptions=True)
        assert [type(one) for one in outcomes] == [Trouble, Trouble]

    run(main())


def test_connection_that_was_long_unused_is_not_used_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "KEPT_SECONDS", -1.0)

    async def main() -> None:
        server = says(YES, YES)
        async with server.up() as backend:
            assert [(await backend.post("/", b"x", {})).status for _ in range(2)] == [204] * 2
        assert server.connections == 2

    run(main())


def test_redirection_is_an_answer() -> None:
    """Followed, a POST would come back as a GET, and its 200 would pass for the backend's yes."""

    async def main() -> None:
        with HttpBackend(lambda _: Says(302, headers={"location": "/login"})) as there:
            async with Backend(there.url, 1) as backend:
                assert (await backend.post("/", b"x", {})).status == 302
            assert [asked.method for asked in there.asked] == ["POST"]

    asyncio.run(main())


def test_requests_say_what_they_should() -> None:
    async def main() -> None:
        with HttpBackend() as there:
            async with Backend(f"{there.url}/base/", 5) as backend:
                await backend.post("/push?a=b", b"x", {"content-type": "t", "X-Scope-OrgID": "one"})
                await backend.get("/metrics")
            pushed, got = there.asked
        assert (pushed.method, pushed.path, pushed.body) == ("POST", "/base/push?a=b", b"x")
        assert pushed.headers == {"host": there.url[7:], "user-agent": "obstack", "content-type": "t", "x-scope-orgid": "one", "content-length": "1"}
        assert (got.method, got.path, got.headers["content-length"]) == ("GET", "/base/metrics", "0")

    asyncio.run(main())


@pytest.mark.parametrize("value", ["one\r\nX-Scope-OrgID: two", "one\nx: y", "one\r", "one\0"])
def test_header_of_two_lines_is_not_sent(value: str) -> None:
    """It would be another tenant's name, or a request of its own."""

    async def main() -> None:
        with HttpBackend() as there:
            async with Backend(there.url, 5) as backend:
                for headers in ({"x-scope-orgid": value}, {value: "one"}):
                    with pytest.raises(ValueError, match="line break"):
                        await backend.post("/", b"", headers)
            assert there.asked == []

    asyncio.run(main())


@pytest.mark.parametrize(("user", "sent"), [("obstack:s3%40cret", "obstack:s3@cret"), ("obstack", "obstack:")])
def test_password_in_a_url_is_used_and_not_told(user: str, sent: str) -> None:
    """As an OpenSearch may have it."""

    async def main() -> None:
        with HttpBackend() as there:
            async with Backend(there.url.replace("//", f"//{user}@"), 5) as backend:
                assert (await backend.post("/", b"", {})).status == 204
            assert there.asked[0].headers["authorization"] == f"Basic {b64encode(sent.encode()).decode()}"
            assert "@" not in there.asked[0].headers["host"]
        async with Backend("http://obstack:s3cret@127.0.0.1:1", 5) as away:
            with pytest.raises(Trouble) as told:
                await away.post("/", b"", {})
        assert "127.0.0.1:1" in str(told.value)
        assert "s3cret" not in str(told.value)

    asyncio.run(main())


@pytest.mark.parametrize(("trusted", "host"), [(True, "localhost"), (False, "localhost"), (True, "127.0.0.1")], ids=["trusted", "unknown", "another's name"])
def test_tls_is_checked(run: Run, trusted: bool, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the machine's certificates, and SSL_CERT_FILE where it is set."""
    authority, stranger = trustme.CA(), trustme.CA()
    (authority if trusted else stranger).cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_side)

    async def main() -> None:
        async def talk(side: Side) -> None:
            while True:
                body = await side.request()
                side.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

        async with Server(talk).up(tls=server_side, host=host) as backend:
            if trusted and host == "localhost":
                for size in (1, 3_000_000):
                    assert (await backend.post("/", b"x" * size, {})).body == b"x" * size
            else:
                with pytest.raises(Trouble, match="CertVerificationError"):
                    await backend.post("/", b"x", {})

    run(main())
