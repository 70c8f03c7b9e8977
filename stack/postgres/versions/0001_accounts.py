"""Tenants and users as the platform has them, read through views; our own tables beside them.

Three databases come here: an empty one gets `tenants` and `users`; an Obstack platform's has them, and gets the columns that are missing; a developer's, made
by this repository's numbered SQL files before there was alembic, is converted.

The functions read `telemetry.tenants` and `telemetry.users`, which are the same whatever the platform's columns are: keys may be numbers (then the tenant's
UUID is the column `telemetry_id`), roles may be JSON or an array, the hash is called `hashed_password` or `password_hash`. Nothing of ours refers to the
platform's tables by a foreign key: that would lock them, and stand in the way of the platform's own migrations.
"""

from collections.abc import Mapping
from typing import Final

from alembic import op
from alembic.util.exc import CommandError
from sqlalchemy import text

revision = "0001"
down_revision = None

_TEXT: Final = {"text", "character varying", "citext"}
_NUMBERS: Final = {"smallint", "integer", "bigint"}
_KEYS: Final = {"uuid", *_NUMBERS}
_ROLES: Final = {"json", "jsonb", "text[]", "character varying[]"}
_HASHES: Final = ("hashed_password", "password_hash")

Columns = Mapping[str, str]
"""Name → type, as `format_type` spells it without a length; empty: there is no such table."""


def upgrade() -> None:
    """All or nothing: alembic's transaction is around it."""
    if _is_ours_of_old():
        _convert()
    else:
        tenants, users = _columns("tenants"), _columns("users")
        if faults := [*_tenants_faults(tenants, users), *_users_faults(tenants, users)]:
            raise CommandError(
                "Nothing was changed: this database's tables tenants and users are not as Obstack has them.\n"
                + "".join(f"- {fault}\n" for fault in faults)
                + "Put it right by the platform's own migrations, or name another database, and run this again."
            )
        _complete(tenants, users)
        _create_ours()
    key = _columns("users")["id"]
    op.execute(f"""
        -- One row a log-in, until it is logged out. password_mark: a digest of the password's hash at that time; with another password the session is void.
        CREATE TABLE telemetry.sessions (
            id uuid PRIMARY KEY,
            user_id {key} NOT NULL,
            password_mark bytea NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX sessions_by_user ON telemetry.sessions (user_id, created_at)")
    op.execute("""
        -- A tenant's plan is the platform's word. What isn't a plan of ours has the limits of "standard".
        CREATE FUNCTION telemetry.plan_of(wanted text) RETURNS SETOF telemetry.plans LANGUAGE sql STABLE ROWS 1
        AS $$ SELECT * FROM telemetry.plans WHERE name IN (lower(wanted), 'standard') ORDER BY name = 'standard' LIMIT 1 $$""")
    _create_views(_columns("tenants"), _columns("users"))


def _is_ours_of_old() -> bool:
    names = _columns("migrations")
    if set(names) != {"name", "applied_at"}:
        return False
    applied = set(op.get_bind().execute(text("SELECT name FROM migrations")).scalars())
    if "001_tenants.sql" not in applied:
        return False
    if "003_index_period.sql" not in applied:
        raise CommandError("This database was made by a very old version of the repository: ./task down, remove .local, ./task up.")
    return True


def _convert() -> None:
    for table in ("plans", "tokens", "usage", "usage_writers"):
        op.execute(f"ALTER TABLE {table} SET SCHEMA telemetry")
    op.execute("ALTER TABLE tenants DROP CONSTRAINT tenants_plan_fkey")
    op.execute("ALTER TABLE telemetry.tokens DROP CONSTRAINT tokens_tenant_id_fkey")
    op.execute("ALTER TABLE tenants RENAME active TO is_active")
    op.execute("ALTER TABLE users RENAME active TO is_active")
    op.execute("ALTER TABLE users RENAME password_hash TO hashed_password")
    # There were no roles: everybody could do everything.
    op.execute("""ALTER TABLE users ADD COLUMN roles jsonb NOT NULL DEFAULT '["admin"]'""")
    op.execute("""ALTER TABLE users ALTER COLUMN roles SET DEFAULT '["viewer"]'""")
    op.execute("DROP TABLE migrations")


def _columns(table: str) -> Columns:
    rows = op.get_bind().execute(
        text("""
            SELECT attname, format_type(atttypid, NULL) AS kind FROM pg_attribute
            WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""),
        {"table": table},
    )
    return {row.attname: row.kind for row in rows}


