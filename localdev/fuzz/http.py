"""A request and its answer over HTTP, sent as they are: no header added or mended, no body unpacked."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

SECONDS = 30


@dataclass(frozen=True)
class Attempt:
    """A request."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    chunked: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


def judge(answer: Answer) -> str | None:
    """What is wrong with the answer, whatever was asked in whichever protocol; None: nothing."""
    if answer.status >= 500 and answer.status != 503:
        return f"trouble of ours must be 503, not {answer.status}"
    if answer.status in {429, 503} and not answer.headers.get("retry-after", "").isdigit():
        return f"{answer.status} without Retry-After"
    return None


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Callable[[Attempt], Awaitable[Answer]]]:
    """What sends a request to the server at `url`. It raises TimeoutError and aiohttp.ClientError."""
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["content-type"]) as session:
        yield lambda attempt: _send(session, url, attempt)


async def _send(session: aiohttp.ClientSession, url: str, one: Attempt) -> Answer:
    async def pieces() -> Any:
        yield one.body[:7]
        yield one.body[7:]

    # A body that comes in pieces has no length: it goes out chunked.
    body: Any = pieces() if one.chunked and len(one.body) > 7 else one.body
    target = URL(url.rstrip("/") + one.path, encoded=True)
    async with session.request(one.method, target, data=body, headers=one.headers, timeout=aiohttp.ClientTimeout(SECONDS)) as response:
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, await response.read())
