"""Gzip, deflate, zstd and snappy: whole bodies or Refused, never more than the limit."""

import gzip
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import cramjam
import pytest

from shared.codecs.compression import DECODERS, OTLP_ENCODINGS, gunzip, inflate, snappy, unsnappy, unzstd
from shared.errors import Refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY = b"all work and no play " * 500
NOISE = random.Random(7).randbytes(300_000)  # noqa: S311
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"


def bare(body: bytes) -> bytes:
    """Deflate without the zlib wrapper."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress, "snappy": snappy}


def status(unpack: Callable[[bytes, int], bytes], body: bytes, limit: int = 1 << 20) -> int:
    with pytest.raises(Refused) as refused:
        unpack(body, limit)
    return refused.value.status


@pytest.mark.parametrize("name", sorted(OTLP_ENCODINGS))
def test_refusal_tells_how_much_was_unpacked(name: str) -> None:
    """So that a bomb, and a body with a broken end, count for who sent them."""
    packed = PACK[name](bytes(5_000_000))
    for body, limit, least, most in ((packed, 2_000_000, 2_000_001, 4_000_000), (packed[:-4], 1 << 23, 3_000_000, 5_000_000), (b"junk", 1 << 20, 0, 100)):
        with pytest.raises(Refused) as refused:
            DECODERS[name](body, limit)
        assert least <= refused.value.unpacked <= most


def test_otlp_has_all_but_snappy() -> None:
    assert set(DECODERS) - OTLP_ENCODINGS == {"snappy"}


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("body", [b"", b"x", BODY, NOISE, bytes(5_000_000)], ids=["empty", "one byte", "text", "noise", "zeros"])
def test_body_comes_back_up_to_the_limit_and_not_beyond(name: str, body: bytes) -> None:
    packed = PACK[name](body)
    assert DECODERS[name](packed, len(body)) == body
    if body:
        assert status(DECODERS[name], packed, len(body) - 1) == 413


@pytest.mark.parametrize("name", PACK)
def test_broken_body_is_refused(name: str) -> None:
    packed = PACK[name](BODY)
    broken = {"empty": b"", "text": b"plain text", "cut short": packed[:20], "without its last byte": packed[:-1], "trailing garbage": packed + b"garbage"}
    assert {what: status(DECODERS[name], body) for what, body in broken.items()} == dict.fromkeys(broken, 400)


@pytest.mark.parametrize("name", sorted(OTLP_ENCODINGS))
def test_damaged_body_is_never_a_wrong_body(name: str) -> None:
    packed = bytearray(PACK[name](NOISE))
    packed[len(packed) // 2] ^= 0x55
    if name == "zstd":  # its checksum is optional, and off by default
        packed[0] ^= 0x55
    assert status(DECODERS[name], bytes(packed)) == 400


@pytest.mark.parametrize("name", sorted(OTLP_ENCODINGS))
def test_bomb_never_exists_in_memory(name: str) -> None:
    packed = PACK[name](bytes(100_000_000))
    tracemalloc.start()
    try:
        assert status(DECODERS[name], packed, 1_000_000) == 413
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_several_members_are_one_body(name: str) -> None:
    pack, unpack = PACK[name], DECODERS[name]
    assert unpack(pack(BODY) + pack(b"") + pack(NOISE) + pack(b"more"), 1 << 20) == BODY + NOISE + b"more"
    assert status(unpack, pack(BODY) * 3, len(BODY) * 2) == 413


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_thousand_members_are_taken_and_millions_are_not(name: str) -> None:
    assert DECODERS[name](PACK[name](b"a") * 1000, 1000) == b"a" * 1000
    assert status(DECODERS[name], PACK[name](b"") * 100_000) == 400


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1])
def test_members_may_end_anywhere_in_what_is_read_at_a_time(size: int) -> None:
    stored = gzip.compress(NOISE[: size - 23], 0)
    assert gunzip(stored + gzip.compress(BODY), 1 << 20) == NOISE[: size - 23] + BODY


def test_gzip_is_not_zlib() -> None:
    assert status(gunzip, zlib.compress(BODY)) == 400


@pytest.mark.parametrize("pack", [zlib.compress, bare], ids=["zlib", "bare"])
@pytest.mark.parametrize("body", [b"", b"x", BODY, NOISE], ids=["empty", "one byte", "text", "noise"])
def test_deflate_is_taken_with_and_without_its_wrapper(pack: Callable[[bytes], bytes], body: bytes) -> None:
    assert inflate(pack(body), len(body)) == body


def test_deflate_is_one_stream() -> None:
    assert status(inflate, zlib.compress(BODY) * 2) == 400
    assert status(inflate, bare(BODY) * 2) == 400


def test_deflate_with_a_dictionary_is_refused() -> None:
    packer = zlib.compressobj(zdict=b"all work and no play ")
    assert status(inflate, packer.compress(BODY) + packer.flush()) == 400


def test_zstd_frames_without_content_are_skipped() -> None:
    assert unzstd(SKIPPABLE + zstd.compress(BODY) + SKIPPABLE, len(BODY)) == BODY


def test_zstd_without_a_declared_size_and_with_a_checksum_is_taken() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})
    packed = packer.compress(NOISE) + packer.compress(BODY) + packer.flush()
    assert unzstd(packed, 1 << 20) == NOISE + BODY
    assert status(unzstd, packed[:-1] + bytes([packed[-1] ^ 1])) == 400


@pytest.mark.parametrize(("log", "taken"), [(23, True), (24, False), (27, False)])
def test_zstd_window_is_at_most_what_http_allows(log: int, taken: bool) -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
    packed = packer.compress(BODY, mode=zstd.ZstdCompressor.FLUSH_BLOCK) + packer.flush()
    if taken:
        assert unzstd(packed, len(BODY)) == BODY
    else:
        assert status(unzstd, packed) == 400


def test_zstd_is_imported_by_those_who_see_it() -> None:
    program = "import sys, shared.codecs.compression; sys.exit(any('zstd' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_snappy_over_the_limit_is_refused_by_its_head() -> None:
    declares_4_gib = b"\xff\xff\xff\xff\x0f"
    assert status(unsnappy, declares_4_gib) == 413


@pytest.mark.parametrize(
    "body",
    [b"\xff\xff\xff\xff\xff", b"\xff\xff\xff\xff\x7f", snappy(BODY)[:-4], bytes(cramjam.snappy.compress(BODY)), b"\x05hello"],
    ids=["length without end", "length over 32 bits", "cut short", "framed", "wrong length"],
)
def test_broken_snappy_is_refused(body: bytes) -> None:
    assert status(unsnappy, body) == 400
