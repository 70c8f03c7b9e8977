"""A request as bytes on a connection of its own, so that nothing tidies up what an attacker wrote, and what came back."""

import gzip
import http.client
import re
import socket
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from tests.e2e.probes import Headers, Probe

SECONDS = 60.0
_DECODED: Mapping[str, Callable[[bytes], bytes]] = {"": bytes, "identity": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}


@dataclass(frozen=True)
class Answer:
    """Status 0: the connection was closed without one. `shown`: everything that the attacker gets to see."""

    status: int
    shown: bytes = b""
    body: bytes = b""


def request(probe: Probe, host: str, credentials: Headers) -> bytes:
    """The probe with credentials, as it goes over the wire."""
    headers = [*credentials, *probe.headers]
    given = {name.lower() for name, _ in headers}
    if "host" not in given:
        headers.insert(0, ("Host", host))
    if probe.body or probe.method not in {"GET", "HEAD", "OPTIONS"}:
        headers.append(("Content-Length", str(len(probe.body))))
    if "connection" not in given:
        headers.append(("Connection", "close"))
    lines = [f"{probe.method} {probe.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + probe.body


def send(content: bytes, url: str, method: str = "GET") -> Answer:
    """Raises OSError where there is nobody, HTTPException for half an answer, KeyError for one in an encoding that nobody here looks into."""
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    with socket.create_connection((address.hostname, address.port), SECONDS) as connection:
        try:
            connection.sendall(content)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
        except (http.client.BadStatusLine, ConnectionError):
            return Answer(0)
        raw = response.read()
        body = _DECODED[response.headers.get("content-encoding", "")](raw) if raw else b""
        return Answer(response.status, b"\n".join([str(response.headers).encode("latin-1", "replace"), raw, body]), body)


_MADE_UP = re.compile(r"zq[0-9a-f]*|[0-9a-f]{6,}([-.][0-9a-f]+)*")


def gist(answer: Answer) -> tuple[int, str]:
    """What is the same in two answers about names that nobody has: all but the names, the times, the order, and Loki's account of its work."""
    try:
        text = _in_order(orjson.loads(answer.body))
    except orjson.JSONDecodeError:
        text = answer.body.decode("latin-1")
    return answer.status, _MADE_UP.sub("#", text.lower())


def _in_order(value: Any) -> str:
    match value:
        case list():
            return f"[{', '.join(sorted(map(_in_order, value)))}]"
        case dict():
            return f"{{{', '.join(sorted(f'{name}: {_in_order(one)}' for name, one in value.items() if name != 'stats'))}}}"
    return _MADE_UP.sub("#", str(value).lower())
