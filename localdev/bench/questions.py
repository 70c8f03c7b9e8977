"""A question over HTTP and what its answer took; and which question a server in between makes of one."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Final, Self

import aiohttp
from aiohttp import web
from yarl import URL

from localdev.bench.load import LoadError
from shared.contract import JSON, PROXY_TENANT_HEADER, TENANT_HEADER

_SECONDS: Final = 30.0
_PASSED_ON: Final = ("accept", "accept-encoding", "content-type", TENANT_HEADER, PROXY_TENANT_HEADER)
_NOTHING: Final = b'{"status": "success", "data": [], "hits": {"hits": []}}'
"""In the form of each backend whose answer is read, not only passed on."""


@dataclass(frozen=True)
class Question:
    """A request to a server on loopback; `path` with its query string, encoded."""

    method: str
    port: int
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def at(self, port: int) -> Self:
        """The same of another server."""
        return replace(self, port=port)


@dataclass(frozen=True)
class Answer:
    """Seconds until its head had come, and until all had."""

    first: float
    whole: float
    body: bytes
    cookies: Mapping[str, str]


def asker() -> aiohttp.ClientSession:
    """Kept connections, as many as there are questions at a time; no cookie of its own, and answers encoded as they came."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, timeout=aiohttp.ClientTimeout(_SECONDS))


async def ask(session: aiohttp.ClientSession, question: Question) -> Answer:
    """Raises LoadError for anything but a 2xx."""
    url = URL(f"http://127.0.0.1:{question.port}{question.path}", encoded=True)
    began = perf_counter()
    try:
        response = await session.request(question.method, url, headers=question.headers, data=question.body or None, allow_redirects=False)
        first = perf_counter() - began
        body = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise LoadError(f"{question.method} {question.path[:200]} at port {question.port}: {type(error).__name__}") from error
    whole = perf_counter() - began
    if response.status // 100 != 2:
        raise LoadError(f"{question.method} {question.path[:200]} at port {question.port}: {response.status}: {body[:300].decode(errors='replace')}")
    return Answer(first, whole, body, {name: morsel.value for name, morsel in response.cookies.items()})


class Ear:
    """In a backend's place: hears what is asked of it, and answers `says` at once."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.says = _NOTHING
        self._session = session
        self._port = port
        self._heard: list[Question] = []

    async def of(self, question: Question) -> Question:
        """What a server whose backend this is asks when it is asked this. Raises LoadError."""
        self.says = _NOTHING
        self._heard.clear()
        await ask(self._session, question)
        if len(self._heard) != 1:
            raise LoadError(f"{question.path[:200]}: {len(self._heard)} requests to the backend; one was expected")
        return self._heard.pop()

    async def hear(self, request: web.BaseRequest) -> web.Response:
        """Answer a request."""
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        self._heard[:] = [*self._heard[-1:], Question(request.method, self._port, request.raw_path, headers, await request.read())]
        return web.Response(body=self.says, content_type=JSON)


@asynccontextmanager
async def listening(session: aiohttp.ClientSession, port: int) -> AsyncIterator[Ear]:
    """An ear on this port until the end of the block."""
    ear = Ear(session, port)
    runner = web.ServerRunner(web.Server(ear.hear))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield ear
    finally:
        await runner.cleanup()
