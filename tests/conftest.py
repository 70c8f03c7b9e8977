"""Fixtures for all tests: two tenants, the network edges of the functions."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest

from shared import tokens
from tests.edges import Broker, Database


@dataclass(frozen=True)
class Customer:
    """A tenant with a good token."""

    tenant_id: str
    token_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


SCOPES = ["logs", "metrics", "traces", "read"]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """Topics in memory behind the Kafka client."""
    broker = Broker()
    monkeypatch.setattr("shared.publish.Producer", broker.producer)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker.invalid:9092")
    return broker


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    """A token table in memory behind the PostgreSQL pool."""
    database = Database()
    monkeypatch.setattr("shared.auth.AsyncConnectionPool", database.pool)
    monkeypatch.setenv("DATABASE_URL", "postgresql://database.invalid/obstack")
    return database


@pytest.fixture
def acme(database: Database) -> Customer:
    """An active tenant with a token of all scopes."""
    return add_customer(database)


@pytest.fixture
def globex(database: Database) -> Customer:
    """Another one."""
    return add_customer(database)


def add_customer(database: Database, *, scopes: list[str] | None = None, active: bool = True, expires: object = None) -> Customer:
    """A tenant of its own with one token."""
    tenant_id, token_id, token = uuid4(), uuid4(), tokens.create()
    database.add(token, (UUID(str(token_id)), UUID(str(tenant_id)), SCOPES if scopes is None else scopes, expires, active))
    return Customer(str(tenant_id), str(token_id), token)
