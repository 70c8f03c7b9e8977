"""What the sinks are given: made-up batches of logs as records of the topic, and as the requests that the trigger makes of them."""

from dataclasses import dataclass, replace
from typing import Self
from uuid import uuid4

from uuid_utils import uuid7

from localdev.bench.bodies import INSTANCE
from localdev.bench.load import Target
from localdev.trigger import events
from shared import envelope
from shared.contract import EventType, Source, Topic
from shared.envelope import Key, Record
from shared.tenant import Tenant


def record(tenant_id: str, value: bytes, key: Key | None = None) -> Record:
    """A batch of logs, received now; its key is one of the tenant's."""
    tenant = Tenant(tenant_id, str(uuid7()), frozenset())
    return again(envelope.new(tenant, EventType.LOGS, Source.OTLP, Topic.LOGS, value, key=key or envelope.key_of(tenant_id, b"")))


def again(one: Record) -> Record:
    """A batch like it, as a record of its own: the service's instance is another one, named as the record is."""
    new, value = str(uuid4()), one.value
    for old in (INSTANCE, one.id):
        value = value.replace(old.encode(), new.encode())
    return replace(one, id=new, value=value)


@dataclass(frozen=True)
class Series(Target):
    """Requests that differ by their record's id, in their bodies too; the given one has `identity`. What a backend has already, it would take at less cost."""

    identity: str = ""
    count: int = 1

    @classmethod
    def of(cls, one: Record, port: int, more_ports: tuple[int, ...] = ()) -> Self:
        """Events for a function, as the trigger posts them."""
        headers = tuple((name, value) for name, value in envelope.kafka_headers(one) if isinstance(value, bytes))
        event = events.from_record(events.Record(one.topic, 0, 0, 0, one.key.encode(), one.value, headers), "/bench")
        return cls(port, "/", (*event.headers.items(), ("ce-attempts", "1")), one.value, ("bench",), more_ports, one.id)

    def times(self, count: int) -> Self:
        """So many requests, with new ids."""
        return replace(self, count=count)

    def requests(self) -> list[tuple[bytes, bytes]]:
        """Head and body of each."""
        [(head, body)] = super().requests()
        old, new = self.identity.encode(), [str(uuid4()).encode() for _ in range(self.count)]
        return [(head.replace(old, one), body.replace(old, one)) for one in new]
