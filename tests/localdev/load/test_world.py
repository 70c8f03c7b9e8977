"""Tenants of a load: good for sending while it runs, and gone afterwards, with what a killed one left; nobody else's are touched."""

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import psycopg
import pytest

from localdev.bench.world import new_tenants
from localdev.load import world
from localdev.paths import ROOT
from localdev.supervisor.control import Failure
from shared import tokens
from tests.postgres import Postgres


@pytest.fixture
def indices(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """An OpenSearch's, which lists and deletes them."""
    there: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            begin = unquote(self.path).removeprefix("/_cat/indices/").partition("*")[0]
            rows = [f'{{"index":"{name}"}}' for name in there if name.startswith(begin)]
            self._answer(f"[{','.join(rows)}]")

        def do_DELETE(self) -> None:
            there.difference_update(unquote(self.path)[1:].split(","))
            self._answer("{}")

        def _answer(self, body: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr("localdev.backends.opensearch.url", lambda: f"http://127.0.0.1:{server.server_port}")
        yield there
        server.shutdown()
        thread.join()


@pytest.fixture
def database(postgres: Postgres, local: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """With all tables, and a tenant that is called like those of a load."""
    url = postgres.database()
    monkeypatch.setattr("localdev.backends.postgres_url", lambda: url)
    subprocess.run([sys.executable, "-m", "localdev.migrate"], cwd=ROOT, env={**os.environ, "DATABASE_URL": url}, check=True, capture_output=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO tenants (name, plan) VALUES ('load-balancers inc', 'free')")
        yield connection


def names(database: psycopg.Connection) -> list[str]:
    return [row[0] for row in database.execute("SELECT name FROM tenants ORDER BY name")]


def test_tenants_are_there_with_their_tokens_and_gone_with_everything_of_theirs(database: psycopg.Connection, indices: set[str]) -> None:
    with world.tenants(3) as made:
        assert len(names(database)) == 4
        for tenant, token in made:
            row = database.execute("SELECT tenant_id FROM telemetry.tokens WHERE sha256 = %s", (tokens.digest(token),)).fetchone()
            assert row is not None
            assert str(row[0]) == tenant
            indices.update((f"logs-tenant-{tenant}-2026.11.29", f"logs-tenant-{tenant}-2026.11.30"))
        indices.add("logs-tenant-of-somebody-else")
    assert names(database) == ["load-balancers inc"]
    assert database.execute("SELECT count(*) FROM telemetry.tokens").fetchone() == (0,)
    assert indices == {"logs-tenant-of-somebody-else"}


@pytest.mark.usefixtures("indices")
def test_what_a_killed_load_left_is_gone_before_the_next(database: psycopg.Connection) -> None:
    new_tenants(2, world.NAME)
    with world.tenants(1):
        assert len(names(database)) == 2


@pytest.mark.usefixtures("indices", "database")
def test_two_loads_at_once_are_refused() -> None:
    with world.tenants(1), pytest.raises(Failure, match="another load runs"), world.tenants(1):
        pass
