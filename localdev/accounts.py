"""The platform's own tables `tenants` and `users` as an operator's command writes them, whatever their columns are in this database.

What is read is read through the views `telemetry.tenants` and `telemetry.users`. How the tables may differ: stack/postgres/versions/0001_accounts.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString, Self
from uuid import uuid4

from psycopg.types.json import Jsonb

from shared.database import Connection

_COLUMNS: Final = """
SELECT attname, format_type(atttypid, NULL), atthasdef OR attidentity <> '' FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""


@dataclass(frozen=True, slots=True)
class Column:
    """`filled`: a row that doesn't name it gets a value all the same."""

    kind: str
    filled: bool


@dataclass(frozen=True, slots=True)
class Accounts:
    """Both tables of a database: name of a column → what it is."""

    connection: Connection
    tenants: Mapping[str, Column]
    users: Mapping[str, Column]

    @classmethod
    async def of(cls, connection: Connection) -> Self:
        """Look at them. Raises UndefinedTable."""
        return cls(connection, await _columns(connection, "tenants"), await _columns(connection, "users"))

    async def add_tenant(self, name: str, plan: str) -> str | None:
        """Its id; None if there is one of this name, which the table itself needn't forbid."""
        if await (await self.connection.execute("SELECT 1 FROM tenants WHERE name = %s", (name,))).fetchone():
            return None
        values = {**_key(self.tenants), "name": name, "plan": plan}
        statement = f"{_insert('tenants', values)} ON CONFLICT DO NOTHING RETURNING {self._tenant_id}"
        made = await (await self.connection.execute(statement, values)).fetchone()
        return str(made[0]) if made else None

    async def set_plan(self, tenant_id: str, plan: str) -> None:
        """Put a tenant on a plan."""
        await self.connection.execute(f"UPDATE tenants SET plan = %s WHERE {self._tenant_id} = %s", (plan, tenant_id))  # noqa: S608 our own words

    async def set_tenant_active(self, tenant_id: str, active: bool) -> None:
        """Open or close a tenant."""
        await self.connection.execute(f"UPDATE tenants SET is_active = %s WHERE {self._tenant_id} = %s", (active, tenant_id))  # noqa: S608 our own words

    async def add_user(self, tenant_id: str, email: str, hashed: str, roles: Sequence[str]) -> None:
        """Make a user. `hashed`: his password's bcrypt hash."""
        found = await (await self.connection.execute(f"SELECT id FROM tenants WHERE {self._tenant_id} = %s", (tenant_id,))).fetchone()  # noqa: S608 our own words
        values = {**_key(self.users), "tenant_id": found and found[0], "email": email, self._password: hashed, "roles": self._roles(roles)}
        if "username" in self.users:  # the platform's backend wants one; the pipeline's log-in goes by the e-mail
            values["username"] = email
        await self.connection.execute(_insert("users", values), values)

    async def set_password(self, email: str, hashed: str) -> bool:
        """False if there is no such user, like those below."""
        return await self._set(email, self._password, hashed)

    async def set_roles(self, email: str, roles: Sequence[str]) -> bool:
        """Say what a user may do, instead of what was said before."""
        return await self._set(email, "roles", self._roles(roles))

    async def set_user_active(self, email: str, active: bool) -> bool:
        """Let a user in, or not."""
        return await self._set(email, "is_active", active)

    async def _set(self, email: str, column: LiteralString, value: object) -> bool:
        done = await self.connection.execute(f"UPDATE users SET {column} = %s WHERE email = %s", (value, email))  # noqa: S608 our own words
        return done.rowcount > 0

    @property
    def _tenant_id(self) -> LiteralString:
        """The column with the UUID by which the pipeline knows a tenant."""
        return "id" if self.tenants["id"].kind == "uuid" else "telemetry_id"

    @property
    def _password(self) -> LiteralString:
        return "hashed_password" if "hashed_password" in self.users else "password_hash"

    def _roles(self, given: Sequence[str]) -> object:
        return list(given) if self.users["roles"].kind.endswith("[]") else Jsonb(given)


async def _columns(connection: Connection, table: str) -> dict[str, Column]:
    rows = await (await connection.execute(_COLUMNS, (table,))).fetchall()
    return {name: Column(kind, filled) for name, kind, filled in rows}


def _key(columns: Mapping[str, Column]) -> dict[str, object]:
    """Of a new row, where it is for the platform's backend to make one up."""
    return {"id": uuid4()} if columns["id"].kind == "uuid" and not columns["id"].filled else {}


def _insert(table: LiteralString, values: Mapping[str, object]) -> str:
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(f'%({name})s' for name in values)})"  # noqa: S608 our own words
