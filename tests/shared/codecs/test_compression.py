"""Gzip and snappy: whole bodies or Refused, never more than the limit."""

import gzip
import zlib

import cramjam
import pytest

from shared.codecs.compression import gunzip, snappy, unsnappy
from shared.errors import Refused

BODY = b"all work and no play " * 500


def test_gzip_comes_back() -> None:
    assert gunzip(gzip.compress(BODY), len(BODY)) == BODY


def test_several_gzip_members_are_one_body() -> None:
    assert gunzip(gzip.compress(BODY) + gzip.compress(b"more"), 1 << 20) == BODY + b"more"


def test_empty_gzip_member_is_an_empty_body() -> None:
    assert gunzip(gzip.compress(b""), 10) == b""


@pytest.mark.parametrize(
    "body",
    [b"", b"plain text", gzip.compress(BODY)[:-1], gzip.compress(BODY)[:20], gzip.compress(BODY) + b"garbage", zlib.compress(BODY)],
    ids=["empty", "not gzip", "without its last byte", "cut short", "trailing garbage", "zlib"],
)
def test_broken_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        gunzip(body, 1 << 20)
    assert refused.value.status == 400


def test_gzip_bomb_stops_at_the_limit() -> None:
    with pytest.raises(Refused) as refused:
        gunzip(gzip.compress(bytes(50_000_000)), 1_000_000)
    assert refused.value.status == 413


def test_limit_counts_over_all_members() -> None:
    with pytest.raises(Refused) as refused:
        gunzip(gzip.compress(BODY) * 3, len(BODY) * 2)
    assert refused.value.status == 413


def test_snappy_block_comes_back() -> None:
    assert unsnappy(snappy(BODY), len(BODY)) == BODY


def test_snappy_over_the_limit_is_refused_by_its_head() -> None:
    declares_4_gib = b"\xff\xff\xff\xff\x0f"
    with pytest.raises(Refused) as refused:
        unsnappy(declares_4_gib, 1 << 20)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xff\xff\xff\xff", b"\xff\xff\xff\xff\x7f", snappy(BODY)[:-4], bytes(cramjam.snappy.compress(BODY)), b"\x05hello"],
    ids=["empty", "length without end", "length over 32 bits", "cut short", "framed", "wrong length"],
)
def test_broken_snappy_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        unsnappy(body, 1 << 20)
    assert refused.value.status == 400
