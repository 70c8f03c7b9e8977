"""Bodies in and out of gzip and snappy, with a limit on what comes out. Pure: bytes in, bytes or Refused out.

Gzip (RFC 1952): several members are one body; a missing end or trailing garbage is refused; output is limited while decompressing, so a bomb never exists
in memory. Snappy is the block format of remote_write: its declared length is read and checked before anything is allocated.
"""

import zlib
from collections.abc import Callable
from typing import Final

import cramjam

from shared.contract import Reason
from shared.errors import Refused

_FRAMED: Final = b"\xff\x06\x00\x00sNaPpY"


def gunzip(body: bytes, limit: int) -> bytes:
    """Decompress all members. Raises Refused: 400 when it isn't gzip to its end, 413 when more than `limit` bytes come out."""
    parts, size, rest = [], 0, body
    while rest:
        member = zlib.decompressobj(wbits=31)
        try:
            part = member.decompress(rest, limit - size + 1)
        except zlib.error as error:
            raise Refused(Reason.UNDECODABLE, f"not gzip: {error}") from None
        size += len(part)
        if size > limit:
            raise Refused(Reason.TOO_LARGE, f"decompressed body over {limit} bytes", 413)
        if not member.eof:
            raise Refused(Reason.UNDECODABLE, "the gzip body ends early")
        parts.append(part)
        rest = member.unused_data
    if not parts:
        raise Refused(Reason.UNDECODABLE, "an empty body is not gzip")
    return parts[0] if len(parts) == 1 else b"".join(parts)


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

DECODERS: Final[dict[str, Decompress]] = {"gzip": gunzip, "snappy": unsnappy}
