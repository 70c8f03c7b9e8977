"""Request stream → bytes, limited before and after decompression.

The body is read from the stream and counted here: a Content-Length may be missing (chunked) or wrong. Nothing is cut silently.
"""

from collections.abc import Collection

from starlette.requests import Request

from shared.codecs.compression import DECODERS
from shared.contract import Reason
from shared.errors import Refused


async def read(request: Request, limit: int, encodings: Collection[str]) -> bytes:
    """The whole body, decompressed when its Content-Encoding is one of `encodings` ("identity" and none are always taken).

    Raises Refused: 413 when the body is over `limit` bytes on the wire or decompressed, 415 for another encoding, 400 when it can't be decompressed.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity"} and encoding not in encodings:
        raise Refused(Reason.ENCODING, f"Content-Encoding {encoding[:40]!r}; taken are {', '.join(sorted(encodings))}", 415)
    if int(length) > limit if (length := request.headers.get("content-length", "0")).isdigit() else False:
        raise Refused(Reason.TOO_LARGE, f"body over {limit} bytes", 413)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise Refused(Reason.TOO_LARGE, f"body over {limit} bytes", 413)
        chunks.append(chunk)
    body = b"".join(chunks)
    return DECODERS[encoding](body, limit) if encoding in encodings else body
