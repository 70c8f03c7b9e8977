"""Numbered records of all signals, sent through the gateway until each batch was taken."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import httpx2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared.codecs.compression import snappy
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.contract import OTLP_PREFIX, PROMETHEUS_PREFIX, PROTOBUF, TOKEN_HEADER

LOGS_PER_BATCH, STEPS_PER_BATCH, TRACES_PER_BATCH = 200, 5, 2
SERIES, SPANS_PER_TRACE = 100, 100
SAMPLES_PER_BATCH, SPANS_PER_BATCH = STEPS_PER_BATCH * SERIES, TRACES_PER_BATCH * SPANS_PER_TRACE
METRIC: Final = "chaos_number"
AGAIN_SECONDS: Final = 0.2
_AGAIN: Final = frozenset({429, 502, 503, 504})
"""What clients of OTLP and remote_write send again after."""


class GaveUp(Exception):
    """A batch was refused for good, or not taken in time."""


@dataclass(frozen=True)
class Run:
    """One run's records: how many of each signal, and from when on, and over how many seconds, they are dated."""

    name: str
    logs: int
    samples: int
    spans: int
    began_ns: int = field(default_factory=time.time_ns)
    seconds: float = 60.0

    @property
    def service(self) -> str:
        """`service.name` of its logs and spans."""
        return f"chaos-{self.name}"

    def time_ns(self, number: int, count: int) -> int:
        """When record number `number` of `count` happened: another time for each, since Loki takes equal lines of equal time for one."""
        return self.began_ns + number * int(self.seconds * 1e9) // count

    @property
    def until_ns(self) -> int:
        """No record is as late as this."""
        return self.began_ns + int(self.seconds * 1e9)

    def trace_id(self, trace: int) -> bytes:
        """Of trace number `trace`, which has spans number SPANS_PER_TRACE * trace and on."""
        return blake2b(f"{self.name} {trace}".encode(), digest_size=16).digest()


Request = tuple[str, dict[str, str], bytes]
"""Path, headers, body."""


def requests(run: Run) -> dict[str, list[Callable[[], Request]]]:
    """By signal: every batch, in order, encoded when it is its turn."""
    return {
        "logs": [_batch(_logs, run, first) for first in range(0, run.logs, LOGS_PER_BATCH)],
        "samples": [_batch(_samples, run, first) for first in range(0, run.samples, SAMPLES_PER_BATCH)],
        "spans": [_batch(_spans, run, first) for first in range(0, run.spans, SPANS_PER_BATCH)],
    }


def _batch(make: Callable[[Run, int], Request], run: Run, first: int) -> Callable[[], Request]:
    return lambda: make(run, first)


def _logs(run: Run, first: int) -> Request:
    message = ExportLogsServiceRequest()
    resource = message.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = run.service
    scope = resource.scope_logs.add()
    for number in range(first, min(first + LOGS_PER_BATCH, run.logs)):
        scope.log_records.add(time_unix_nano=run.time_ns(number, run.logs), severity_number=9).body.string_value = f"{run.name} {number}"
    return f"{OTLP_PREFIX}/v1/logs", {"content-type": PROTOBUF}, message.SerializeToString()


def _spans(run: Run, first: int) -> Request:
    message = ExportTraceServiceRequest()
    resource = message.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = run.service
    scope = resource.scope_spans.add()
    for number in range(first, min(first + SPANS_PER_BATCH, run.spans)):
        began = run.time_ns(number, run.spans)
        scope.spans.add(
            trace_id=run.trace_id(number // SPANS_PER_TRACE),
            span_id=(number + 1).to_bytes(8, "big"),
            name=str(number),
            start_time_unix_nano=began,
            end_time_unix_nano=began + 1000,
        )
    return f"{OTLP_PREFIX}/v1/traces", {"content-type": PROTOBUF}, message.SerializeToString()


def _samples(run: Run, first: int) -> Request:
    message = WriteRequest()
    by_series: dict[int, list[int]] = {}
    for number in range(first, min(first + SAMPLES_PER_BATCH, run.samples)):
        by_series.setdefault(number % SERIES, []).append(number)
    for series, numbers in by_series.items():
        one = message.timeseries.add()
        for name, value in (("__name__", METRIC), ("run", run.name), ("series", str(series))):
            one.labels.add(name=name, value=value)
        for number in numbers:
            one.samples.add(value=number, timestamp=run.time_ns(number // SERIES * SERIES, run.samples) // 10**6)
    headers = {"content-type": PROTOBUF, "content-encoding": "snappy", "x-prometheus-remote-write-version": "0.1.0"}
    return f"{PROMETHEUS_PREFIX}/v1/write", headers, snappy(message.SerializeToString())


class Sender:
    """Sends a run's batches in portions; all signals at the same time. Use it in a `with`."""

    def __init__(self, gateway: str, token: str, run: Run, portions: int, patience: float, lost_every: int = 0) -> None:
        """Of so many answers that say yes one is taken for lost, so that its batch is sent once more; of none by default."""
        self._client = httpx2.Client(base_url=gateway, headers={TOKEN_HEADER: token}, timeout=15)
        self._patience, self._lost_every = patience, lost_every
        self._pool = ThreadPoolExecutor(3)
        self._ending = threading.Event()
        self._portions = [list(_share(batches, portions)) for batches in requests(run).values()]
        self.again = 0
        """How often a batch was sent again, since it wasn't taken or its answer didn't come."""
        self.lost = 0
        """How many answers were taken for lost."""

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def start(self, portion: int, seconds: float) -> list[Future[None]]:
        """Send portion number `portion` of each signal, spread over so many seconds at least."""
        return [self._pool.submit(self._send_all, portions[portion], seconds) for portions in self._portions]

    def _send_all(self, batches: list[Callable[[], Request]], seconds: float) -> None:
        began = time.monotonic()
        for number, batch in enumerate(batches):
            self._send(*batch())
            if self._lost_every and number % self._lost_every == 0:
                self.lost += 1
                self._send(*batch())
            if self._ending.wait(max(0.0, began + seconds * (number + 1) / len(batches) - time.monotonic())):
                return

    def _send(self, path: str, headers: dict[str, str], body: bytes) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._client.post(path, headers=headers, content=body)
                if answer.is_success:
                    return
                said = f"{answer.status_code} {answer.text[:200]}"
                if answer.status_code not in _AGAIN:
                    raise GaveUp(f"{path}: {said}")
            except httpx2.TransportError as error:
                said = f"{type(error).__name__}: {error}"
            if time.monotonic() > deadline or self._ending.is_set():
                raise GaveUp(f"{path}: not taken within {self._patience:.0f} s; last: {said}")
            self.again += 1
            time.sleep(AGAIN_SECONDS)


def _share(batches: list[Callable[[], Request]], portions: int) -> Iterator[list[Callable[[], Request]]]:
    ends = [len(batches) * portion // portions for portion in range(portions + 1)]
    for first, last in itertools.pairwise(ends):
        yield batches[first:last]