def _tenants_faults(tenants: Columns, users: Columns) -> list[str]:
    if not tenants:
        return ["there is a table users, but none named tenants"] if users else []
    return [
        *_wrong("tenants", tenants, "id", _KEYS),
        *_wrong("tenants", tenants, "name", _TEXT),
        *_not_unique("tenants", tenants, "id"),
        *(_wrong("tenants", tenants, "is_active", {"boolean"}) if "is_active" in tenants else ()),
        *(_wrong("tenants", tenants, "telemetry_id", {"uuid"}) if "telemetry_id" in tenants else ()),
    ]


def _users_faults(tenants: Columns, users: Columns) -> list[str]:
    if not users:
        return []
    hashes = [name for name in _HASHES if name in users]
    return [
        *_wrong("users", users, "id", _KEYS),
        *_not_unique("users", users, "id"),
        *_wrong("users", users, "tenant_id", _NUMBERS if tenants.get("id") in _NUMBERS else {"uuid"}),
        *_wrong("users", users, "email", _TEXT),
        # Else a log-in could mean two people, of two tenants even.
        *_not_unique("users", users, "email"),
        *(_wrong("users", users, hashes[0], _TEXT) if hashes else [f"users has no column with the bcrypt hash of the password: {' or '.join(_HASHES)}, text"]),
        *(_wrong("users", users, "roles", _ROLES) if "roles" in users else ()),
        *(_wrong("users", users, "is_active", {"boolean"}) if "is_active" in users else ()),
    ]


def _wrong(table: str, columns: Columns, name: str, kinds: set[str]) -> list[str]:
    """Also for a column that isn't there."""
    wanted = " or ".join(sorted(kinds))
    if name not in columns:
        return [f"{table}.{name} is missing ({wanted})"]
    return [] if columns[name] in kinds else [f"{table}.{name} is {columns[name]}, not {wanted}"]


def _not_unique(table: str, columns: Columns, name: str) -> list[str]:
    definitions = op.get_bind().execute(
        text("""
            SELECT pg_get_indexdef(indexrelid, 1, true) FROM pg_index
            WHERE indrelid = to_regclass(:table) AND indisunique AND indisvalid AND indpred IS NULL AND indnkeyatts = 1"""),
        {"table": table},
    )
    unique = set(definitions.scalars()) & {name, f"lower({name})", f"lower({name}::text)"}
    return [] if unique or name not in columns else [f"{table}.{name} is not unique: CREATE UNIQUE INDEX CONCURRENTLY ON {table} ({name})"]


def _complete(tenants: Columns, users: Columns) -> None:
    """The two tables, or what they lack. A default that is the same for all rows rewrites nothing; `telemetry_id` rewrites `tenants`, which is small."""
    if not tenants:
        op.execute("""
            CREATE TABLE tenants (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                name text NOT NULL UNIQUE,
                plan text NOT NULL DEFAULT 'standard',
                is_active boolean NOT NULL DEFAULT true,
                created_at timestamptz NOT NULL DEFAULT now()
            )""")
    if not users:
        op.execute(f"""
            CREATE TABLE users (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                tenant_id {tenants.get("id", "uuid")} NOT NULL REFERENCES tenants ON DELETE CASCADE,
                email text NOT NULL UNIQUE CHECK (email = lower(email)),
                hashed_password text NOT NULL,
                roles jsonb NOT NULL DEFAULT '["viewer"]',
                is_active boolean NOT NULL DEFAULT true,
                created_at timestamptz NOT NULL DEFAULT now()
            )""")
    lacking = {
        "tenants": {"plan": "text", "is_active": "boolean NOT NULL DEFAULT true"} if tenants else {},
        "users": {"roles": """jsonb NOT NULL DEFAULT '["viewer"]'""", "is_active": "boolean NOT NULL DEFAULT true"} if users else {},
    }
    if tenants and tenants["id"] != "uuid":
        lacking["tenants"]["telemetry_id"] = "uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE"
    for table, there in (("tenants", tenants), ("users", users)):
        for name, definition in lacking[table].items():
            if name not in there:
                op.execute(f"ALTER TABLE {table} ADD COLUMN {name} {definition}")


