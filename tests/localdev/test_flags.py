"""`./task flags`: what an operator sees, against a real table."""

import os
import sys
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from localdev import migrate
from localdev.flags import main
from tests.postgres import Postgres

Output = pytest.CaptureFixture[str]


@pytest.fixture
def acme(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tenant's id, in a database of the test's own."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    url = postgres.database()
    monkeypatch.setenv("DATABASE_URL", url)
    migrate.migrate()
    tenant_id = uuid4()
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO tenants (id, name) VALUES (%s, 'Acme Rockets')", (tenant_id,))
    return str(tenant_id)


def rows(text: str) -> dict[tuple[str, str], str]:
    """Flag and tenant → value."""
    (_, *lines) = text.splitlines()
    cells = [line.replace("Acme Rockets", "Acme").split() for line in lines]
    return {(cell[0], cell[1]): cell[2] for cell in cells}


def test_every_flag_is_listed_with_what_it_can_be(acme: str, capsys: Output) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert rows(out) == dict.fromkeys(
        [(name, "all") for name in ("ingest", "ingest.otlp", "ingest.prometheus", "sink.archive", "sink.loki", "sink.opensearch", "sink.prom", "sink.tempo")],
        "default",
    )
    assert "on hold skip" in out


def test_flags_life(acme: str, capsys: Output) -> None:
    """Set for all and for one, set again, taken back."""
    assert main(["set", "sink.loki", "hold"]) == 0
    assert main(["set", "sink.loki", "skip", "--tenant", "Acme Rockets"]) == 0
    assert main(["set", "ingest", "off", "--tenant", acme, "--for", "2h"]) == 0
    capsys.readouterr()
    assert main(["set", "sink.loki", "skip"]) == 0
    found = rows(capsys.readouterr().out)
    assert (found["sink.loki", "all"], found["sink.loki", "Acme"], found["ingest", "Acme"], found["ingest", "all"]) == ("skip", "skip", "off", "default")
    for _ in range(2):
        assert main(["unset", "sink.loki"]) == 0
    found = rows(capsys.readouterr().out.rpartition("flag ")[2])
    assert (found["sink.loki", "all"], found["sink.loki", "Acme"]) == ("default", "skip")


def test_set_for_a_time_it_is_gone_by_itself(acme: str, capsys: Output) -> None:
    main(["set", "ingest", "off", "--for", "1h"])
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("UPDATE telemetry.flags SET until = until - interval '1 hour'")
    capsys.readouterr()
    assert main(["list"]) == 0
    assert rows(capsys.readouterr().out)["ingest", "all"] == "default"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["ingest", "hold"], "'hold' for all tenants; it can be: on, off"),
        (["sink.loki", "off"], "'off' for all tenants; it can be: on, hold, skip"),
        (["sink.loki", "hold", "--tenant", "Acme Rockets"], "'hold' for one tenant; it can be: on, skip"),
        (["ingest", "off", "--tenant", "Acme"], "no tenant 'Acme'; there are: Acme Rockets"),
    ],
)
def test_wrong_value_is_refused_with_what_is_allowed(acme: str, capsys: Output, wrong: list[str], said: str) -> None:
    assert main(["set", *wrong]) == 1
    assert said in capsys.readouterr().err
    assert main(["list"]) == 0
    assert set(rows(capsys.readouterr().out).values()) == {"default"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "sink.lokki", "hold"], "'sink.lokki' is no flag; there are: ingest, ingest.otlp"),
        (["unset", "x"], "'x' is no flag"),
        (["set", "ingest", "off", "--for", "soon"], "is no time such as"),
        (["set", "ingest"], "value"),
        ([], "COMMAND"),
    ],
)
def test_wrong_words_are_explained(arguments: list[str], said: str, capsys: Output) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert said in capsys.readouterr().err


def test_help_has_examples(capsys: Output) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "./task flags -- set sink.opensearch hold" in capsys.readouterr().out


def test_without_a_database_it_says_what_starts_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path))
    assert main(["list"]) == 1
    assert "./task up" in capsys.readouterr().err
