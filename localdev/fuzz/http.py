"""A request and its answer over HTTP, sent as they are: no header added or mended, no body unpacked."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from yarl import URL

from localdev.fuzz.mutations import changed

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


def misdirected(source: random.Random, attempt: Attempt, paths: Sequence[str], noise: Mapping[str, Sequence[str]]) -> Attempt:
    """The attempt, or now and then the same to another of `paths`, by another method, or with other headers."""
    match source.randrange(20):
        case 0:
            return replace(attempt, path=source.choice(paths))
        case 1:
            return replace(attempt, method=source.choice(["GET", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"]))
        case 2 | 3:
            return replace(attempt, headers=changed(source, attempt.headers, noise))
    return attempt


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
