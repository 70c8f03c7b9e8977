"""What the commands for operators share: the database that DATABASE_URL names, and errors that say what is wrong with it and never its password."""

import sys
from uuid import uuid4

import psycopg
import pytest

from localdev import backfill, dead_letters, flags, migrate, tenants, tokens, users
from tests.postgres import Postgres

Output = pytest.CaptureFixture[str]

LISTS = {"tenants": (tenants.main, ["list"]), "users": (users.main, ["list"]), "flags": (flags.main, ["list"])}
LISTS |= {"tokens": (tokens.main, ["list", "--tenant", "Acme Rockets"])}
SECRET = "tr0ub4dor"


@pytest.fixture
def url(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with one tenant, that the environment names."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    url = postgres.database()
    monkeypatch.setenv("DATABASE_URL", url)
    migrate.migrate()
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO tenants (name) VALUES ('Acme Rockets')")
    return url


@pytest.mark.parametrize("name", LISTS)
def test_database_is_the_one_that_is_named(name: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """Whatever runs on this machine: it isn't asked."""
    monkeypatch.setattr("localdev.backends.postgres_url", lambda: pytest.fail("this machine's was asked for"))
    main, words = LISTS[name]
    assert main(words) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", LISTS)
def test_database_that_is_away_or_cant_be_read_is_told_without_its_password(name: str, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    main, words = LISTS[name]
    for url, said in ((f"postgresql://a:{SECRET}@127.0.0.1:1/b", "DATABASE_URL says where"), (f"a {SECRET} b", "postgresql://role:password@host/database")):
        monkeypatch.setenv("DATABASE_URL", url)
        assert main(words) == 1
        err = capsys.readouterr().err
        assert said in err
        assert SECRET not in err


def test_database_without_our_tables_is_sent_to_migrate(postgres: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.database())
    assert tenants.main(["list"]) == 1
    assert "./task migrate" in capsys.readouterr().err


def test_role_that_may_not_is_told_who_may(url: str, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """A sink's role, which reads flags alone."""
    role = f"sink_{uuid4().hex}"
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'".encode())
        connection.execute(f"GRANT USAGE ON SCHEMA telemetry TO {role}; GRANT SELECT ON telemetry.flags TO {role}".encode())
    host = url.rpartition("@")[2]
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{role}:{SECRET}@{host}")
    assert flags.main(["set", "sink.loki", "hold"]) == 1
    assert "owner of the tables" in capsys.readouterr().err


@pytest.mark.parametrize("main", [tenants.main, users.main, tokens.main, flags.main, backfill.main, dead_letters.main])
def test_help_says_how_to_name_a_cluster(main: object, capsys: Output) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])  # type: ignore[operator]
    assert "DATABASE_URL" in capsys.readouterr().out