def _create_ours() -> None:
    op.execute("""
        -- What a tenant may send. A bucket holds burst_seconds' worth of each rate.
        -- index_period: how much of a tenant's logs is in one index of OpenSearch. A shard costs memory however little is in it: thousands of small tenants
        -- can't have one a day each. A change counts for records that come in from then on; each record keeps the period that it came with.
        CREATE TABLE telemetry.plans (
            name text PRIMARY KEY CHECK (name = lower(name)),
            requests_per_second double precision NOT NULL CHECK (requests_per_second > 0),
            bytes_per_second double precision NOT NULL CHECK (bytes_per_second > 0),
            burst_seconds double precision NOT NULL DEFAULT 10 CHECK (burst_seconds > 0),
            max_body_bytes integer NOT NULL DEFAULT 67108864 CHECK (max_body_bytes BETWEEN 1 AND 67108864),
            index_period text NOT NULL DEFAULT 'day' CHECK (index_period IN ('day', 'week', 'month'))
        )""")
    op.execute("""
        INSERT INTO telemetry.plans (name, requests_per_second, bytes_per_second, max_body_bytes, index_period) VALUES
            ('free', 20, 2000000, 16777216, 'month'),
            ('standard', 500, 50000000, 67108864, 'day'),
            ('large', 100000, 10000000000, 67108864, 'day')""")
    op.execute("""
        -- Of a token only the SHA-256 of its secret is kept: a token has 256 random bits, so a slow hash would add cost and no safety. lifetime: what a
        -- rotation gives the new token. replaces: the token that it was made for by rotation. hint: the first characters, to tell tokens apart in a list.
        CREATE TABLE telemetry.tokens (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            name text NOT NULL,
            sha256 bytea NOT NULL UNIQUE CHECK (octet_length(sha256) = 32),
            scopes text[] NOT NULL DEFAULT '{logs,metrics,traces,read}'
                CONSTRAINT tokens_scopes CHECK (cardinality(scopes) > 0 AND scopes <@ '{logs,metrics,traces,read}'),
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz,
            revoked_at timestamptz,
            lifetime interval,
            replaces uuid REFERENCES telemetry.tokens ON DELETE SET NULL,
            hint text NOT NULL DEFAULT '',
            last_used_at timestamptz
        )""")
    op.execute("CREATE INDEX tokens_by_tenant ON telemetry.tokens (tenant_id, created_at)")
    op.execute("""
        -- Rows for billing: what was taken over within an hour. A bill outlives the tenant's row.
        CREATE TABLE telemetry.usage (
            tenant_id uuid NOT NULL,
            token_id uuid NOT NULL,
            signal text NOT NULL,
            hour timestamptz NOT NULL,
            requests bigint NOT NULL,
            records bigint NOT NULL,
            bytes bigint NOT NULL,
            PRIMARY KEY (tenant_id, hour, token_id, signal)
        )""")
    op.execute("""
        -- One row a process: the number of its last flush, so that a flush whose answer got lost is never added twice.
        CREATE TABLE telemetry.usage_writers (
            id uuid PRIMARY KEY,
            flush bigint NOT NULL,
            at timestamptz NOT NULL DEFAULT now()
        )""")


def _create_views(tenants: Columns, users: Columns) -> None:
    uuid = "id" if tenants["id"] == "uuid" else "telemetry_id"
    hashed = next(name for name in _HASHES if name in users)
    op.execute(f"""
        CREATE VIEW telemetry.tenants AS
        SELECT {uuid} AS id, name::text AS name, plan::text AS plan, coalesce(is_active, true) AS is_active FROM tenants
        """)  # noqa: S608 our own words
    op.execute(f"""
        CREATE VIEW telemetry.users AS
        SELECT u.id, t.{uuid} AS tenant_id, u.email::text AS email, u.{hashed}::text AS hashed_password, to_jsonb(u.roles) AS roles,
            coalesce(u.is_active, true) AS is_active
        FROM users u JOIN tenants t ON t.id = u.tenant_id
        """)  # noqa: S608 our own words
