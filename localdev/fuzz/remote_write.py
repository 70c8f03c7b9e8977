"""remote_write 1.0 and 2.0: what is sent, and whether the answer is one that a sender can act on.

Judged: no 5xx but a 503 with Retry-After, success is an empty 204, a refusal has a text, and what was written is said in 2.0's answers alone.
"""

import random
import time
from typing import Any

import cramjam

from localdev.fuzz import http
from localdev.fuzz.http import Answer, Attempt, misdirected
from localdev.fuzz.mutations import HEADERS, damaged, word
from shared.codecs.prompb import remote1_pb2, remote2_pb2

TYPE_1, TYPE_2 = "application/x-protobuf", "application/x-protobuf;proto=io.prometheus.write.v2.Request"
WRITTEN = [f"x-prometheus-remote-write-{what}-written" for what in ("samples", "histograms", "exemplars")]
PATHS = ["/v1/read", "/", "/v1/write/", "/ingest/prometheus/v1/write", "/api/v1/write", "/%00", "//v1/write", "/v1/" + "x" * 2000]
NOISE = {
    **HEADERS,
    "content-type": ["", "text/plain", "application/json", TYPE_1, TYPE_2, f"{TYPE_1};proto=prometheus.WriteRequest", f"{TYPE_1};proto=x", ";;proto=", "\xff"],
    "content-encoding": ["", "identity", "gzip", "SNAPPY", "snappy, snappy", "zstd", ",", "\xe9"],
    "x-prometheus-remote-write-version": ["", "0.1.0", "2.0.0", "9", "\xff"],
}
_TIMES = [0, 1, -1, 2**63 - 1, -(2**63)]
_VALUES = [0.0, 1.5, -1.0, float("nan"), float("inf"), float("-inf"), 5e-324]


def attempt(source: random.Random, token: str) -> Attempt:
    """The next request: mostly nearly right, so that it gets far."""
    is_two = source.random() < 0.5
    body = bytes((_two if is_two else _one)(source).SerializeToString())
    headers = [("content-type", TYPE_2 if is_two else TYPE_1), ("content-encoding", "snappy"), ("authorization", f"Bearer {token}")]
    headers.append(("x-prometheus-remote-write-version", "2.0.0" if is_two else "0.1.0"))
    path = "/v1/write"
    if source.random() < 0.4:
        body = damaged(source, body)
    body = bytes((cramjam.snappy.compress if source.random() < 0.02 else cramjam.snappy.compress_raw)(body))  # the former is framed: another format
    if source.random() < 0.2:
        body = damaged(source, body)
    if source.random() < 0.02:
        body = b"\xff\xff\xff\xff" + source.choice([b"\x0f", b"\x07", b"\xff" * 6]) + body  # announces gigabytes
    return misdirected(source, Attempt("POST", path, headers, body, source.random() < 0.3), PATHS, NOISE)


def judge(attempt: Attempt, answer: Answer) -> str | None:
    """What is wrong with the answer; None: nothing."""
    if complaint := http.judge(answer):
        return complaint
    if answer.status < 400 and answer.status != 204:
        return f"success is 204, not {answer.status}"
    if attempt.method != "HEAD" and (answer.status == 204) == bool(answer.body):
        return f"{answer.status} with a body of {len(answer.body)} bytes"
    said = [answer.headers.get(name) for name in WRITTEN]
    types = [value for name, value in attempt.headers if name == "content-type"]
    if types == [TYPE_2] and not all(text and text.isdecimal() for text in said):
        return f"{answer.status} of 2.0 doesn't say what was written"
    if types == [TYPE_1] and any(said):
        return f"{answer.status} of 1.0 says what was written"
    return None


