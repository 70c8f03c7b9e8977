"""docs/backup.md: PostgreSQL's own tools bring the accounts back whole."""

import os
import subprocess
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from localdev import migrate
from localdev.install import postgres as recipe
from shared import tokens
from tests.postgres import Postgres


def tool(*words: str) -> None:
    subprocess.run([str(recipe.binary(words[0])), *words[1:]], check=True)


def rows(url: str, statement: bytes) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchall()


def test_dump_is_restored_into_an_empty_database(postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tenants, users, tokens, plans, flags, the views over them and the migrations' version: nothing is left for migrate to do."""
    old, new, tenant = postgres.database(), postgres.database(), uuid4()
    monkeypatch.setenv("DATABASE_URL", old)
    migrate.migrate()
    with psycopg.connect(old) as connection:
        connection.execute("INSERT INTO tenants (id, name) VALUES (%s, 'Acme')", (tenant,))
        connection.execute("INSERT INTO users (tenant_id, email, hashed_password, roles) VALUES (%s, 'vera@acme.example', 'x', '[]')", (tenant,))
        digest = tokens.digest(tokens.create())
        connection.execute("INSERT INTO telemetry.tokens (id, tenant_id, name, sha256) VALUES (%s, %s, 'agent', %s)", (uuid4(), tenant, digest))
        connection.execute("INSERT INTO telemetry.flags (name, value) VALUES ('sink.loki', 'hold')")
    backup = tmp_path / "obstack.dump"
    tool("pg_dump", "--format=custom", f"--file={backup}", old)
    tool("pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", f"--dbname={new}", str(backup))
    for statement in (
        b"SELECT * FROM telemetry.tenants",
        b"SELECT * FROM telemetry.users",
        b"SELECT * FROM telemetry.tokens",
        b"SELECT * FROM telemetry.flags",
        b"SELECT p.* FROM telemetry.plan_of('free') p",
        b"SELECT * FROM telemetry.alembic_version",
    ):
        assert (found := rows(old, statement)), statement
        assert rows(new, statement) == found
    monkeypatch.setitem(os.environ, "DATABASE_URL", new)
    before = rows(new, b"SELECT count(*) FROM pg_class")
    migrate.migrate()
    assert rows(new, b"SELECT count(*) FROM pg_class") == before
