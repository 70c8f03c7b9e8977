"""`./task migrate` on the databases that it may meet: empty, an Obstack platform's, one of before there was alembic; and what it must leave alone."""

import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from localdev import migrate
from localdev.paths import ROOT
from shared import token_store
from shared.auth import Authenticator
from shared.contract import Scope
from shared.errors import Refused
from shared.settings import Database as Settings
from shared.tenant import Limits
from tests.postgres import WITH_NUMBERS, WITH_UUIDS, Postgres

LEGACY = sorted((Path(__file__).parent / "legacy").glob("*.sql"))
PLATFORM = (
    WITH_NUMBERS
    + """
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
CREATE TABLE tokens (jti text);
INSERT INTO alembic_version VALUES ('0007');
INSERT INTO tenants (name) VALUES ('Acme Rockets'), ('Globex Energy');
INSERT INTO users (tenant_id, username, email, hashed_password, roles) VALUES
    (1, 'anna', 'anna@acme.example', 'x', '["admin"]'), (2, 'gus', 'gus@globex.example', 'y', NULL);
"""
)
"""An Obstack backend's own tables, and tables that are called as ours."""


@pytest.fixture
def url(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of the test's own, empty."""
    url = postgres.database()
    monkeypatch.setenv("DATABASE_URL", url)
    return url


@pytest.fixture
def ask(url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """A statement's rows."""

    def run(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    return run


Ask = Callable[..., list[tuple[Any, ...]]]


def shape(ask: Ask) -> set[tuple[Any, ...]]:
    """All tables, columns, types and indexes."""
    columns = "SELECT table_schema, table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
    indexes = "SELECT schemaname, tablename, indexname, indexdef, '', '' FROM pg_indexes"
    return {row for query in (columns, indexes) for row in ask(query) if row[0] in {"public", "telemetry"}}


async def limits_of_a_new_token(url: str, tenant_id: str) -> Limits:
    """Made and looked up as the functions do it."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        _, secret = await token_store.create(connection, tenant_id, "test", [Scope.LOGS], None)
    async with Authenticator(Settings()) as authenticator:
        return (await authenticator.tenant({"x-obstack-auth-token": secret}, Scope.LOGS)).limits


async def test_empty_database_gets_everything_and_a_second_run_nothing(url: str, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    assert migrate.main([]) == 0
    assert re.fullmatch(r"0001: .*\n0002: .*\nThe database is at revision 0002\.\n", capsys.readouterr().out)
    before = shape(ask)
    assert migrate.main([]) == 0
    assert capsys.readouterr().out == "The database is at revision 0002.\n"
    assert shape(ask) == before
    tenant_id = uuid4()
    ask("INSERT INTO tenants (id, name, plan) VALUES (%s, 'Acme', 'free')", tenant_id)
    assert (await limits_of_a_new_token(url, str(tenant_id))).requests_per_second == 20


async def test_platforms_database_keeps_what_it_has_and_gets_what_is_missing(url: str, ask: Ask) -> None:
    ask(PLATFORM)
    before = shape(ask)
    assert migrate.main([]) == 0
    added = {(table, column) for schema, table, column, *_ in shape(ask) - before if schema == "public"}
    assert added == {
        ("tenants", "plan"),
        ("tenants", "is_active"),
        ("tenants", "telemetry_id"),
        ("tenants", "tenants_telemetry_id_key"),
        ("users", "is_active"),
    }
    assert before <= shape(ask)
    assert ask("SELECT version_num FROM alembic_version") == [("0007",)]
    assert ask("SELECT version_num FROM telemetry.alembic_version") == [("0002",)]
    ((acme, active),) = ask("SELECT id, is_active FROM telemetry.tenants WHERE name = 'Acme Rockets'")
    assert (type(acme), active) == (UUID, True)
    users = ask("SELECT id, tenant_id = %s, email, hashed_password, roles, is_active FROM telemetry.users ORDER BY id", acme)
    assert users == [(1, True, "anna@acme.example", "x", ["admin"], True), (2, False, "gus@globex.example", "y", None, True)]
    assert (await limits_of_a_new_token(url, str(acme))).requests_per_second == 500, "no plan has the default's limits"
    ask("INSERT INTO tenants (name) VALUES ('made by the platform later')")
    ask("DELETE FROM users WHERE id = 2; DELETE FROM tenants WHERE id = 2; TRUNCATE users; DROP TABLE tokens")
    assert len(ask("SELECT id FROM telemetry.tenants")) == 2


@pytest.mark.parametrize(("plan", "requests"), [("enterprise-2026", 500), ("FREE", 20), ("large", 100_000), (None, 500)])
async def test_free_text_plan_is_mapped_and_never_refused(url: str, ask: Ask, plan: str | None, requests: int) -> None:
    ask(WITH_UUIDS)
    assert migrate.main([]) == 0
    tenant_id = uuid4()
    ask("INSERT INTO tenants VALUES (%s, 'Acme', %s, true)", tenant_id, plan)
    ask("INSERT INTO users VALUES (%s, %s, 'a@b', 'x', '{admin}')", uuid4(), tenant_id)
    assert (await limits_of_a_new_token(url, str(tenant_id))).requests_per_second == requests
    assert ask("SELECT tenant_id, hashed_password, roles FROM telemetry.users") == [(tenant_id, "x", ["admin"])]


async def test_deleted_tenants_tokens_are_void(url: str, ask: Ask) -> None:
    assert migrate.main([]) == 0
    tenant_id = uuid4()
    ask("INSERT INTO tenants (id, name) VALUES (%s, 'Acme')", tenant_id)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        _, secret = await token_store.create(connection, str(tenant_id), "test", [Scope.LOGS], None)
    ask("DELETE FROM tenants")
    async with Authenticator(Settings()) as authenticator:
        with pytest.raises(Refused):
            await authenticator.tenant({"x-obstack-auth-token": secret}, Scope.LOGS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ALTER TABLE users DROP COLUMN hashed_password", "hashed_password or password_hash"),
        ("ALTER TABLE users DROP COLUMN tenant_id", "users.tenant_id is missing"),
        ("ALTER TABLE users ALTER COLUMN roles TYPE integer USING 1", "users.roles is integer, not"),
        ("ALTER TABLE users ADD COLUMN is_active text", "users.is_active is text, not boolean"),
        ("DROP INDEX ix_users_email", "CREATE UNIQUE INDEX CONCURRENTLY ON users (email)"),
        ("ALTER TABLE tenants DROP COLUMN name", "tenants.name is missing"),
        ("DROP TABLE tenants CASCADE", "none named tenants"),
    ],
)
def test_tables_that_are_not_obstacks_are_left_as_they_are(ask: Ask, change: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    ask(PLATFORM + change)
    before = shape(ask)
    assert migrate.main([]) == 1
    error = capsys.readouterr().err
    assert "Nothing was changed" in error
    assert told in error
    assert shape(ask) == before
    assert ask("SELECT to_regnamespace('telemetry')") == [(None,)]


async def test_dry_run_prints_all_and_changes_nothing(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    ask(PLATFORM)
    before = shape(ask)
    assert migrate.main(["--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "ALTER TABLE tenants ADD COLUMN plan text;" in printed
    assert "CREATE TABLE telemetry.tokens" in printed
    assert "Nothing was changed" in printed
    assert shape(ask) == before


async def test_database_of_before_is_converted(url: str, ask: Ask) -> None:
    ask("CREATE TABLE migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())")
    for file in LEGACY:
        ask(file.read_text())
        ask("INSERT INTO migrations (name) VALUES (%s)", file.name)
    tenant_id = uuid4()
    ask("INSERT INTO tenants (id, name, plan, active) VALUES (%s, 'Acme', 'large', false)", tenant_id)
    ask("INSERT INTO users (id, tenant_id, email, password_hash) VALUES (%s, %s, 'a@b', 'x')", uuid4(), tenant_id)
    ask("INSERT INTO tokens (id, tenant_id, name, sha256) VALUES (%s, %s, 'kept', sha256('kept'))", uuid4(), tenant_id)
    ask("INSERT INTO usage VALUES (%s, %s, 'logs', now(), 1, 2, 3)", tenant_id, uuid4())
    assert migrate.main([]) == 0
    assert ask("SELECT id, plan, is_active FROM telemetry.tenants") == [(tenant_id, "large", False)]
    assert ask("SELECT tenant_id, hashed_password, roles FROM telemetry.users") == [(tenant_id, "x", ["admin"])]
    assert ask("SELECT name FROM telemetry.tokens") == [("kept",)]
    assert ask("SELECT records FROM telemetry.usage") == [(2,)]
    assert ask("SELECT to_regclass('migrations')") == [(None,)]
    ask("UPDATE tenants SET plan = 'anything', is_active = true")
    assert (await limits_of_a_new_token(url, str(tenant_id))).requests_per_second == 500
    converted = {row[:4] for row in shape(ask) if row[0] == "telemetry"}
    for statement in ("DROP SCHEMA telemetry CASCADE", "DROP TABLE users, tenants"):
        ask(statement)
    assert migrate.main([]) == 0
    assert converted == {row[:4] for row in shape(ask) if row[0] == "telemetry"}, "as an empty database gets them"


def test_two_migrators_at_once_are_one_after_the_other(url: str, ask: Ask) -> None:
    """As Jobs do it: with alembic's own command."""
    command = [sys.executable, "-m", "alembic", "-c", str(migrate.INI), "upgrade", "head"]
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(lambda _: subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False), range(3)))
    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 3
    assert ask("SELECT version_num FROM telemetry.alembic_version") == [("0002",)]


def test_table_in_use_is_given_up_soon(url: str, ask: Ask, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ask(PLATFORM)
    before = shape(ask)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1 FROM tenants")  # the lock stays until the transaction ends
        assert migrate.main([]) == 1
    assert "Run it again" in capsys.readouterr().err
    assert shape(ask) == before


def test_database_away_and_url_missing_are_told_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://obstack:hush-hush@127.0.0.1:1/obstack")
    assert migrate.main([]) == 1
    told = capsys.readouterr()
    assert "Nothing was changed" in told.err
    assert "hush" not in told.err + told.out
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path))
    assert migrate.main([]) == 1
    assert "./task up" in capsys.readouterr().err


@pytest.mark.parametrize("command", [None, [sys.executable, "-m", "alembic", "-c", str(migrate.INI), "upgrade", "head"]], ids=["task", "job"])
def test_url_that_cant_be_read_is_told_without_the_password(
    command: list[str] | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a Job says is in the cluster's logs."""
    monkeypatch.setenv("DATABASE_URL", "postgresql:/obstack:hush-hush@db/x")
    assert (subprocess.run(command, cwd=ROOT, check=False).returncode if command else migrate.main([])) != 0
    told = capfd.readouterr()
    assert "postgresql://role:password@host/database" in told.err + told.out
    assert "hush" not in told.err + told.out


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        migrate.main(["--help"])
    assert "--dry-run" in capsys.readouterr().out