def _one(source: random.Random) -> remote1_pb2.WriteRequest:
    request = remote1_pb2.WriteRequest()
    for _ in range(source.choice([0, 1, 1, 2, 50])):
        series = request.timeseries.add()
        for name, value in _labels(source):
            series.labels.add(name=name, value=value)
        _points(source, series)
        for exemplar in series.exemplars:
            exemplar.labels.add(name=word(source), value=word(source))
    if source.random() < 0.2:
        request.metadata.add(type=source.randrange(10), metric_family_name=word(source), help=word(source), unit=word(source))
    return request


def _two(source: random.Random) -> remote2_pb2.Request:
    request = remote2_pb2.Request(symbols=source.choice([*([[""]] * 28), [], ["x"]]))
    for _ in range(source.choice([0, 1, 1, 2, 50])):
        series = request.timeseries.add()
        for pair in _labels(source):
            series.labels_refs.extend(_symbol(source, request, text) for text in pair)
        if source.random() < 0.03:
            series.labels_refs.append(0)  # a name without a value
        _points(source, series)
        for exemplar in series.exemplars:
            exemplar.labels_refs.extend(_symbol(source, request, word(source)) for _ in range(2))
        if source.random() < 0.3:
            series.metadata.type = source.randrange(-1, 10)
            series.metadata.help_ref, series.metadata.unit_ref = (_symbol(source, request, word(source)) for _ in range(2))
    return request


def _symbol(source: random.Random, request: remote2_pb2.Request, text: str) -> int:
    if source.random() < 0.005:
        return source.choice([len(request.symbols) + 5, 2**32 - 1])
    request.symbols.append(text)
    return len(request.symbols) - 1


def _labels(source: random.Random) -> list[tuple[str, str]]:
    """Mostly sorted and right."""
    pairs = {"__name__": "fuzz_total", **{f"l{number}": word(source) or "x" for number in range(source.randrange(4))}}
    if source.random() < 0.1:
        pairs[word(source)] = word(source)
    if source.random() < 0.03:
        del pairs["__name__"]
    found = sorted(pairs.items())
    match source.randrange(40):
        case 0:
            source.shuffle(found)
        case 1:
            found += found[:1]
    return found


def _points(source: random.Random, series: Any) -> None:
    now = time.time_ns() // 1_000_000
    is_histogram = source.random() < 0.2
    if not is_histogram or source.random() < 0.03:  # a series has one kind of points
        for _ in range(source.choice([1, 1, 1, 5])):
            series.samples.add(value=source.choice(_VALUES), timestamp=_time(source, now))
    if is_histogram and source.random() < 0.98:
        _histogram(source, series.histograms.add(), _time(source, now))
    if source.random() < 0.2:
        series.exemplars.add(value=source.choice(_VALUES), timestamp=_time(source, now))


def _time(source: random.Random, now: int) -> int:
    return source.choice(_TIMES) if source.random() < 0.02 else now


def _histogram(source: random.Random, histogram: Any, now: int) -> None:
    """Buckets that mostly fit the spans and the count."""
    counts = [source.randrange(5) for _ in range(source.randrange(4))]
    histogram.schema, histogram.timestamp = source.choice([0, 3, 8, -4, -53, 9, -5, 100]), now
    histogram.sum = source.choice(_VALUES)
    histogram.positive_spans.add(offset=source.choice([0, 1, -3, 2**31 - 1]), length=source.choice([len(counts)] * 5 + [2**32 - 1, 0]))
    if source.random() < 0.5:
        histogram.count_int, histogram.zero_count_int = source.choice([sum(counts)] * 5 + [0, 2**64 - 1]), 0
        histogram.positive_deltas.extend(count - before for count, before in zip(counts, [0, *counts], strict=False))
    else:
        histogram.count_float, histogram.zero_count_float = source.choice([float(sum(counts))] * 5 + _VALUES), source.choice(_VALUES)
        histogram.positive_counts.extend(map(float, counts))
    if source.random() < 0.2:
        histogram.custom_values.extend(source.choices(_VALUES, k=source.randrange(4)))
    if source.random() < 0.2:
        histogram.negative_spans.add(offset=0, length=1)
        histogram.reset_hint = source.randrange(-1, 6)
