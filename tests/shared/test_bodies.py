"""Bodies from the stream: encodings, limits and lengths, decided before and while reading."""

import gzip
import tracemalloc
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import Request

from shared import bodies
from shared.codecs.compression import OTLP_ENCODINGS, snappy
from shared.errors import Later, Refused
from shared.memory import Memory

BODY = b"all work and no play " * 500
PACKED = gzip.compress(BODY)


def request(chunks: Sequence[bytes], *headers: tuple[str, str]) -> Request:
    """A request whose body comes in `chunks`."""
    rest = list(chunks)

    async def receive() -> dict[str, Any]:
        body = rest.pop(0) if rest else b""
        return {"type": "http.request", "body": body, "more_body": bool(rest)}

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


async def read(chunks: Sequence[bytes], *headers: tuple[str, str], limit: int = 1 << 20) -> bytes:
    return await bodies.read(request(chunks, *headers), limit, OTLP_ENCODINGS)


async def refused(chunks: Sequence[bytes], *headers: tuple[str, str], limit: int = 1 << 20) -> int:
    with pytest.raises(Refused) as caught:
        await read(chunks, *headers, limit=limit)
    return caught.value.status


@pytest.mark.parametrize("chunks", [[BODY], [BODY[:1], BODY[1:]], [b"", BODY[:7], b"", BODY[7:], b""]])
async def test_body_is_all_chunks_in_order(chunks: list[bytes]) -> None:
    assert await read(chunks) == BODY


async def test_one_chunk_is_not_copied() -> None:
    assert await read([BODY]) is BODY


async def test_no_body_is_empty() -> None:
    assert await read([]) == b""


@pytest.mark.parametrize(
    "headers",
    [
        [("content-encoding", "gzip")],
        [("content-encoding", "GZip ")],
        [("content-encoding", "x-gzip")],
        [("content-encoding", "gzip, identity")],
        [("content-encoding", "identity"), ("content-encoding", "gzip")],
        [("content-encoding", ", gzip,")],
    ],
)
async def test_encoding_is_found_in_every_spelling(headers: list[tuple[str, str]]) -> None:
    assert await read([PACKED[:9], PACKED[9:]], *headers) == BODY


@pytest.mark.parametrize("value", ["", "identity", " Identity , identity", ","])
async def test_identity_is_the_body_itself(value: str) -> None:
    assert await read([PACKED], ("content-encoding", value)) == PACKED


@pytest.mark.parametrize("value", ["br", "snappy", "gzip, gzip", "gzip, zstd", "gzip;q=1", "gz\xefp", "compress", "*"])
async def test_other_and_several_encodings_are_415_before_the_body_is_read(value: str) -> None:
    assert await refused([bytes(100)], ("content-encoding", value), limit=1) == 415


async def test_encodings_are_the_callers() -> None:
    packed = request([snappy(BODY)], ("content-encoding", "snappy"))
    assert await bodies.read(packed, 1 << 20, {"snappy"}) == BODY
    with pytest.raises(Refused):
        await bodies.read(request([PACKED], ("content-encoding", "gzip")), 1 << 20, ())


async def test_limit_is_on_the_declared_length_on_the_wire_and_on_what_comes_out() -> None:
    assert await refused([], ("content-length", "1001"), limit=1000) == 413
    assert await refused([bytes(600), bytes(401)], limit=1000) == 413
    assert await refused([PACKED], ("content-encoding", "gzip"), limit=len(BODY) - 1) == 413
    assert await refused([zlib.compress(BODY)], ("content-encoding", "deflate"), limit=len(BODY) - 1) == 413
    assert await read([bytes(600), bytes(400)], ("content-length", "1000"), limit=1000) == bytes(1000)
    assert await read([PACKED], ("content-encoding", "gzip"), limit=len(BODY)) == BODY


async def test_body_cut_short_is_400_never_taken_as_a_shorter_one() -> None:
    assert await refused([BODY[:100]], ("content-length", str(len(BODY)))) == 400
    assert await refused([], ("content-length", "5")) == 400


@pytest.mark.parametrize("length", ["\xb2", "-1", "1e3", "", " ", "9" * 5000, "0x10"])
async def test_nonsense_for_a_length_is_no_length(length: str) -> None:
    assert await read([b"abc"], ("content-length", length)) == b"abc"


async def test_everything_held_counts_against_the_budget() -> None:
    memory = Memory(len(PACKED) + len(BODY))
    with memory.hold() as hold:
        await read([PACKED[:9], PACKED[9:]], ("content-encoding", "gzip"))
        assert hold.bytes == len(PACKED) + len(BODY)
        with pytest.raises(Later):
            await read([b"x"])
    assert memory.held == 0


@pytest.mark.parametrize("packed", [False, True])
async def test_large_body_is_not_held_twice(packed: bool) -> None:
    size = 32 << 20
    wire = gzip.compress(bytes(size)) if packed else b""
    chunks = [wire] if packed else [bytes(1 << 20)] * 32
    headers = [("content-encoding", "gzip")] if packed else []
    tracemalloc.start()
    try:
        assert len(await read(chunks, *headers, limit=size)) == size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * size
