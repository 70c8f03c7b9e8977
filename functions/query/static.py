"""The page's files, read once at the start. They hold no data, so a browser may keep them, but asks each time whether they have changed."""

from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from functions.query.answers import SECURITY_HEADERS
from shared.contract import QUERY_PREFIX

_FOLDER = Path(__file__).parent / "page"
_TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


class Page:
    """Public path → file. `/query/` is the page."""

    def __init__(self) -> None:
        self._files = {f"{QUERY_PREFIX}/page/{file.name}": (file.read_bytes(), _TYPES[file.suffix]) for file in _FOLDER.iterdir() if file.suffix in _TYPES}
        self._files[f"{QUERY_PREFIX}/"] = self._files[f"{QUERY_PREFIX}/page/index.html"]

    def answer(self, request: Request, path: str) -> Response | None:
        """The file at this path, or None."""
        if request.method not in {"GET", "HEAD"}:
            return None
        if path == QUERY_PREFIX:
            return Response(status_code=308, headers={**SECURITY_HEADERS, "location": f"{QUERY_PREFIX}/"})
        if path not in self._files:
            return None
        content, media_type = self._files[path]
        etag = f'"{sha256(content).hexdigest()[:16]}"'
        headers = {**SECURITY_HEADERS, "cache-control": "no-cache", "etag": etag}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)
