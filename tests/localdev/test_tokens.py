"""`./task tokens`: what a developer sees, against the real database."""

import re
import sys
from pathlib import Path

import pytest

from localdev.tokens import main
from shared import tokens
from tests.conftest import Stack

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "./task tokens -- create" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--scope", "admin"], ["--expires", "90y"], ["--expires", "0d"]])
def test_wrong_arguments_are_explained(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["create", "--tenant", "x", *wrong])
    assert wrong[1] in capsys.readouterr().err


def test_without_a_database_it_says_what_starts_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path))
    assert main(["list", "--tenant", "Acme Rockets"]) == 1
    assert "./task up" in capsys.readouterr().err


@pytest.mark.stack
def test_a_tokens_life(stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    tenant = ["--tenant", stack.tenants[0]["name"]]
    assert main(["create", *tenant, "--name", "life", "--scope", "logs", "--expires", "90d"]) == 0
    created = capsys.readouterr().out
    (secret,) = [word for word in created.split() if tokens.is_wellformed(word)]
    token_id = ID.findall(created)[0]
    assert main(["rotate", *tenant, token_id, "--grace", "2h"]) == 0
    rotated = capsys.readouterr().out
    assert "ends in 2:00:00" in rotated
    new_id = ID.findall(rotated)[0]
    assert main(["revoke", *tenant, token_id]) == main(["revoke", *tenant, new_id]) == 0
    assert capsys.readouterr().out.count("revoked") == 2
    assert main(["list", *tenant]) == 0
    listed = capsys.readouterr().out
    assert {token_id, new_id} <= set(ID.findall(listed))
    assert secret not in listed
    assert main(["rotate", *tenant, new_id]) == 1
    assert main(["revoke", "--tenant", stack.tenants[1]["name"], new_id]) == 1
    assert main(["list", "--tenant", "nobody"]) == 1
    assert stack.tenants[0]["name"] in capsys.readouterr().err
