"""Whatever comes in, a codec gives a message or a body, or Refused; and what was packed or written as JSON comes back the same."""

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localdev.fuzz.otlp_http import PACK
from shared.codecs import otlp
from shared.codecs.compression import DECODERS, snappy
from shared.errors import Refused
from tests.fuzz.otlp import REQUESTS, messages, to_json

NOW = 1_790_000_000 * 10**9
SHAPES = {"logs": otlp.LOGS, "metrics": otlp.METRICS, "traces": otlp.TRACES}
EVERY_SIGNAL = pytest.mark.parametrize("signal", sorted(SHAPES))
PACKERS: dict[str, Callable[[bytes], bytes]] = PACK | {"snappy": snappy}
BODIES = st.binary(max_size=2000) | st.builds(lambda piece, times: piece * times, st.binary(max_size=20), st.integers(0, 20_000))

NAMES = ["resourceLogs", "scopeLogs", "logRecords", "resourceSpans", "scopeSpans", "spans", "resourceMetrics", "scopeMetrics", "metrics", "attributes"]
NAMES += ["key", "value", "body", "traceId", "spanId", "timeUnixNano", "kind", "gauge", "sum", "dataPoints", "arrayValue", "kvlistValue", "values", "intValue"]
JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["NaN", "00" * 16, "1790000000000000000"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4),
    max_leaves=40,
)


@EVERY_SIGNAL
@given(value=st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(signal: str, value: bytes) -> None:
    shape = SHAPES[signal]
    with suppress(Refused):
        otlp.check(shape, otlp.parse(shape, value), value, NOW)
    with suppress(Refused):
        otlp.parse_json(shape, value)


@EVERY_SIGNAL
@given(document=JSON_LIKE)
def test_any_json_is_a_message_or_refused(signal: str, document: Any) -> None:
    shape = SHAPES[signal]
    with suppress(Refused):
        message = otlp.parse_json(shape, json.dumps(document).encode())
        otlp.check(shape, message, None, NOW)
        assert shape.request.FromString(message.SerializeToString()) == message


@EVERY_SIGNAL
@given(data=st.data())
def test_json_is_the_same_bytes_as_its_protobuf_twin(signal: str, data: st.DataObject) -> None:
    twin = data.draw(messages(REQUESTS[signal]))
    text = to_json(twin, data.draw(st.randoms(use_true_random=False)))
    assert otlp.parse_json(SHAPES[signal], text).SerializeToString() == twin.SerializeToString()


@EVERY_SIGNAL
@given(data=st.data(), places=st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(max_size=3)), min_size=1, max_size=4))
def test_damaged_messages_are_taken_or_refused_in_both_forms(signal: str, data: st.DataObject, places: list[tuple[int, bytes]]) -> None:
    shape, twin = SHAPES[signal], data.draw(messages(REQUESTS[signal]))
    for value, parse in ((twin.SerializeToString(), otlp.parse), (to_json(twin, Random(0)), otlp.parse_json)):  # noqa: S311
        damaged = bytearray(value)
        for place, piece in places:
            at = place % (len(damaged) + 1)
            damaged[at : at + 1] = piece
        with suppress(Refused):
            otlp.check(shape, parse(shape, bytes(damaged)), None, NOW)


@pytest.mark.parametrize("name", sorted(PACKERS))
@given(body=BODIES)
def test_what_was_packed_comes_back(name: str, body: bytes) -> None:
    assert DECODERS[name](PACKERS[name](body), len(body)) == body


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@given(parts=st.lists(BODIES, min_size=1, max_size=5))
def test_members_come_back_as_one(name: str, parts: list[bytes]) -> None:
    body = b"".join(parts)
    assert DECODERS[name](b"".join(map(PACKERS[name], parts)), len(body)) == body


@pytest.mark.parametrize("name", sorted(PACKERS))
@given(
    value=st.binary(max_size=300), head=st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\x78\x9c", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b"\xff\x06\0\0sNaPpY"])
)
def test_any_bytes_are_a_body_within_the_limit_or_refused(name: str, value: bytes, head: bytes) -> None:
    with suppress(Refused):
        assert len(DECODERS[name](head + value, 1000)) <= 1000


@pytest.mark.parametrize("name", sorted(PACKERS))
@given(body=BODIES, limit=st.integers(0, 5000), place=st.integers(0, 1 << 20), piece=st.binary(max_size=2))
def test_damaged_bodies_stay_within_the_limit(name: str, body: bytes, limit: int, place: int, piece: bytes) -> None:
    packed = PACKERS[name](body)
    at = place % (len(packed) + 1)
    with suppress(Refused):
        assert len(DECODERS[name](packed[:at] + piece + packed[at + 1 :], limit)) <= limit


@given(body=BODIES, level=st.integers(0, 9), flushes=st.lists(st.integers(0, 2000), max_size=4))
def test_gzip_is_read_however_it_was_written(body: bytes, level: int, flushes: list[int]) -> None:
    packer, packed, at = zlib.compressobj(level, wbits=31), b"", 0
    for size in flushes:
        packed += packer.compress(body[at : at + size]) + packer.flush(zlib.Z_FULL_FLUSH)
        at += size
    packed += packer.compress(body[at:]) + packer.flush()
    assert DECODERS["gzip"](packed, len(body)) == body == gzip.decompress(packed)
