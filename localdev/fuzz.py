"""`python -m localdev.fuzz`: a hundred thousand requests, right, wrong and damaged, at an ingest_otlp that runs on this machine.

Tells every answer that breaks the protocol, and whether the process's memory stayed flat. The same --seed sends the same requests; count and time are
bounded; only loopback addresses are taken. Judged: no 5xx but a 503 with Retry-After, every body parses as what status and media type say.
"""

import argparse
import asyncio
import gzip
import ipaddress
import random
import string
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import psutil
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2  # noqa: F401 json_format reads a Status with these in it only if they are known
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest, ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from yarl import URL

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PROTOBUF, JSON = "application/x-protobuf", "application/json"
RESPONSES: dict[str, Any] = {"logs": ExportLogsServiceResponse, "metrics": ExportMetricsServiceResponse, "traces": ExportTraceServiceResponse}
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}

_WARM_UP = 0.1
_GROWTH = 0.1
"""The first tenth of the requests fills caches and pools; from then on memory may grow by a tenth."""


@dataclass(frozen=True)
class Attempt:
    """A request."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    chunked: bool = False

    @property
    def type(self) -> str:
        """The media type that the answer has to have."""
        named = next((value for name, value in self.headers if name.lower() == "content-type"), "")
        return JSON if named.partition(";")[0].strip().lower() == JSON else PROTOBUF


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


def judge(attempt: Attempt, answer: Answer) -> str | None:
    """What is wrong with the answer; None: nothing."""
    if answer.status >= 500 and answer.status != 503:
        return f"a client drops its data for good at {answer.status}"
    if answer.status in {429, 503} and not answer.headers.get("retry-after", "").isdigit():
        return f"{answer.status} without Retry-After"
    if answer.headers.get("content-type") != attempt.type:
        return f"{answer.status} as {answer.headers.get('content-type')} to {attempt.type}"
    return None if attempt.method == "HEAD" else _judge_body(attempt, answer)


def _judge_body(attempt: Attempt, answer: Answer) -> str | None:
    message = RESPONSES.get(attempt.path.rpartition("/")[2]) if answer.status == 200 else Status
    if message is None:
        return f"200 from {attempt.path}"
    try:
        said = json_format.Parse(answer.body.decode(), message()) if attempt.type == JSON else message.FromString(answer.body)
    except (json_format.ParseError, DecodeError, UnicodeDecodeError) as error:
        return f"{answer.status}'s body is no {message.__name__}: {error}"
    return "an error without a message" if answer.status != 200 and not said.message else None


# -- requests -------------------------------------------------------------------------------------------------------------------------------------------------


def attempt(source: random.Random, token: str) -> Attempt:
    """The next request: mostly nearly right, so that it gets far."""
    signal = source.choice(["logs", "metrics", "traces"])
    is_json = source.random() < 0.4
    body = (json_body if is_json else protobuf_body)(source, signal)
    headers = [("content-type", JSON if is_json else PROTOBUF), ("authorization", f"Bearer {token}")]
    path, method = f"/v1/{signal}", "POST"
    if source.random() < 0.4:
        body = damaged(source, body)
    if source.random() < 0.4:
        encoding = source.choice(list(PACK))
        body = PACK[encoding](body)
        headers.append(("content-encoding", encoding))
        if source.random() < 0.3:
            body = damaged(source, body)
    match source.randrange(20):
        case 0:
            path = source.choice(["/v1/profiles", "/", "/v1/logs/", "/ingest/otlp/v1/logs", "/%00", "/v1/" + "x" * 2000, "//v1/logs"])
        case 1:
            method = source.choice(["GET", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"])
        case 2 | 3:
            headers = changed(source, headers)
    return Attempt(method, path, headers, body, source.random() < 0.3)


_NOISE: dict[str, Sequence[str]] = {
    "content-type": ["", "text/plain", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json,application/x-protobuf", ";", "\xff"],
    "content-encoding": ["", "identity", "br", "gzip, gzip", "x-gzip", "GZIP", "zstd", "snappy", "deflate", ",", "\xe9"],
    "authorization": ["", "Bearer", "Bearer ", "Bearer obs_x", "Basic !!!", "Basic OjpvYnNf", "Bearer \xff\xfe", "Digest x", "Bearer " + "x" * 5000],
    "traceparent": ["", "00-" + "0" * 32 + "-" + "0" * 16 + "-00", "00-x", "\xff" * 60, "9" * 4000],
    "x-scope-orgid": ["other", "\xff"],
    "x-obstack-auth-token": ["", "obs_", "\xff"],
    "accept-encoding": ["gzip", "br;q=0", "*"],
    "retry-attempt": ["-1", "x"],
}


def changed(source: random.Random, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A header replaced, left out or named twice."""
    name = source.choice(list(_NOISE))
    kept = [header for header in headers if header[0] != name or source.random() < 0.2]
    return kept if source.random() < 0.2 else [*kept, (name, source.choice(_NOISE[name]))]


