"""The laptop's accounts, in a real database."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from localdev import functions, migrate, passwords, seed
from shared import tokens
from tests.postgres import Postgres


@pytest.fixture
def url(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with tables and nothing in them, and an empty `.local`."""
    url = postgres.database()
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("OBSTACK_GATEWAY", "http://127.0.0.1:8000")
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path))
    assert migrate.main([]) == 0
    return url


def written(tmp_path: Path) -> Any:
    seed.main()
    return json.loads((tmp_path / "demo.json").read_text())


def test_the_platforms_own_tenant_is_beside_the_two(url: str, tmp_path: Path) -> None:
    """Its admin may log in, its token is good, and its id is the one that functions are told."""
    demo = written(tmp_path)
    assert [tenant["name"] for tenant in demo["tenants"]] == ["Acme Rockets", "Globex Energy"]
    platform = demo["platform"]
    assert (platform["id"], platform["name"]) == (functions.PLATFORM_TENANT_ID, "Obstack")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT plan FROM tenants WHERE id = %s", (platform["id"],)).fetchone() == ("large",)
        assert connection.execute("SELECT tenant_id::text FROM telemetry.tokens WHERE sha256 = %s", (tokens.digest(platform["token"]),)).fetchone() == (
            platform["id"],
        )
        found = connection.execute("SELECT tenant_id::text, roles, hashed_password FROM users WHERE email = %s", (platform["email"],)).fetchone()
    assert found
    assert found[:2] == (platform["id"], ["admin"])
    assert passwords.matches(platform["password"], found[2])


def test_what_is_remembered_is_kept(url: str, tmp_path: Path) -> None:
    assert written(tmp_path) == written(tmp_path)


def test_what_is_forgotten_is_made_anew_for_the_same_tenants(url: str, tmp_path: Path) -> None:
    first = written(tmp_path)
    (tmp_path / "demo.json").unlink()
    second = written(tmp_path)
    for one, other in zip([*first["tenants"], first["platform"]], [*second["tenants"], second["platform"]], strict=True):
        assert (one["id"], one["email"]) == (other["id"], other["email"])
        assert one["token"] != other["token"]
        assert one["password"] != other["password"]
