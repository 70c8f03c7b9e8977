"""Paths and headers on their way through, as Kong changes them. Pure."""

import re
from collections.abc import Mapping
from uuid import uuid4

from multidict import CIMultiDict, CIMultiDictProxy

from localdev.gateway.config import Plugins

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "host",
    }
)
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normalize(path: str) -> str:
    """The path as Kong matches and forwards it: unreserved characters decoded, slashes merged, dot segments resolved (RFC 3986, 6.2.2).

    Without this `/query/../metrics` would match the prefix and then mean another path to whoever resolves it.
    """
    decoded = re.sub(r"%([0-9A-Fa-f]{2})", _decode, path)
    segments: list[str] = []
    parts = re.sub("/+", "/", decoded).split("/")[1:]
    for part in parts:
        if part == "..":
            del segments[-1:]
        elif part != ".":
            segments.append(part)
    if parts[-1] in {".", ".."}:
        segments.append("")
    return "/" + "/".join(segments)


def _decode(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """All but those that belong to one connection, whether by their nature or because `Connection` names them."""
    named = {name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(",")}
    dropped = _HOP_BY_HOP | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def towards_upstream(headers: CIMultiDictProxy[str], plugins: Plugins, forwarded: Mapping[str, str]) -> CIMultiDict[str]:
    """What the function gets: identity headers removed, a correlation id, who asked for what."""
    kept = CIMultiDict((name, value) for name, value in end_to_end(headers).items() if name.lower() not in plugins.removed_headers)
    if plugins.correlation_id and not kept.get(plugins.correlation_id.header):
        kept[plugins.correlation_id.header] = str(uuid4())
    # Kong writes these last, so that its plugins take none of them away.
    chain = ", ".join([*headers.getall("X-Forwarded-For", ()), forwarded["X-Real-IP"]])
    kept.update(forwarded)
    kept["X-Forwarded-For"] = chain
    return kept
