"""Record ↔ Kafka headers ↔ CloudEvent request; the only reader and writer of `ce_` attributes.

CloudEvents 1.0, Kafka protocol binding and HTTP protocol binding, binary mode. Attribute names are `[a-z0-9]` and all required ones are set, else Knative's
KafkaSource wraps the record as `dev.knative.kafka.event`. Values are printable ASCII. The record's key goes along as `ce_partitionkey`, since KafkaSource
doesn't forward keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from zlib import crc32

from uuid_utils import UUID, uuid7

from shared.contract import PROTOBUF, EventType, Reason, Source, Topic
from shared.errors import Refused
from shared.tenant import Tenant

SHARDS = 4
"""Partitions' worth of keys per tenant: a noisy tenant spreads over a few partitions, never over all."""

_WRAPPED = "dev.knative.kafka.event"


@dataclass(frozen=True, slots=True)
class Record:
    """One batch of one tenant, as it lies in a topic. `value` is raw protobuf; `time` is RFC 3339; `extensions` are attributes added on the way."""

    id: str
    type: EventType
    source: Source
    time: str
    tenant_id: str
    token_id: str
    topic: Topic
    key: str
    value: bytes
    traceparent: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)


def new(tenant: Tenant, kind: EventType, source: Source, topic: Topic, value: bytes, *, spread: bytes, traceparent: str = "") -> Record:
    """A record received now. Equal `spread` bytes (a resource, a sender) keep to one partition, so that a series or stream keeps its order."""
    return Record(
        id=str(uuid7()),
        type=kind,
        source=source,
        time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        tenant_id=tenant.id,
        token_id=tenant.token_id,
        topic=topic,
        key=f"{tenant.id}/{crc32(spread) % SHARDS}",
        value=value,
        traceparent=traceparent if _is_traceparent(traceparent) else "",
    )


@dataclass(frozen=True, slots=True)
class Dead:
    """Part of a batch (same message type as the batch) that a backend will never take, and why."""

    value: bytes
    reason: Reason
    detail: str


def dead_letter(record: Record, dead: Dead, sink: str, part: int) -> Record:
    """Part number `part` of `record`, which `sink` can never store, with the reason; key and old attributes untouched."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in dead.detail)[:500]
    # A replayed part that dies again is a part of that part: ids made of record id and part must never meet.
    numbers = ".".join(filter(None, (record.extensions.get("part"), str(part))))
    return replace(record, value=dead.value, extensions={**record.extensions, "reason": dead.reason, "detail": printable, "sink": sink, "part": numbers})


def kafka_headers(record: Record) -> list[tuple[str, str | bytes | None]]:
    """Headers of the Kafka protocol binding, binary mode. Never a null value: one would make KafkaSource drop its whole poll."""
    attributes = {
        "specversion": "1.0",
        "id": record.id,
        "type": record.type,
        "source": record.source,
        "time": record.time,
        "tenantid": record.tenant_id,
        "tokenid": record.token_id,
        "topic": record.topic,
        "partitionkey": record.key,
        **record.extensions,
    }
    if record.traceparent:
        attributes["traceparent"] = record.traceparent
    return [*((f"ce_{name}", value.encode("ascii")) for name, value in attributes.items()), ("content-type", PROTOBUF.encode())]


_KNOWN = frozenset({"specversion", "id", "type", "source", "time", "tenantid", "tokenid", "topic", "partitionkey", "traceparent"})


def from_event(headers: Mapping[str, str], body: bytes) -> Record:
    """The record that a trigger's request carries (HTTP protocol binding, binary mode; header names in lower case).

    Raises Refused when it isn't an event of ours: a 4xx, which sends it to the dead letters at once and loudly, since redelivery can't mend it.
    """
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
    if attributes.get("type") == _WRAPPED:
        raise Refused(Reason.NOT_AN_EVENT, "the trigger wrapped the record: it was published without valid CloudEvents headers, a defect of the publisher")
    try:
        return Record(
            id=attributes["id"],
            type=EventType(attributes["type"]),
            source=Source(attributes["source"]),
            time=attributes["time"],
            tenant_id=str(UUID(attributes["tenantid"])),
            token_id=attributes["tokenid"],
            topic=Topic(attributes["topic"]),
            key=attributes["partitionkey"],
            value=body,
            traceparent=attributes.get("traceparent", ""),
            extensions={name: value for name, value in attributes.items() if name not in _KNOWN},
        )
    except (KeyError, ValueError) as error:
        raise Refused(Reason.NOT_AN_EVENT, f"not an event of this pipeline: {error}") from None


def _is_traceparent(value: str) -> bool:
    """Form of W3C Trace Context, section 3.2; anything else is not carried on."""
    parts = value.split("-")
    return [len(p) for p in parts[:4]] == [2, 32, 16, 2] and len(value) == 55 and value.isascii() and value.replace("-", "").isalnum()