def damaged(source: random.Random, body: bytes) -> bytes:
    """Cut, doubled, or with some bytes changed."""
    match source.randrange(6):
        case 0:
            return body[: source.randrange(len(body) + 1)]
        case 1:
            return body * source.randrange(2, 5)
        case 2:
            return source.randbytes(source.randrange(200))
        case _:
            value = bytearray(body)
            for _ in range(source.randrange(1, 4)):
                place = source.randrange(len(value) + 1)
                value[place : place + source.randrange(2)] = source.randbytes(source.randrange(3))
            return bytes(value)


def protobuf_body(source: random.Random, signal: str) -> bytes:
    """A few records, some of which aren't taken."""
    request: Any = {"logs": ExportLogsServiceRequest, "metrics": ExportMetricsServiceRequest, "traces": ExportTraceServiceRequest}[signal](
        **_fields(source, signal)
    )
    return bytes(request.SerializeToString())


def _fields(source: random.Random, signal: str) -> dict[str, Any]:
    attributes = [{"key": word(source), "value": _any(source, 0)} for _ in range(source.randrange(4))]
    now = time.time_ns()
    records: list[dict[str, Any]] = []
    for _ in range(source.choice([0, 1, 1, 2, 50])):
        ids = {"trace_id": source.randbytes(source.choice([16, 16, 16, 0, 15])), "span_id": source.randbytes(source.choice([8, 8, 8, 0, 9]))}
        at = source.choice([now, now, now, 0, 1, 2**64 - 1])
        match signal:
            case "logs":
                records.append({"time_unix_nano": at, "body": _any(source, 0), "attributes": attributes, **ids})
            case "traces":
                records.append({"name": word(source), "start_time_unix_nano": at, "attributes": attributes, **ids})
            case _:
                points = [{"time_unix_nano": at, "as_double": source.choice([1.5, float("nan"), float("inf")]), "attributes": attributes}]
                data: dict[str, Any] = source.choice(
                    [{"gauge": {"data_points": points}}, {"sum": {"data_points": points, "aggregation_temporality": source.randrange(4)}}, {}]
                )
                records.append({"name": word(source), **data})
    names = {"logs": ("logs", "log_records"), "metrics": ("metrics", "metrics"), "traces": ("spans", "spans")}[signal]
    scopes = [{"scope": {"name": word(source)}, names[1]: records}]
    return {f"resource_{names[0]}": [{"resource": {"attributes": attributes}, f"scope_{names[0]}": scopes}]}


def _any(source: random.Random, depth: int) -> dict[str, Any]:
    inner = [_any(source, depth + 1) for _ in range(source.randrange(3))] if depth < 4 else []
    return source.choice(
        [
            {"string_value": word(source)},
            {"int_value": source.randrange(-(2**63), 2**63)},
            {"bool_value": True},
            {"double_value": source.random()},
            {"bytes_value": source.randbytes(5)},
            {"array_value": {"values": inner}},
            {"kvlist_value": {"values": [{"key": word(source), "value": item} for item in inner]}},
            {},
        ]
    )


def word(source: random.Random) -> str:
    """A name, sometimes one that matters."""
    return source.choice(["service.name", "tenant_id", "tenant.id", "", "a", "\0", "é\U0001f600", "x" * 300, "".join(source.choices(string.printable, k=8))])


def json_body(source: random.Random, signal: str) -> bytes:
    """The same in OTLP's JSON form; some values are replaced by ones of another kind."""
    return orjson.dumps(_document(source, _fields(source, signal)))


def _document(source: random.Random, node: Any) -> Any:
    if source.random() < 0.003:
        return source.choice([None, True, -1, 2**64 - 1, 1e300, 0.5, "", "x", "NaN", [], {}, [[]], {"x": {}}])
    if isinstance(node, dict):
        return {_camel(source, key): _document(source, value) for key, value in node.items()}
    if isinstance(node, list):
        return [_document(source, item) for item in node]
    if isinstance(node, bytes):
        return node.hex()
    if isinstance(node, float) and node != node:  # noqa: PLR0124 the one number that isn't itself
        return "NaN"
    return str(node) if isinstance(node, int) and not isinstance(node, bool) and source.random() < 0.5 else node


