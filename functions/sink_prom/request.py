"""Record → backend request: by the event's type, which path takes it, how the tenant gets in, how it is cut.

OTLP goes on as it came, with one more resource attribute; remote_write with one more label a series, compressed again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time_ns
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from functions.sink_prom import labels, resource
from shared.codecs import halves
from shared.codecs.compression import snappy
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from shared.contract import PROTOBUF, EventType, Reason
from shared.envelope import Record
from shared.errors import Refused
from shared.isolation import Halves

MOST_BYTES: Final = 4 * 1024 * 1024
"""Larger batches go in parts, so that each is written well within the time that a request may take."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one type of record is sent. `body(part, tenant id)` raises Never when the tenant can't be put in."""

    path: str
    headers: Mapping[str, str]
    body: Callable[[bytes, str], bytes]
    halves: Halves
    probe: Callable[[], bytes]
    """A batch that is taken if any is."""
    joins: bool = True
    """Several messages joined are one message; not so where each has a table that its numbers refer to."""


def _remote_write(version: str, media_type: str) -> dict[str, str]:
    return {"content-type": media_type, "content-encoding": "snappy", "x-prometheus-remote-write-version": version, "user-agent": "obstack-sink-prom"}


_PROBE: Final = "obstack_sink_probe"


def _probe() -> bytes:
    batch = ExportMetricsServiceRequest()
    batch.resource_metrics.add().scope_metrics.add().metrics.add(name=_PROBE).gauge.data_points.add(time_unix_nano=time_ns(), as_double=1)
    return bytes(batch.SerializeToString())


def _probe_1() -> bytes:
    batch = WriteRequest()
    series = batch.timeseries.add()
    series.labels.add(name="__name__", value=_PROBE)
    series.samples.add(value=1, timestamp=time_ns() // 1_000_000)
    return bytes(batch.SerializeToString())


def _probe_2() -> bytes:
    batch = Request(symbols=["", "__name__", _PROBE])
    batch.timeseries.add(labels_refs=[1, 2]).samples.add(value=1, timestamp=time_ns() // 1_000_000)
    return bytes(batch.SerializeToString())


KINDS: Final[Mapping[EventType, Kind]] = {
    EventType.METRICS: Kind("/api/v1/otlp/v1/metrics", {"content-type": PROTOBUF}, resource.with_tenant, halves.metrics, _probe),
    EventType.REMOTE_WRITE_1: Kind(
        "/api/v1/write",
        _remote_write("0.1.0", PROTOBUF),
        lambda part, tenant_id: snappy(labels.with_tenant_1(part, tenant_id)),
        halves.remote_write_1,
        _probe_1,
    ),
    EventType.REMOTE_WRITE_2: Kind(
        "/api/v1/write",
        _remote_write("2.0.0", f"{PROTOBUF};proto=io.prometheus.write.v2.Request"),
        lambda part, tenant_id: snappy(labels.with_tenant_2(part, tenant_id)),
        halves.remote_write_2,
        _probe_2,
        joins=False,
    ),
}


def kind_of(record: Record) -> Kind:
    """How this record is sent. Raises Refused when it holds no metrics."""
    try:
        return KINDS[record.type]
    except KeyError:
        raise Refused(Reason.NOT_AN_EVENT, f"metrics are stored here, not {record.type}") from None
