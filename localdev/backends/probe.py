"""Probes of readiness: each asks for something that only a serving backend can answer, and takes 2 s at most."""

import json
import socket
import struct
import urllib.request
from collections.abc import Mapping
from typing import Any

_TIMEOUT = 1.5
# Loopback is never behind the proxy that HTTP_PROXY may name.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def http_ok(url: str, headers: Mapping[str, str] | None = None) -> bool:
    """Whether it answers 200."""
    return _get(url, headers or {}) is not None


def http_json(url: str) -> Any:
    """The JSON of a 200, else None."""
    body = _get(url, {})
    return None if body is None else json.loads(body)


def _get(url: str, headers: Mapping[str, str]) -> bytes | None:
    try:
        with _OPENER.open(urllib.request.Request(url, headers=dict(headers)), timeout=_TIMEOUT) as answer:  # noqa: S310 (our own loopback URLs)
            return answer.read() if answer.status == 200 else None
    except OSError:
        return None


def kafka_serves(port: int) -> bool:
    """Whether the node answers a metadata request and names a live broker in it: an open port alone says nothing about that."""
    client = b"obstack-probe"
    # Metadata, version 4: no topics, no creating. Version 4 is the last with this plain encoding that every broker since 0.11 speaks.
    body = struct.pack(">hhih", 3, 4, 1, len(client)) + client + struct.pack(">i?", 0, False)
    try:
        with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection:
            connection.settimeout(_TIMEOUT)
            connection.sendall(struct.pack(">i", len(body)) + body)
            with connection.makefile("rb") as answer:
                _size, _correlation, _throttle, brokers = struct.unpack(">iiii", answer.read(16))
    except (OSError, struct.error):
        return False
    return int(brokers) > 0
