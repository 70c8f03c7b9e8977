"""Fixtures of the sinks' contract: each sink with a stand-in for its backend, and each with the real one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from shared.envelope import Record
from tests import batches
from tests.conftest import Stack
from tests.contract import rigs
from tests.edges import Broker


@dataclass
class Rig:
    """A running sink."""

    kind: rigs.Kind
    client: TestClient
    broker: Broker
    backend: rigs.Standin | rigs.Real
    tenant_id: str = field(default_factory=lambda: str(uuid4()))

    def record(self, now: int, *words: str) -> Record:
        return batches.record(self.kind.type, self.kind.batch(now, words), self.tenant_id)

    def deliver(self, record: Record) -> int:
        """The status that the trigger gets."""
        if isinstance(self.backend, rigs.Standin):
            self.backend.kept.setdefault(self.tenant_id, [])
        if isinstance(self.backend, rigs.RealTempo):
            self.backend.sent.append(record.value)
        return int(self.client.post("/", content=record.value, headers=batches.headers(record)).status_code)

    def found(self) -> list[str]:
        return self.backend.found(self.tenant_id)

    def dead(self) -> list[str]:
        return [word for letter in self.broker.messages for word in batches.words(self.kind.type, letter.value)]


@pytest.fixture(params=rigs.KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> rigs.Kind:
    """Each sink, with each type of record that it takes."""
    return request.param if isinstance(request.param, rigs.Kind) else next(kind for kind in rigs.KINDS if kind.name == request.param)


@pytest.fixture
def rig(kind: rigs.Kind, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A sink before a stand-in."""
    with rigs.Standin(kind) as backend:
        monkeypatch.setenv(kind.variable, backend.address)
        with TestClient(kind.sink.app) as client:
            yield Rig(kind, client, broker, backend)


@pytest.fixture
def real(kind: rigs.Kind, broker: Broker, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A sink before the real backend."""
    backend = rigs.real(kind, stack.backends)
    monkeypatch.setenv(kind.variable, backend.address)
    with TestClient(kind.sink.app) as client:
        yield Rig(kind, client, broker, backend)
