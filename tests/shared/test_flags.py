"""Flags: what counts of several, how long it counts, and what happens while the database is away."""

import logging
from collections.abc import Mapping
from uuid import UUID, uuid4

import psycopg
import pytest
from prometheus_client import REGISTRY

from localdev import migrate
from shared import flags
from shared.contract import Flag, Switch
from shared.database import Database as Questions
from shared.flags import Flags
from shared.settings import Database as Settings
from tests import waiting
from tests.edges import Database
from tests.postgres import Postgres

INGEST = {Flag.INGEST: Switch.ON, Flag.INGEST_OTLP: Switch.ON}
SINK = {Flag.SINK_LOKI: Switch.ON}
ACME, GLOBEX = str(uuid4()), str(uuid4())


def made(defaults: Mapping[Flag, Switch] = INGEST, seconds: float = 0.01) -> Flags:
    return Flags(defaults, Questions(Settings().database_url), seconds)


async def until(read: Flags, tenant_id: str, value: Switch) -> None:
    await waiting.until_so(lambda: read.of(tenant_id) is value, what=f"the flag is {value}")


def metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.mark.parametrize(
    ("rows", "acme", "globex"),
    [
        ([], "on", "on"),
        ([("ingest", None, "off")], "off", "off"),
        ([("ingest.otlp", None, "off")], "off", "off"),
        ([("ingest.prometheus", None, "off")], "on", "on"),
        ([("ingest", ACME, "off")], "off", "on"),
        ([("ingest.otlp", UUID(ACME), "off")], "off", "on"),
        ([("ingest", ACME, "off"), ("ingest.otlp", ACME, "on")], "off", "on"),
        ([("ingest", None, "off"), ("ingest", ACME, "on")], "off", "off"),
        ([("ingest", None, "hold"), ("ingest", ACME, "x")], "on", "on"),
    ],
)
async def test_strictest_counts(database: Database, rows: list[tuple[str, str | None, str]], acme: str, globex: str) -> None:
    """Of all and of a tenant, of the pipeline and of the function; flags of others and values that mean nothing are left out."""
    database.flags = [(*row, None) for row in rows]
    async with made() as read:
        assert (read.of(ACME), read.of(GLOBEX)) == (acme, globex)


@pytest.mark.parametrize(("whole", "own", "counts"), [("hold", "skip", "hold"), ("skip", "on", "skip"), ("on", "skip", "skip")])
async def test_hold_is_stricter_than_skip(database: Database, whole: str, own: str, counts: str) -> None:
    """What is held for all loses nothing of anybody."""
    database.flags = [("sink.loki", None, whole, None), ("sink.loki", ACME, own, None)]
    async with made(SINK) as read:
        assert read.of(ACME) == counts


async def test_default_counts_until_somebody_sets_the_flag(database: Database) -> None:
    async with made({Flag.SINK_LOKI: Switch.HOLD}) as read:
        assert read.of(ACME) is Switch.HOLD
        database.flags = [("sink.loki", None, "on", None)]
        await until(read, ACME, Switch.ON)
        database.flags = []
        await until(read, ACME, Switch.HOLD)


async def test_without_a_database_the_defaults_are_all_there_is() -> None:
    async with flags.opened({Flag.SINK_LOKI: Switch.SKIP}, None, 5) as read:
        assert read.of(ACME) is Switch.SKIP


async def test_known_flags_go_on_while_the_database_is_away_and_end_in_time(database: Database) -> None:
    """A flag set for a time needs no database to end."""
    database.flags = [("ingest", None, "off", None), ("ingest", ACME, "off", 0.3)]
    async with made() as read:
        database.down = True
        database.flags = []
        asked = database.asked
        await waiting.until_so(lambda: database.asked >= asked + 3, what="it was asked three times")
        assert read.of(GLOBEX) is Switch.OFF
    database.down = False
    database.flags = [("ingest", ACME, "off", 0.3)]
    async with made() as read:
        assert read.of(ACME) is Switch.OFF
        database.down = True
        await until(read, ACME, Switch.ON)


@pytest.mark.parametrize("state", ["down", "frozen"])
async def test_start_without_a_database_has_the_defaults(database: Database, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the flags as soon as there is one."""
    monkeypatch.setattr("shared.database.SECONDS", 0.05)
    setattr(database, state, True)
    database.flags = [("ingest", None, "off", None)]
    async with made() as read:
        assert read.of(ACME) is Switch.ON
        setattr(database, state, False)
        await until(read, ACME, Switch.OFF)


async def test_defect_of_ours_doesnt_end_the_reader(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    database.flags = [("ingest",)]  # type: ignore[list-item]
    async with made() as read:
        assert "flags can't be read" in caplog.text
        database.flags = [("ingest", None, "off", None)]
        await until(read, ACME, Switch.OFF)


async def test_state_is_told(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    database.flags = [("ingest", None, "off", None), ("ingest", ACME, "off", None), ("ingest", GLOBEX, "on", None)]
    async with made() as read:
        assert "switched from on to off" in caplog.text
        assert [metric("obstack_flag", flag="ingest", value=value) for value in ("on", "off")] == [0, 1]
        assert [metric("obstack_flag", flag="ingest.otlp", value=value) for value in ("on", "off")] == [1, 0]
        assert metric("obstack_flag_tenants", flag="ingest") == 1
        assert metric("obstack_flags_age_seconds") is not None
        database.flags = []
        await until(read, ACME, Switch.ON)
        assert [metric("obstack_flag", flag="ingest", value=value) for value in ("on", "off")] == [1, 0]
        assert metric("obstack_flag_tenants", flag="ingest") == 0


@pytest.fixture
def real(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a real database with our tables."""
    url = postgres.database()
    monkeypatch.setenv("DATABASE_URL", url)
    migrate.migrate()
    return url


async def test_rows_of_a_real_table_are_read(real: str) -> None:
    """Those of other functions and those that have ended are not among them."""
    with psycopg.connect(real, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO telemetry.flags VALUES ('ingest', %s, 'off', now() + interval '1 hour'), ('ingest.otlp', NULL, 'off', now() - interval '1 s')", (ACME,)
        )
        async with flags.opened(INGEST, Settings().database_url, 0.01) as read:
            assert (read.of(ACME), read.of(GLOBEX)) == (Switch.OFF, Switch.ON)
            connection.execute("UPDATE telemetry.flags SET until = now() + interval '0.2 s'")
            await until(read, ACME, Switch.ON)


@pytest.mark.parametrize(
    ("name", "tenant", "value"),
    [("ingest", None, "hold"), ("ingest.otlp", ACME, "skip"), ("sink.loki", None, "off"), ("sink.loki", ACME, "hold"), ("inges", None, "off")],
)
def test_table_refuses_what_no_function_understands(real: str, name: str, tenant: str | None, value: str) -> None:
    """Typed by hand, in a hurry."""
    with psycopg.connect(real) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("INSERT INTO telemetry.flags (name, tenant_id, value) VALUES (%s, %s, %s)", (name, tenant, value))


def test_flag_is_there_once(real: str) -> None:
    with psycopg.connect(real) as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("INSERT INTO telemetry.flags (name, value) VALUES ('ingest', 'off'), ('ingest', 'on')")
