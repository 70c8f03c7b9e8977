"""Tokens in PostgreSQL: list, create, rotate, revoke. Every statement is confined to one tenant by its own WHERE, whoever calls.

A secret leaves here once, as the result of `create` and `rotate`; nothing of it but digest and hint is stored. What is changed here takes effect at the
functions within the time that they believe an answer (30 s).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from shared import tokens
from shared.contract import Reason, Scope
from shared.database import Connection
from shared.errors import Refused

MOST_LIVE = 100
"""Tokens of one tenant that are good at the same time."""
GRACE: Final = timedelta(days=1)
"""How long a rotated token goes on beside its successor."""
LONGEST_NAME = 100

_COLUMNS = "id, name, scopes, hint, created_at, expires_at, revoked_at, last_used_at, replaces"
_LIST = f"SELECT {_COLUMNS} FROM telemetry.tokens WHERE tenant_id = %(tenant)s ORDER BY created_at DESC, id LIMIT 1000"  # noqa: S608 constants only, here and below
_FEW = """(
    SELECT count(*) FROM telemetry.tokens WHERE tenant_id = %(tenant)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
) < %(most)s"""
_CREATE = f"""
INSERT INTO telemetry.tokens (id, tenant_id, name, sha256, hint, scopes, lifetime, expires_at)
SELECT %(id)s, t.id, %(name)s, %(sha256)s, %(hint)s, %(scopes)s::text[], %(lifetime)s::interval, now() + %(lifetime)s::interval
FROM telemetry.tenants t WHERE t.id = %(tenant)s AND {_FEW}
RETURNING {_COLUMNS}
"""  # noqa: S608
_ROTATE = f"""
WITH old AS (
    UPDATE telemetry.tokens SET expires_at = least(expires_at, now() + %(grace)s::interval)
    WHERE id = %(old)s AND tenant_id = %(tenant)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AND {_FEW}
    RETURNING id, tenant_id, name, scopes, lifetime
)
INSERT INTO telemetry.tokens (id, tenant_id, name, sha256, hint, scopes, lifetime, expires_at, replaces)
SELECT %(id)s, tenant_id, name, %(sha256)s, %(hint)s, scopes, lifetime, now() + lifetime, id FROM old
RETURNING {_COLUMNS}
"""  # noqa: S608
_REVOKE = f"""
UPDATE telemetry.tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = %(id)s AND tenant_id = %(tenant)s RETURNING {_COLUMNS}
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Token:
    """What may be shown of a token. `hint`: its first characters; `replaces`: the token that was rotated into this one."""

    id: str
    name: str
    scopes: list[str]
    hint: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaces: str | None

    def state(self, now: datetime) -> str:
        """In one word."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= now else "active"


async def everything(connection: Connection, tenant_id: str) -> list[Token]:
    """The tenant's tokens, newest first."""
    return [_token(row) for row in await (await connection.execute(_LIST, {"tenant": tenant_id})).fetchall()]


async def create(connection: Connection, tenant_id: str, name: str, scopes: Collection[Scope], lifetime: timedelta | None) -> tuple[Token, str]:
    """A new token and its secret. Raises Refused (400 wrong name or scopes, 409 too many)."""
    if not (name.strip() and len(name) <= LONGEST_NAME and name.isprintable()) or not scopes:
        raise Refused(Reason.INVALID, f"a token needs a name of 1 to {LONGEST_NAME} characters and at least one scope")
    given = {"tenant": tenant_id, "name": name.strip(), "scopes": sorted(set(scopes)), "lifetime": lifetime}
    made = await _insert(connection, _CREATE, given)
    if made is None:
        raise _too_many()
    return made


async def rotate(connection: Connection, tenant_id: str, token_id: str, grace: timedelta = GRACE) -> tuple[Token, str]:
    """A successor with the same name, scopes and lifetime, and its secret; the old token ends after `grace`. Raises Refused (404, 409)."""
    made = await _insert(connection, _ROTATE, {"tenant": tenant_id, "old": token_id, "grace": grace})
    if made is not None:
        return made
    now = datetime.now(UTC)
    if any(token.id == token_id and token.state(now) == "active" for token in await everything(connection, tenant_id)):
        raise _too_many()
    raise _no_such_token("active ")


async def revoke(connection: Connection, tenant_id: str, token_id: str) -> Token:
    """End a token at once; twice is no error. Raises Refused (404)."""
    row = await (await connection.execute(_REVOKE, {"tenant": tenant_id, "id": token_id})).fetchone()
    if row is None:
        raise _no_such_token()
    return _token(row)


async def _insert(connection: Connection, statement: str, given: dict[str, Any]) -> tuple[Token, str] | None:
    secret = tokens.create()
    made = {"id": uuid4(), "sha256": tokens.digest(secret), "hint": tokens.hint(secret), "most": MOST_LIVE}
    row = await (await connection.execute(statement, {**given, **made})).fetchone()
    return (_token(row), secret) if row else None


def _token(row: tuple[Any, ...]) -> Token:
    token_id, name, scopes, hint, created, expires, revoked, last_used, replaces = row
    return Token(str(token_id), name, scopes, hint, created, expires, revoked, last_used, str(replaces) if replaces else None)


def _too_many() -> Refused:
    return Refused(Reason.LIMITED, f"there are {MOST_LIVE} active tokens already: revoke one that isn't used", 409)


def _no_such_token(kind: str = "") -> Refused:
    return Refused(Reason.NOT_FOUND, f"there is no such {kind}token", 404)
