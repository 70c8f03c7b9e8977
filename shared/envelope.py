"""Record ↔ Kafka headers ↔ CloudEvent request; the only reader and writer of `ce_` attributes.

CloudEvents 1.0, Kafka protocol binding and HTTP protocol binding, binary mode. Attribute names are `[a-z0-9]` and all required ones are set, else Knative's
KafkaSource wraps the record as `dev.knative.kafka.event`. Values are printable ASCII. The record's key goes along as `ce_partitionkey`, since KafkaSource
doesn't forward keys.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from zlib import crc32

from uuid_utils import UUID, uuid7

from shared.contract import PROTOBUF, EventType, Period, Reason, Source, Topic
from shared.errors import Refused
from shared.tenant import Tenant

SHARDS = 4
"""Partitions' worth of keys per tenant: a noisy tenant spreads over a few partitions, never over all."""

Header = tuple[str, str | bytes | None]
_WRAPPED = "dev.knative.kafka.event"
_PART = re.compile(r"\d{1,64}(\.\d{1,64})*", re.ASCII)
"""What `Dead.part` is made of: a place in the batch, or a path of halves, which is at most some 30 long."""


@dataclass(frozen=True, slots=True)
class Record:
    """One batch of one tenant, as it lies in a topic. `value` is raw protobuf; `time` is RFC 3339; `extensions` are attributes added on the way.

    `index_period` is that of the tenant's plan when the record came in: the record keeps it, so a redelivery after a change of plan finds the index of the
    first delivery, and its documents there.
    """

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
    index_period: Period = Period.DAY


@dataclass(frozen=True, slots=True)
class Key:
    """A record's key. Equal keys lie in one partition: number `hash` modulo the topic's partitions."""

    text: str
    hash: int


@lru_cache(10_000)
def keys(tenant_id: str) -> tuple[Key, ...]:
    """All keys that a tenant's records may have."""
    return tuple(Key(text, crc32(text.encode("ascii"))) for text in (f"{tenant_id}/{shard}" for shard in range(SHARDS)))


def key_of(tenant_id: str, sender: bytes) -> Key:
    """The key of all that one sender (a resource, a token) of a tenant sends: what must keep its order has the same."""
    return keys(tenant_id)[crc32(sender) % SHARDS]


def new(tenant: Tenant, kind: EventType, source: Source, topic: Topic, value: bytes, *, key: Key, traceparent: str = "") -> Record:
    """A record received now. `traceparent`: a valid one, or none."""
    return Record(
        id=str(uuid7()),
        type=kind,
        source=source,
        time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        tenant_id=tenant.id,
        token_id=tenant.token_id,
        topic=topic,
        key=key.text,
        value=value,
        traceparent=traceparent,
        index_period=tenant.index_period,
    )


@dataclass(frozen=True, slots=True)
class Dead:
    """Part of a batch (same message type as the batch) that a backend will never take, and why."""

    value: bytes
    reason: Reason
    detail: str
    status: str = ""
    """What the backend answered: an HTTP status, or the name of a gRPC code."""
    part: str = ""
    """Which part of the batch, by numbers with dots: the same however often the batch is delivered, whatever else of it is refused. Empty: all of it."""


