"""The query function's edges, replaced: backends that record what they were asked (real HTTP servers); the database is the root conftest's.

Everything on our side of these is the real code, called as a server calls it: with the path as the client wrote it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from uuid import uuid4

import bcrypt
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from starlette.types import Message

from functions.query import main
from tests.edges import Database

PASSWORD = "correct horse battery staple"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
SECRET = "a-secret-of-the-tests-that-is-long-enough-for-every-algorithm-tried-here"


@dataclass(frozen=True)
class Asked:
    """A request as it reached a backend."""

    method: str
    path: str
    query: str
    headers: CIMultiDictProxy[str]
    body: bytes


@dataclass
class Backend:
    """A backend on a port of its own.

    `answer`: status, headers, body; `silent`: the connection is taken and nothing said; `gate`: set, it lets the answers go.
    """

    asked: list[Asked] = field(default_factory=list)
    answer: tuple[int, dict[str, str], bytes] = (200, {"content-type": "application/json"}, b'{"status":"success","data":[]}')
    silent: bool = False
    gate: asyncio.Event | None = None
    url: str = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        self.asked.append(Asked(request.method, path, query, request.headers, await request.read()))
        if self.gate:
            await self.gate.wait()
        if self.silent:
            assert request.transport is not None
            request.transport.close()
        status, headers, body = self.answer
        return web.Response(status=status, headers=headers, body=body)

    @property
    def last(self) -> Asked:
        return self.asked[-1]


@asynccontextmanager
async def serve(backend: Backend) -> Any:
    """The backend, listening."""
    runner = web.ServerRunner(web.Server(backend.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    backend.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield backend
    finally:
        await runner.cleanup()


@dataclass
class User:
    """A row of users with its tenant's."""

    email: str
    tenant_id: str = field(default_factory=lambda: str(uuid4()))
    id: str = field(default_factory=lambda: str(uuid4()))
    name: str = "Acme Rockets"
    active: bool = True
    tenant_active: bool = True
    password_hash: str | None = HASH
    roles: Any = field(default_factory=lambda: ["admin"])

    @property
    def row(self) -> tuple[Any, ...]:
        return (self.id, self.email, self.active, self.tenant_id, self.name, self.tenant_active, self.roles)


@dataclass(frozen=True)
class Answer:
    """What the caller got."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookie(self) -> str:
        """The session cookie as a browser would send it back."""
        ((name, morsel),) = SimpleCookie(self.headers["set-cookie"]).items()
        return f"{name}={morsel.value}"


@dataclass
class World:
    """The function with its edges."""

    loki: Backend
    prometheus: Backend
    tempo: Backend
    opensearch: Backend
    database: Database

    @property
    def asked(self) -> list[Asked]:
        """All that reached any backend."""
        return self.loki.asked + self.prometheus.asked + self.tempo.asked + self.opensearch.asked

    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        body: bytes = b"",
        sent: Callable[[Message], Awaitable[None]] | None = None,
    ) -> Answer:
        """One request through the ASGI app; `target` goes out as it is written, bytes as surrogateescape has them; `sent` hears each message of the answer."""
        path, _, query = target.partition("?")
        pairs = list(headers.items()) if isinstance(headers, Mapping) else headers or []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(errors="surrogateescape"),
            "root_path": "",
            "headers": [(b"host", b"obstack.test"), *((name.lower().encode(), value.encode("latin-1")) for name, value in pairs)],
            "client": ("192.0.2.1", 40000),
            "server": ("obstack.test", 80),
        }
        return await _call(scope, body, sent)

    async def log_in(self, email: str, password: str = PASSWORD, **headers: str) -> Answer:
        """POST the log-in as the page does."""
        named = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await self.ask("POST", "/query/api/login", named, json.dumps({"email": email, "password": password}).encode())


async def _call(scope: dict[str, Any], body: bytes, heard: Callable[[Message], Awaitable[None]] | None) -> Answer:
    sent: list[Message] = []
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)
        if heard:
            await heard(message)

    await main.app(scope, receive, send)
    headers = CIMultiDict((name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"])
    return Answer(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))