def _camel(source: random.Random, name: str) -> str:
    first, *rest = name.split("_")
    return name if source.random() < 0.01 else first + "".join(map(str.capitalize, rest))


# -- the run --------------------------------------------------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """What is sent where, and what came of it."""

    url: str
    token: str
    requests: int
    seconds: float
    seed: int
    statuses: Counter[int] = field(default_factory=Counter)
    complaints: Counter[str] = field(default_factory=Counter)
    rss: list[int] = field(default_factory=list)
    sent: int = 0

    async def go(self, workers: int) -> None:
        """Send all of it, or as much as time allows."""
        process, until = serving(self.url), time.monotonic() + self.seconds
        attempts = self._attempts(process, until)
        async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["content-type"]) as session:
            await asyncio.gather(*(self._work(session, attempts) for _ in range(workers)))
        self.rss.append(rss(process))

    def _attempts(self, process: psutil.Process, until: float) -> Iterator[Attempt]:
        source, marks = random.Random(self.seed), {0, int(self.requests * _WARM_UP)}  # noqa: S311 repeatable, not secret
        while self.sent < self.requests and time.monotonic() < until:
            if self.sent in marks:
                self.rss.append(rss(process))
            self.sent += 1
            yield attempt(source, self.token)

    async def _work(self, session: aiohttp.ClientSession, attempts: Iterator[Attempt]) -> None:
        for one in attempts:
            try:
                answer = await _send(session, self.url, one)
            except (aiohttp.ClientError, TimeoutError) as error:
                self.complaints[f"no answer: {type(error).__name__} {error}"[:200]] += 1
                continue
            self.statuses[answer.status] += 1
            if complaint := judge(one, answer):
                self.complaints[complaint[:200]] += 1

    @property
    def is_flat(self) -> bool:
        """Whether memory stayed what it was after the warm-up."""
        return self.rss[-1] <= self.rss[-2] * (1 + _GROWTH)


async def _send(session: aiohttp.ClientSession, url: str, one: Attempt) -> Answer:
    async def pieces() -> Any:
        yield one.body[:7]
        yield one.body[7:]

    # A body that comes in pieces has no length: it goes out chunked.
    body: Any = pieces() if one.chunked and len(one.body) > 7 else one.body
    target = URL(url.rstrip("/") + one.path, encoded=True)
    async with session.request(one.method, target, data=body, headers=one.headers, timeout=aiohttp.ClientTimeout(30)) as response:
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, await response.read())


def serving(url: str) -> psutil.Process:
    """The process that listens at `url`. Raises SystemExit."""
    at = urlsplit(url)
    if not (at.hostname == "localhost" or (at.hostname and ipaddress.ip_address(at.hostname).is_loopback)):
        raise SystemExit(f"{url} isn't on this machine")
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (at.port,) and connection.pid:
            return psutil.Process(connection.pid)
    raise SystemExit(f"nothing listens at {url}")


def rss(process: psutil.Process) -> int:
    """Bytes of memory that the server and its workers have."""
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: nothing to complain about, memory flat."""
    parser = argparse.ArgumentParser("python -m localdev.fuzz", description=__doc__)
    parser.add_argument("--url", required=True, help="where ingest_otlp listens, e.g. http://127.0.0.1:8001")
    parser.add_argument("--token", required=True, help="a good token with the scopes logs, metrics and traces")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=540, help="stop then, however many requests are left")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=16, help="requests at a time")
    given = parser.parse_args(arguments)
    run = Run(given.url, given.token, given.requests, given.seconds, given.seed)
    started = time.monotonic()
    asyncio.run(run.go(given.workers))
    print(f"{run.sent} requests in {time.monotonic() - started:.0f} s: {', '.join(f'{count} x {status}' for status, count in sorted(run.statuses.items()))}")
    print(f"memory in MB at the start, after the warm-up, at the end: {', '.join(f'{size / 1e6:.1f}' for size in run.rss)}")
    for complaint, count in run.complaints.most_common(20):
        print(f"{count} x {complaint}")
    return 0 if run.sent == given.requests and not run.complaints and run.is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
