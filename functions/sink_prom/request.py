"""Record → backend request: by the event's type, which path takes it, how the tenant gets in, how it is cut.

OTLP goes on as it came, with one more resource attribute; remote_write with one more label a series, compressed again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from functions.sink_prom import labels, resource
from shared.codecs import halves
from shared.codecs.compression import snappy
from shared.contract import PROTOBUF, EventType, Reason
from shared.delivery import Halves
from shared.envelope import Record
from shared.errors import Refused


@dataclass(frozen=True, slots=True)
class Kind:
    """How one type of record is sent. `body(part, tenant id)` raises Never when the tenant can't be put in."""

    path: str
    headers: Mapping[str, str]
    body: Callable[[bytes, str], bytes]
    halves: Halves
    counted: bool = False
    """The receiver must say how much it has written."""


def _remote_write(version: str, media_type: str) -> dict[str, str]:
    return {"content-type": media_type, "content-encoding": "snappy", "x-prometheus-remote-write-version": version, "user-agent": "obstack-sink-prom"}


KINDS: Final[Mapping[EventType, Kind]] = {
    EventType.METRICS: Kind("/api/v1/otlp/v1/metrics", {"content-type": PROTOBUF}, resource.with_tenant, halves.metrics),
    EventType.REMOTE_WRITE_1: Kind(
        "/api/v1/write",
        _remote_write("0.1.0", PROTOBUF),
        lambda part, tenant_id: snappy(labels.with_tenant_1(part, tenant_id)),
        halves.remote_write_1,
    ),
    EventType.REMOTE_WRITE_2: Kind(
        "/api/v1/write",
        _remote_write("2.0.0", f"{PROTOBUF};proto=io.prometheus.write.v2.Request"),
        lambda part, tenant_id: snappy(labels.with_tenant_2(part, tenant_id)),
        halves.remote_write_2,
        counted=True,
    ),
}


def kind_of(record: Record) -> Kind:
    """How this record is sent. Raises Refused when it holds no metrics."""
    try:
        return KINDS[record.type]
    except KeyError:
        raise Refused(Reason.NOT_AN_EVENT, f"metrics are stored here, not {record.type}") from None
