"""Request stream → bytes, limited before and after decompression.

The body is read from the stream and counted here: a Content-Length may be missing (chunked) or wrong. Nothing is cut silently, a large body is not held
twice, and what is held counts against the process's budget.
"""

import asyncio
import io
from collections.abc import Collection

from starlette.requests import ClientDisconnect, Request

from shared import memory
from shared.codecs.compression import DECODERS
from shared.contract import BODY_SECONDS, Reason
from shared.errors import Later, Refused


async def read(request: Request, limit: int, encodings: Collection[str], unnamed: str = "") -> bytes:
    """The whole body, decompressed when its Content-Encoding is one of `encodings` ("identity" and none are always taken).

    `unnamed`: the coding of a body that names none or "identity"; who takes no identity refuses it before.
    Raises Refused: 413 when the body is over `limit` bytes on the wire or decompressed, 415 for another encoding, 400 when it can't be decompressed or is
    not as long as its Content-Length. Raises Later when the process holds too much already.
    """
    encoding = _encoding(request, encodings) or unnamed
    if not encoding:
        return await _wire(request, limit)
    # No local name for the wire's bytes: the decoder holds the only reference. Nothing else runs meanwhile, so counting afterwards lets one body over.
    body = DECODERS[encoding](await _wire(request, limit), limit)
    memory.add(len(body))
    return body


def _encoding(request: Request, encodings: Collection[str]) -> str:
    """The one coding that was applied, or "". A list is taken as long as it names one besides identity: nobody's client compresses twice, but a bomb may."""
    named = ",".join(request.headers.getlist("content-encoding")).lower()
    if not named:
        return ""
    codings = [coding for part in named.split(",") if (coding := part.strip()) not in {"", "identity"}]
    # x-gzip means gzip (RFC 9110, section 8.4.1.3).
    codings = ["gzip" if coding == "x-gzip" else coding for coding in codings]
    if len(codings) > 1 or set(codings).difference(encodings):
        raise Refused(Reason.ENCODING, f"Content-Encoding {named[:40]!r}; taken: {', '.join(sorted(encodings)) or 'none'}", 415)
    return codings[0] if codings else ""


async def _wire(request: Request, limit: int) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _all_of_it(request, limit)
    except TimeoutError:
        # Not 408: OTLP clients drop what is answered so, and it is the line that is slow, not the batch that is wrong.
        raise Later(f"the body did not come within {BODY_SECONDS:.0f} s") from None


async def _all_of_it(request: Request, limit: int) -> bytes:
    declared = declared_length(request)
    if declared is not None and declared > limit:
        raise Refused(Reason.TOO_LARGE, f"body over {limit} bytes", 413)
    # The first chunk is mostly the only one: handed out as it is. Those that follow are added to a copy.
    first, rest, size, more = b"", None, 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        if not chunk:
            continue
        size += len(chunk)
        if size > limit:
            raise Refused(Reason.TOO_LARGE, f"body over {limit} bytes", 413)
        memory.add(len(chunk))
        if size == len(chunk):
            first = chunk
        else:
            rest = rest or _copied(first)
            rest.write(chunk)
    if declared is not None and size != declared:
        # Half a protobuf message is often a valid message.
        raise Refused(Reason.UNDECODABLE, f"the body has {size} bytes, its Content-Length is {declared}")
    return rest.getvalue() if rest else first


def _copied(first: bytes) -> io.BytesIO:
    whole = io.BytesIO(first)
    whole.seek(0, io.SEEK_END)
    return whole


def declared_length(request: Request) -> int | None:
    """What Content-Length says, in bytes; None without a usable one."""
    length = request.headers.get("content-length", "")
    # More digits than any limit has, or none: the server's parser refuses most of these, and int() would raise.
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
