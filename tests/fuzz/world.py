"""A function's ASGI app under requests that no client would send."""

from typing import Any

from starlette.testclient import TestClient

from localdev.fuzz.http import Answer, Attempt
from tests.conftest import Customer
from tests.edges import Broker


class World:
    """A function's app with its edges replaced, called without a client in between that would mend headers."""

    def __init__(self, client: TestClient, broker: Broker, customer: Customer) -> None:
        self._app, self._portal = client.app, client.portal
        self.broker = broker
        self.customer = customer

    def send(self, attempt: Attempt, *, cut: bool = False) -> Answer:
        """`cut`: the client goes away instead of sending the last piece."""
        assert self._portal is not None
        self.broker.messages.clear()
        answer: Answer = self._portal.call(_call, self._app, attempt, cut)
        return answer


async def _call(app: Any, attempt: Attempt, cut: bool) -> Answer:
    size = 50 if attempt.chunked else len(attempt.body) + 1
    pieces = [attempt.body[at : at + size] for at in range(0, len(attempt.body) + 1, size)]
    events: list[dict[str, Any]] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    events[-1] = {"type": "http.disconnect"} if cut else events[-1] | {"more_body": False}
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return events.pop(0) if events else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in attempt.headers]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": attempt.method,
        "scheme": "http",
        "path": attempt.path,
    }
    scope |= {
        "raw_path": attempt.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    start, *body = said
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(message.get("body", b"") for message in body))
