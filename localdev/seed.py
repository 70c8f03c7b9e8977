"""Tables, two tenants with their users and the platform's own tenant, for the laptop's stack.

Idempotent: what `.local/demo.json` remembers and the database still knows is kept.

`python -m localdev.seed` is compose's one-shot, in a container that has its `.local` in a volume: DATABASE_URL names the database, OBSTACK_GATEWAY where
customers reach the gateway. Beside `demo.json` it leaves each tenant's token in a file of its own for Grafana, which has another user.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

from localdev import backends, functions, passwords, paths
from shared import tokens
from shared.contract import Scope

_TENANTS = (("Acme Rockets", "anna@acme.example"), ("Globex Energy", "gus@globex.example"))
_VIEWER = "vera@acme.example"
"""One more user of the first tenant, who only reads."""
_PLATFORM = ("Obstack", "ops@obstack.example")
"""Who runs the pipeline: the admins of this tenant have the operators' view."""


def migrate() -> None:
    """`./task migrate` as a process of its own: alembic is for one use at a time, and the supervisor needn't carry it. Raises RuntimeError."""
    environment = {**os.environ, "DATABASE_URL": backends.postgres_url()}
    done = subprocess.run([sys.executable, "-m", "localdev.migrate"], cwd=paths.ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the tables can't be brought up to date: {done.stderr.strip()}")


def seed(database_url: str = "") -> dict[str, Any]:
    """The accounts of `demo.json`. `database_url`: this machine's without it.

    → {"tenants": [two, each with an admin and a token: {"id", "name", "email", "password", "token"}], "users": [a viewer: {"tenant_id", "email", "password"}],
    "platform": the platform's own tenant, as those of `tenants`}.
    """
    tenants = {tenant["email"]: tenant for tenant in _remembered("tenants")}
    users = {user["email"]: user for user in _remembered("users")}
    with psycopg.connect(database_url or backends.urls()["postgres"]) as connection:
        made = [_tenant(connection, name, email, tenants.get(email)) for name, email in _TENANTS]
        platform = _tenant(connection, *_PLATFORM, _remembered("platform"), functions.PLATFORM_TENANT_ID)
        _token(connection, platform["id"], "the functions' own spans", functions.platform_token(), ("traces",))
        return {"tenants": made, "users": [_viewer(connection, made[0]["id"], users.get(_VIEWER))], "platform": platform}


def _remembered(what: str) -> Any:
    try:
        return json.loads((paths.local() / "demo.json").read_text())[what]
    except (OSError, ValueError, KeyError):
        return ()


def _tenant(connection: psycopg.Connection[Any], name: str, email: str, old: dict[str, str] | None, new_id: str = "") -> dict[str, str]:
    """The remembered tenant if its token and user are still there, else one with new secrets. `new_id`: instead of a random one."""
    # Demo, tests and measurements send as fast as they can.
    connection.execute("UPDATE tenants SET plan = 'large' WHERE name = %s", (name,))
    if old and _has_token(connection, old) and _has_password(connection, old["id"], old):
        return old
    row = connection.execute("SELECT id FROM tenants WHERE name = %s", (name,)).fetchone()
    tenant = {"id": str(row[0]) if row else new_id or str(uuid4()), "name": name, "email": email, "password": "", "token": tokens.create()}
    connection.execute("INSERT INTO tenants (id, name, plan) VALUES (%s, %s, 'large') ON CONFLICT (id) DO NOTHING", (tenant["id"], name))
    tenant["password"] = _set_password(connection, tenant["id"], email, "admin")
    _token(connection, tenant["id"], "demo", tenant["token"], tuple(Scope))
    return tenant


def _token(connection: psycopg.Connection[Any], tenant_id: str, name: str, token: str, scopes: Sequence[str]) -> None:
    connection.execute(
        "INSERT INTO telemetry.tokens (id, tenant_id, name, sha256, hint, scopes) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (sha256) DO NOTHING",
        (uuid4(), tenant_id, name, tokens.digest(token), tokens.hint(token), [str(scope) for scope in scopes]),
    )


def _viewer(connection: psycopg.Connection[Any], tenant_id: str, old: dict[str, str] | None) -> dict[str, str]:
    if old and _has_password(connection, tenant_id, old):
        return old
    return {"tenant_id": tenant_id, "email": _VIEWER, "password": _set_password(connection, tenant_id, _VIEWER, "viewer")}


def _set_password(connection: psycopg.Connection[Any], tenant_id: str, email: str, role: str) -> str:
    """A new one, for a new user or one whose password isn't remembered."""
    password = passwords.create()
    connection.execute(
        """INSERT INTO users (tenant_id, email, hashed_password, roles) VALUES (%s, %s, %s, %s)
        ON CONFLICT (email) DO UPDATE SET hashed_password = excluded.hashed_password""",
        (tenant_id, email, passwords.hashed(password), Jsonb([role])),
    )
    return password


def _has_token(connection: psycopg.Connection[Any], tenant: dict[str, str]) -> bool:
    found = connection.execute(
        "SELECT 1 FROM telemetry.tokens WHERE sha256 = %s AND tenant_id = %s AND revoked_at IS NULL", (tokens.digest(tenant["token"]), tenant["id"])
    )
    return found.fetchone() is not None


def _has_password(connection: psycopg.Connection[Any], tenant_id: str, user: dict[str, str]) -> bool:
    found = connection.execute("SELECT hashed_password FROM users WHERE tenant_id = %s AND email = %s", (tenant_id, user["email"])).fetchone()
    return found is not None and passwords.matches(user["password"], found[0])


def main() -> None:
    """Seed the database of the environment."""
    accounts = seed(os.environ["DATABASE_URL"])
    demo = paths.local() / "demo.json"
    demo.touch(mode=0o600)
    demo.write_text(json.dumps({"gateway": os.environ["OBSTACK_GATEWAY"], **accounts}, indent=2))
    for number, tenant in enumerate(accounts["tenants"], 1):
        (paths.local() / f"tenant-{number}.token").write_text(tenant["token"])


if __name__ == "__main__":
    main()
