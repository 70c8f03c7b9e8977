"""The runtime's own promises: an early answer is read, a slow body ends, a method unknown to the framework reaches the function."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from shared import bodies, runtime
from shared.errors import Later


def request_of(messages: AsyncIterator[dict[str, Any]]) -> Request:
    """A POST whose body comes as these messages do."""
    return Request({"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}, lambda: anext(messages))


SENDING = {"type": "http", "method": "POST", "headers": [(b"transfer-encoding", b"chunked")]}


async def refuse(_: Request) -> Response:
    return Response(status_code=401)


async def test_slow_body_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)

    async def trickle() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"a", "more_body": True}
        await asyncio.Event().wait()

    with pytest.raises(Later):
        await bodies.read(request_of(trickle()), 100, ())


@pytest.mark.parametrize(("chunks", "taken"), [(3, 3), (30, 16)])
async def test_rest_of_a_body_is_taken_before_an_early_answer(monkeypatch: pytest.MonkeyPatch, chunks: int, taken: int) -> None:
    monkeypatch.setattr(runtime, "REST_BYTES", 160)
    received, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": bytes(10), "more_body": received < chunks}

    async def send(message: Any) -> None:
        sent.append((message["type"], received))

    await runtime.serve(refuse, SENDING, receive, send)
    assert sent[0] == ("http.response.start", taken)


async def test_client_that_stops_sending_still_gets_its_early_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "REST_SECONDS", 0.05)
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await runtime.serve(refuse, SENDING, receive, send)
    assert sent == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]])
async def test_request_without_a_body_is_answered_at_once(headers: list[tuple[bytes, bytes]]) -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("there is nothing to wait for")

    async def send(_: Any) -> None: ...

    scope = {"type": "http", "method": "GET", "headers": headers}
    await runtime.serve(refuse, scope, receive, send)


def test_headers_are_found_whatever_their_case_and_the_first_of_several_counts() -> None:
    headers = runtime.LeanHeaders({"type": "http", "headers": [(b"x-a", b"1"), (b"x-a", b"2"), (b"x-b", b"\xe9")]})
    assert (headers["X-A"], headers.get("x-a"), headers.get("x-b"), headers.get("x-c", "none")) == ("1", "1", "\xe9", "none")
    assert headers.items() == [("x-b", "\xe9"), ("x-a", "1")]
    assert (headers.getlist("X-A"), headers.getlist("x-c")) == (["1", "2"], [])
    assert "X-B" in headers
    assert "x-c" not in headers
    with pytest.raises(KeyError):
        headers["x-c"]