def dead_letter(record: Record, dead: Dead, sink: str) -> Record:
    """The part of `record` that `sink` can never store, with the reason; key and old attributes untouched."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in dead.detail)[:500]
    # A replayed part that dies again as a whole is the same letter; else what dies of it is a part of that part.
    part = ".".join(filter(None, (record.extensions.get("part"), dead.part)))
    optional = {name: value for name, value in (("part", part), ("status", dead.status)) if value}
    return replace(record, value=dead.value, extensions={**record.extensions, "reason": dead.reason, "detail": printable, "sink": sink, **optional})


def kafka_headers(record: Record) -> list[Header]:
    """Headers of the Kafka protocol binding, binary mode. Never a null value: one would make KafkaSource drop its whole poll."""
    headers = [
        *_lasting(record.type, record.source, record.topic, record.tenant_id, record.token_id),
        ("ce_id", record.id.encode("ascii")),
        ("ce_time", record.time.encode("ascii")),
        ("ce_partitionkey", record.key.encode("ascii")),
    ]
    if record.traceparent:
        headers.append(("ce_traceparent", record.traceparent.encode("ascii")))
    if record.index_period is not Period.DAY:
        headers.append(("ce_indexperiod", record.index_period.encode("ascii")))
    if record.extensions:
        headers += [(f"ce_{name}", value.encode("ascii")) for name, value in record.extensions.items()]
    return headers


@lru_cache(10_000)
def _lasting(kind: EventType, source: Source, topic: Topic, tenant_id: str, token_id: str) -> list[Header]:
    """Those that a token's records of one signal have in common: half of the work."""
    attributes = {"specversion": "1.0", "type": kind, "source": source, "tenantid": tenant_id, "tokenid": token_id, "topic": topic}
    return [*((f"ce_{name}", value.encode("ascii")) for name, value in attributes.items()), ("content-type", PROTOBUF.encode())]


def attributes(record: Record) -> dict[str, str]:
    """The attributes of a record's event, by their names without any prefix."""
    return {name[3:]: value.decode("ascii") for name, value in kafka_headers(record) if name.startswith("ce_") and isinstance(value, bytes)}


def event_headers(attributes: Mapping[str, str]) -> dict[str, str]:
    """Headers of the HTTP protocol binding, binary mode: what `from_event` reads."""
    return {"content-type": PROTOBUF, **{f"ce-{name}": value for name, value in attributes.items()}}


def from_event(headers: Mapping[str, str], body: bytes) -> Record:
    """The record that a trigger's request carries (HTTP protocol binding, binary mode; header names in lower case).

    Sinks make names, ids and headers of what is in it and needn't look again. Raises Refused when it isn't an event of ours: a 4xx, which sends it to the dead
    letters at once and loudly, since redelivery can't mend it.
    """
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
    if attributes.get("type") == _WRAPPED:
        raise Refused(Reason.NOT_AN_EVENT, "the trigger wrapped the record: it was published without valid CloudEvents headers, a defect of the publisher")
    try:
        _check(attributes)
        take = attributes.pop
        take("specversion", "")
        kind, source, topic, tenant_id, index_period = _checked(take("type"), take("source"), take("topic"), take("tenantid"), take("indexperiod", Period.DAY))
        return Record(
            id=str(UUID(take("id"))),
            type=kind,
            source=source,
            time=take("time"),
            tenant_id=tenant_id,
            token_id=take("tokenid"),
            topic=topic,
            key=take("partitionkey"),
            value=body,
            traceparent=take("traceparent", ""),
            extensions=attributes,
            index_period=index_period,
        )
    except (KeyError, ValueError) as error:
        raise Refused(Reason.NOT_AN_EVENT, f"not an event of this pipeline: {error}") from None


@lru_cache(10_000)
def _checked(kind: str, source: str, topic: str, tenant_id: str, index_period: str) -> tuple[EventType, Source, Topic, str, Period]:
    """What a tenant's events of one signal have in common. Raises ValueError, which isn't remembered; so what is remembered is short."""
    return EventType(kind), Source(source), Topic(topic), str(UUID(tenant_id)), Period(index_period)


def _check(attributes: Mapping[str, str]) -> None:
    """Raises ValueError and KeyError."""
    together = "".join(attributes.values())
    if not (together.isascii() and together.isprintable()):
        name = next(name for name, value in attributes.items() if not (value.isascii() and value.isprintable()))
        raise ValueError(f"{name} isn't printable ASCII")
    moment = datetime.fromisoformat(attributes["time"])
    if moment.tzinfo is None or not 1970 <= moment.year < 9999:
        raise ValueError("its time names no zone, or a year that no record was received in")
    if (part := attributes.get("part")) is not None and not _PART.fullmatch(part):
        raise ValueError("its part is none")
