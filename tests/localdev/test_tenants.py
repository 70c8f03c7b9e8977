"""`./task tenants`: what a developer sees, against the real database."""

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from localdev import migrate
from localdev.tenants import main
from tests.conftest import Stack
from tests.postgres import PLATFORMS, WITH_UUIDS, Postgres


@pytest.fixture
def made(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A tenant of the test's own, by name; its name looks like markup."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    tenant_id = uuid4()
    with psycopg.connect(stack.backends["postgres"], autocommit=True) as connection:
        connection.execute("INSERT INTO tenants (id, name) VALUES (%s, %s)", (tenant_id, f"[b]{tenant_id}"))
        for signal, hours, records in (("logs", 0, 1200), ("logs", 3, 34), ("metrics", 30, 5000), ("read", 1, 0), ("traces", 24 * 40, 77)):
            connection.execute(
                "INSERT INTO telemetry.usage VALUES (%s, %s, %s, date_trunc('hour', now()) - make_interval(hours => %s), 7, %s, 2000)",
                (tenant_id, uuid4(), signal, hours, records),
            )
        yield f"[b]{tenant_id}"
        connection.execute("DELETE FROM telemetry.usage WHERE tenant_id = %s", (tenant_id,))
        connection.execute("DELETE FROM tenants WHERE id = %s", (tenant_id,))


def row(text: str, beginning: str) -> list[str]:
    """The words of the line that begins so."""
    (found,) = [line for line in text.splitlines() if line.startswith(beginning)]
    return found.split()


@pytest.fixture
def platform(request: pytest.FixtureRequest, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with the parameter's tables, which the environment names; its URL."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    url = postgres.database()
    with psycopg.connect(url) as connection:
        connection.execute(request.param)
    monkeypatch.setenv("DATABASE_URL", url)
    migrate.migrate()
    return url


@pytest.mark.parametrize("platform", PLATFORMS, ids=["ours", "numbers", "uuids"], indirect=True)
def test_a_tenants_life(platform: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the platform's tables are like."""
    assert main(["add", "Other"]) == main(["add", "Acme", "--plan", "free"]) == 0
    id_ = row(capsys.readouterr().out, "Acme")[1]
    assert main(["add", "Acme"]) == 1
    assert "already" in capsys.readouterr().err
    assert main(["plan", "Acme", "large"]) == main(["deactivate", id_]) == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert row(listed, "Acme")[1:4] == [id_, "large", "no"]
    assert row(listed, "Other")[2:4] == ["standard", "yes"]
    assert main(["activate", "Acme"]) == 0
    assert row(capsys.readouterr().out, "Acme")[1:4] == [id_, "large", "yes"]


@pytest.mark.parametrize("platform", [WITH_UUIDS], ids=["uuids"], indirect=True)
def test_name_of_two_tenants_names_neither(platform: str, capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(platform) as connection:
        rows = connection.execute("INSERT INTO tenants (id, name, plan) SELECT gen_random_uuid(), 'Acme', 'free' FROM generate_series(1, 2) RETURNING id")
        ids = [str(id_) for (id_,) in rows.fetchall()]
    assert main(["deactivate", "Acme"]) == 1
    err = capsys.readouterr().err
    assert all(id_ in err for id_ in ids)
    assert main(["deactivate", ids[0]]) == 0
    assert row(capsys.readouterr().out, "Acme")[1:4] == [ids[0], "free", "no"]


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "./task tenants -- plan" in capsys.readouterr().out


@pytest.mark.parametrize("days", ["0", "-1", "x", "99999999999"])
def test_wrong_number_of_days_is_explained(days: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["usage", "x", f"--days={days}"])
    assert "between 1 and" in capsys.readouterr().err


def test_without_a_database_it_says_what_starts_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path))
    assert main(["list"]) == 1
    assert "./task up" in capsys.readouterr().err


@pytest.mark.stack
def test_list_shows_plan_and_the_last_day(stack: Stack, made: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert row(listed, stack.tenants[0]["name"])
    assert row(listed, made)[2:] == ["standard", "yes", "1,234", "/", "4.0", "kB", "0", "/", "0", "bytes", "0", "/", "0", "bytes", "7"]


@pytest.mark.stack
def test_plans_and_changes_of_plan(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plans"]) == 0
    assert row(capsys.readouterr().out, "free")[:8] == ["free", "20", "2.0", "MB", "10", "s", "16.8", "MB"]
    assert main(["plan", made, "free"]) == 0
    assert row(capsys.readouterr().out, made)[2] == "free"
    assert main(["plan", made, "gold"]) == 1
    assert "free, standard, large" in capsys.readouterr().err


@pytest.mark.stack
def test_tenant_is_added_once(stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    name = f"new-{uuid4()}"
    try:
        assert main(["add", name, "--plan", "free"]) == 0
        assert row(capsys.readouterr().out, name)[2:4] == ["free", "yes"]
        assert main(["add", name]) == 1
        assert "already" in capsys.readouterr().err
        assert main(["add", "\n"]) == main(["add", "x" * 101]) == main(["add", "another", "--plan", "gold"]) == 1
    finally:
        with psycopg.connect(stack.backends["postgres"]) as connection:
            connection.execute("DELETE FROM tenants WHERE name = %s", (name,))


@pytest.mark.stack
def test_tenant_is_closed_and_opened(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deactivate", made]) == 0
    assert row(capsys.readouterr().out, made)[3] == "no"
    assert main(["activate", made.removeprefix("[b]")]) == 0, "its id names a tenant too"
    assert row(capsys.readouterr().out, made)[3] == "yes"


@pytest.mark.stack
def test_usage_is_shown_by_day_and_summed(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", made]) == 0
    week = capsys.readouterr().out
    assert row(week, "total") == ["total", "28", "6,234", "8.0", "kB"]
    assert "traces" not in week
    assert main(["usage", made, "--days", "60"]) == 0
    assert row(capsys.readouterr().out, "total") == ["total", "35", "6,311", "10.0", "kB"]


@pytest.mark.stack
@pytest.mark.parametrize("command", [["plan", "nobody", "free"], ["activate", "nobody"], ["deactivate", "nobody"], ["usage", "nobody"]])
def test_unknown_tenant_gets_the_known_ones_named(stack: Stack, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 1
    assert stack.tenants[0]["name"] in capsys.readouterr().err
