"""The page's files, read and compressed once at the start. They hold no data.

Addresses of the files carry a digest of all of them, put in here for `/query/page/`: a browser keeps the files for ever and asks only for the page itself,
each time, whether it has changed. Another version's address gives this one's file, not to be kept: while versions change, a page may be half of each.
"""

import gzip
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from functions.query.answers import SECURITY_HEADERS
from shared.contract import QUERY_PREFIX

_FOLDER = Path(__file__).parent / "page"
_TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FILE = re.compile(rf"{QUERY_PREFIX}/page/(?:(?P<version>[0-9a-f]{{16}})/)?(?P<name>[a-z]{{1,40}}\.[a-z]{{1,4}})", re.ASCII)
_KEPT, _ASKED_FOR = "public, max-age=31536000, immutable", "no-cache"


@dataclass(frozen=True, slots=True)
class _File:
    media_type: str
    content: bytes
    compressed: bytes
    tag: str


class Page:
    """Public path → file. `/query/` is the page."""

    def __init__(self) -> None:
        found = {file.name: file.read_bytes() for file in sorted(_FOLDER.iterdir()) if file.suffix in _TYPES}
        self._version = _digest(b"".join(found.values()))
        found["index.html"] = found["index.html"].replace(f"{QUERY_PREFIX}/page/".encode(), f"{QUERY_PREFIX}/page/{self._version}/".encode())
        self._files = {name: _File(_TYPES[Path(name).suffix], content, gzip.compress(content, mtime=0), _digest(content)) for name, content in found.items()}

    def answer(self, request: Request, path: str) -> Response | None:
        """The file at this path, or None."""
        if request.method not in {"GET", "HEAD"}:
            return None
        if path == QUERY_PREFIX:
            return Response(status_code=308, headers={**SECURITY_HEADERS, "location": f"{QUERY_PREFIX}/"})
        if path == f"{QUERY_PREFIX}/":
            return self._send(request, self._files["index.html"], _ASKED_FOR)
        asked = _FILE.fullmatch(path)
        if asked is None or asked["name"] not in self._files:
            return None
        return self._send(request, self._files[asked["name"]], _KEPT if asked["version"] == self._version else _ASKED_FOR)

    @staticmethod
    def _send(request: Request, file: _File, caching: str) -> Response:
        small = "gzip" in request.headers.get("accept-encoding", "")
        # Two forms of a file are two things to a cache, so each has its own tag (RFC 9110, section 8.8.3.3).
        tag = f'"{file.tag}{"-gzip" if small else ""}"'
        headers = {**SECURITY_HEADERS, "cache-control": caching, "etag": tag, "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        if small:
            headers["content-encoding"] = "gzip"
        return Response(file.compressed if small else file.content, headers=headers, media_type=file.media_type)


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]
