"""Tables and two tenants for the laptop's stack. Idempotent: what `.local/demo.json` remembers and the database still knows is kept."""

import json
import secrets
from typing import Any
from uuid import uuid4

import bcrypt
import psycopg

from localdev import backends, paths
from shared import tokens

BCRYPT_COST = 12
_TENANTS = (("Acme Rockets", "anna@acme.example"), ("Globex Energy", "gus@globex.example"))
_MIGRATION_LOCK = 20_261_124
"""Advisory lock, so that two stacks on one database don't migrate at once."""


def migrate() -> None:
    """Apply each `stack/postgres/NNN_*.sql` that wasn't applied yet, in order, each in a transaction of its own."""
    with psycopg.connect(backends.urls()["postgres"], autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())")
        applied = {name for (name,) in connection.execute("SELECT name FROM migrations").fetchall()}
        for file in sorted((paths.STACK / "postgres").glob("[0-9]*.sql")):
            if file.name not in applied:
                with connection.transaction():
                    connection.execute(file.read_bytes())
                    connection.execute("INSERT INTO migrations (name) VALUES (%s)", (file.name,))


def seed() -> list[dict[str, str]]:
    """Two tenants with a user and a token each: `{"id", "name", "email", "password", "token"}`."""
    remembered = {tenant["email"]: tenant for tenant in _remembered()}
    with psycopg.connect(backends.urls()["postgres"]) as connection:
        return [_tenant(connection, name, email, remembered.get(email)) for name, email in _TENANTS]


def _remembered() -> list[dict[str, Any]]:
    try:
        return list(json.loads((paths.local() / "demo.json").read_text())["tenants"])
    except (OSError, ValueError, KeyError):
        return []


def _tenant(connection: psycopg.Connection[Any], name: str, email: str, old: dict[str, str] | None) -> dict[str, str]:
    """The remembered tenant if its token and user are still there, else one with new secrets."""
    # Demo, tests and measurements send as fast as they can.
    connection.execute("UPDATE tenants SET plan = 'large' WHERE name = %s", (name,))
    if old and _is_known(connection, old):
        return old
    row = connection.execute("SELECT id FROM tenants WHERE name = %s", (name,)).fetchone()
    tenant = {
        "id": str(row[0]) if row else str(uuid4()),
        "name": name,
        "email": email,
        "password": secrets.token_urlsafe(12),
        "token": tokens.create(),
    }
    password_hash = bcrypt.hashpw(tenant["password"].encode(), bcrypt.gensalt(BCRYPT_COST)).decode()
    connection.execute("INSERT INTO tenants (id, name, plan) VALUES (%s, %s, 'large') ON CONFLICT (id) DO NOTHING", (tenant["id"], name))
    connection.execute(
        """INSERT INTO users (id, tenant_id, email, password_hash) VALUES (%s, %s, %s, %s)
        ON CONFLICT (email) DO UPDATE SET password_hash = excluded.password_hash""",
        (uuid4(), tenant["id"], email, password_hash),
    )
    connection.execute(
        "INSERT INTO tokens (id, tenant_id, name, sha256, hint) VALUES (%s, %s, 'demo', %s, %s)",
        (uuid4(), tenant["id"], tokens.digest(tenant["token"]), tokens.hint(tenant["token"])),
    )
    return tenant


def _is_known(connection: psycopg.Connection[Any], tenant: dict[str, str]) -> bool:
    found = connection.execute(
        """SELECT u.password_hash FROM tokens k JOIN users u ON u.tenant_id = k.tenant_id
        WHERE k.sha256 = %s AND k.tenant_id = %s AND u.email = %s AND k.revoked_at IS NULL""",
        (tokens.digest(tenant["token"]), tenant["id"], tenant["email"]),
    ).fetchone()
    return found is not None and bcrypt.checkpw(tenant["password"].encode(), found[0].encode())
