"""`./task users`: what a developer sees, against a real database."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from localdev import migrate, passwords, tenants
from localdev.users import main
from tests.postgres import PLATFORMS, Postgres

VERA = "vera@acme.example"
ADD = ["add", VERA, "--tenant", "Acme", "--role", "viewer"]
PASSWORD = "correct horse battery staple"


@pytest.fixture(params=PLATFORMS, ids=["ours", "numbers", "uuids"])
def ask(request: pytest.FixtureRequest, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, ...]]]:
    """Statements on a database with one tenant, which the environment names."""
    url = postgres.database()
    monkeypatch.setenv("DATABASE_URL", url)
    with psycopg.connect(url) as connection:
        connection.execute(request.param)
    migrate.migrate()
    assert tenants.main(["add", "Acme"]) == 0
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)

    def run(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    return run


Ask = Callable[..., list[tuple[Any, ...]]]


def types(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Standard input, which is no terminal."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def has_session(ask: Ask) -> bool:
    return ask("SELECT count(*) FROM telemetry.sessions") == [(1,)]


def open_session(ask: Ask) -> None:
    ask("INSERT INTO telemetry.sessions SELECT %s, id, '', now(), now() + interval '1 hour' FROM users", uuid4())


def test_a_users_life(ask: Ask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ADD, "--generate"]) == 0
    shown = capsys.readouterr().out
    assert "only time" in shown
    ((stored, roles),) = ask("SELECT hashed_password, roles FROM telemetry.users")
    assert stored.startswith(f"$2b${passwords.COST}$")
    assert roles == ["viewer"]
    assert any(passwords.matches(word, stored) for word in shown.split())

    open_session(ask)
    assert main(["roles", VERA.upper(), "admin", "viewer"]) == 0
    assert ask("SELECT roles FROM telemetry.users") == [(["admin", "viewer"],)]
    assert has_session(ask)
    types(monkeypatch, f"{PASSWORD}\n")
    assert main(["password", VERA]) == 0
    ((stored,),) = ask("SELECT hashed_password FROM telemetry.users")
    assert passwords.matches(PASSWORD, stored)
    assert PASSWORD not in capsys.readouterr().out
    assert not has_session(ask)

    open_session(ask)
    assert main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [VERA, "Acme", "admin", "viewer", "yes", "1"]
    assert main(["deactivate", VERA]) == 0
    assert (ask("SELECT is_active FROM telemetry.users"), has_session(ask)) == ([(False,)], False)
    assert main(["activate", VERA]) == 0
    open_session(ask)
    assert main(["remove", VERA]) == 0
    assert (ask("SELECT * FROM users"), has_session(ask)) == ([], False)


@pytest.mark.parametrize("text", ["", "\n", "short\n", "x" * 73 + "\n", "nul\0" * 5 + "\n"])
def test_password_that_never_works_or_is_guessed_is_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str) -> None:
    types(monkeypatch, text)
    assert main(ADD) == 1
    assert "10 to 72 bytes" in capsys.readouterr().err
    assert ask("SELECT * FROM users") == []


@pytest.mark.parametrize("twice", [("one password", "one password"), ("one password", "another password")])
def test_on_a_terminal_it_is_asked_for_twice(ask: Ask, monkeypatch: pytest.MonkeyPatch, twice: tuple[str, str]) -> None:
    answers = iter(twice)
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert main(ADD) == (0 if twice[0] == twice[1] else 1)
    assert len(ask("SELECT * FROM users")) == (1 if twice[0] == twice[1] else 0)


@pytest.mark.parametrize("command", [["password"], ["roles", "admin"], ["activate"], ["deactivate"], ["remove"]])
def test_unknown_user_is_told(ask: Ask, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert main([command[0], "nobody@acme.example", *command[1:]]) == 1
    assert "no user" in capsys.readouterr().err


def test_same_user_twice_and_unknown_tenant_are_told(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ADD, "--generate"]) == 0
    assert main([*ADD, "--generate"]) == 1
    assert "already" in capsys.readouterr().err
    assert main(["add", "x@y", "--tenant", "nobody", "--role", "admin"]) == 1
    assert "Acme" in capsys.readouterr().err


def test_table_that_wants_more_is_told_without_the_row(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    ask("ALTER TABLE users ADD COLUMN phone text NOT NULL")
    assert main([*ADD, "--generate"]) == 1
    err = capsys.readouterr().err
    assert '"phone"' in err
    assert "$2b$" not in err


@pytest.mark.parametrize("wrong", [["add", "no-address", "--tenant", "x", "--role", "admin"], ["add", "a@b", "--tenant", "x"], ["roles", "a@b", "owner"]])
def test_wrong_arguments_are_explained(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(wrong)


def test_help_has_examples_and_no_password_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "./task users -- add" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([*ADD, "--password", "x"])


def test_without_a_database_it_says_what_starts_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path))
    assert main(["list"]) == 1
    assert "./task up" in capsys.readouterr().err
