"""Bodies in and out of gzip, deflate, zstd and snappy, with a limit on what comes out. Pure: bytes in, bytes or Refused out.

Output is counted block by block while decompressing, so a bomb never exists in memory, and no body exists twice on its way. Several gzip members (RFC 1952)
and zstd frames (RFC 8878) are one body; a missing end or trailing garbage is refused. Snappy is the block format of remote_write: its declared length is
read and checked before anything is allocated.
"""

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import cramjam
from zlib_ng import zlib_ng

from shared.contract import Reason
from shared.errors import Refused

OTLP_ENCODINGS: Final = frozenset({"gzip", "deflate", "zstd"})
"""What OTLP's clients may use: gzip is the specification's, deflate is the Python SDK's, zstd is the Collector's."""

_FRAMED: Final = b"\xff\x06\x00\x00sNaPpY"
_PIECE: Final = 64 * 1024
_BLOCK: Final = 1024 * 1024
"""What goes into and comes out of a decompressor at a time."""
_ZLIB_ERROR: Final[type[Exception]] = zlib_ng.error  # type: ignore[assignment]  # its stub takes the class for an instance
_MEMBERS: Final = 4096
"""A member or frame costs some microseconds even if nothing is in it, and a body could hold millions; at bgzip's 64 kB each these are 256 MB."""
_WINDOW_LOG: Final = 23
"""8 MiB: no window may be larger in HTTP (RFC 9659, section 3)."""


def gunzip(body: bytes, limit: int) -> bytes:
    """Decompress all members. Raises Refused: 400 when it isn't gzip to its end, 413 when more than `limit` bytes come out."""
    return _within(limit, _blocks(body, "gzip", lambda: zlib_ng.decompressobj(wbits=31), _ZLIB_ERROR, _MEMBERS))


def inflate(body: bytes, limit: int) -> bytes:
    """Decompress "deflate": a zlib stream (RFC 9110, section 8.4.1.2), or the bare one that some clients send. Raises Refused like `gunzip`."""
    # A zlib stream's first two bytes say method 8 and are a multiple of 31 (RFC 1950, section 2.2).
    wrapped = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _within(limit, _blocks(body, "deflate", lambda: zlib_ng.decompressobj(wbits=15 if wrapped else -15), _ZLIB_ERROR, 1))


def unzstd(body: bytes, limit: int) -> bytes:
    """Decompress all frames. Raises Refused like `gunzip`; 400 too when the window is larger than HTTP allows."""
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 most functions never see zstd and needn't carry it
    else:
        from backports import zstd  # noqa: PLC0415 as above
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    return _within(limit, _blocks(body, "zstd", lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError, _MEMBERS))


def _blocks(body: bytes, name: str, decompressor: Callable[[], Any], failure: type[Exception], members: int) -> Iterator[bytes]:
    """What comes out of `body`, block by block; each of at most `members` members has a decompressor of its own."""
    view, position = memoryview(body), 0
    for _ in range(members):
        member = decompressor()
        while not member.eof:
            piece = view[position : position + _PIECE]
            try:
                block = member.decompress(piece, _BLOCK)
            except failure as error:
                raise Refused(Reason.UNDECODABLE, f"not {name}: {error}") from None
            if not (piece or block or member.eof):
                raise Refused(Reason.UNDECODABLE, f"the {name} body ends early")
            # zlib hands back what didn't fit into the block; zstd keeps it and goes on with it.
            position += len(piece) - len(member.unused_data) - len(getattr(member, "unconsumed_tail", b""))
            yield block
        if position == len(view):
            return
    raise Refused(Reason.UNDECODABLE, f"something follows the end of the {name} body" if members == 1 else f"over {members} {name} members")


def _within(limit: int, blocks: Iterator[bytes]) -> bytes:
    """All blocks in one. A BytesIO, unlike a list and its join, holds them once; with one block it returns that very object."""
    size = 0
    try:
        whole = io.BytesIO(next(blocks))
        size = whole.seek(0, io.SEEK_END)
        while size <= limit and (block := next(blocks, None)) is not None:
            size += whole.write(block)
    except Refused as refused:
        refused.unpacked = size
        raise
    if size > limit:
        raise Refused(Reason.TOO_LARGE, f"decompressed body over {limit} bytes", 413, unpacked=size)
    return whole.getvalue()


def unsnappy(body: bytes, limit: int) -> bytes:
    """Decompress a snappy block. Raises Refused: 400 when it isn't one, 413 when it declares more than `limit` bytes."""
    if body.startswith(_FRAMED):
        raise Refused(Reason.UNDECODABLE, "framed snappy; remote_write uses the block format")
    declared = _declared_length(body)
    if declared > limit:
        raise Refused(Reason.TOO_LARGE, f"declares {declared} decompressed bytes; at most {limit} are taken", 413)
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise Refused(Reason.UNDECODABLE, f"not snappy: {error}") from None


def snappy(body: bytes) -> bytes:
    """Compress to a snappy block."""
    return bytes(cramjam.snappy.compress_raw(body))


def _declared_length(body: bytes) -> int:
    """The varint at the head of a snappy block: at most 5 bytes, at most 2^32 - 1 (snappy format description, section 1)."""
    length = 0
    for position, byte in enumerate(body[:5]):
        length |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if length > 0xFFFFFFFF:
                break
            return length
    raise Refused(Reason.UNDECODABLE, "not snappy: no valid length at its head")


Decompress = Callable[[bytes, int], bytes]

DECODERS: Final[dict[str, Decompress]] = {"gzip": gunzip, "deflate": inflate, "zstd": unzstd, "snappy": unsnappy}
