"""Token from its three places → Tenant. The tenant comes from the token alone.

Answers are cached by the token's digest: known tokens for `token_ttl_seconds`, unknown ones too, both bounded in number. While the database is away known
tokens go on (`token_stale_seconds`), unknown ones get Later, never a 401: a client would throw its data away.
"""

import asyncio
import base64
import binascii
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from shared import tokens
from shared.contract import TOKEN_HEADER, Reason, Scope
from shared.errors import Later, Refused
from shared.settings import Database
from shared.tenant import Tenant

log = logging.getLogger(__name__)

CACHED_TOKENS = 10_000
LOOKUP_SECONDS = 3.0

_LOOKUP = """
SELECT k.id, k.tenant_id, k.scopes, k.expires_at, t.active
FROM tokens k JOIN tenants t ON t.id = k.tenant_id
WHERE k.sha256 = %s AND k.revoked_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database said of a token; `tenant` is None when it knows none."""

    tenant: Tenant | None
    active: bool
    expires: datetime | None
    asked: float


class Authenticator:
    """Checks tokens against PostgreSQL. Open it in `start` (`async with`); it starts without a database and says Later until there is one."""

    def __init__(self, settings: Database) -> None:
        self._ttl = settings.token_ttl_seconds
        self._stale = settings.token_stale_seconds
        self._pool = AsyncConnectionPool(
            settings.database_url.get_secret_value(), min_size=1, max_size=4, open=False, timeout=LOOKUP_SECONDS, kwargs={"connect_timeout": 3}
        )
        self._cache: OrderedDict[bytes, _Known] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[_Known]] = {}

    async def __aenter__(self) -> "Authenticator":
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def tenant(self, headers: Mapping[str, str], scope: Scope) -> Tenant:
        """The tenant whose token the request carries, if the token is good for `scope`.

        Raises Refused (401 without a valid token, 403 for an inactive tenant or a missing scope), Later when the database can't be asked.
        """
        token = token_of(headers)
        if token is None:
            raise Refused(Reason.NO_TOKEN, f"send the token as {TOKEN_HEADER}, as Authorization: Bearer, or as the password of Authorization: Basic", 401)
        known = await self._known(tokens.digest(token)) if tokens.is_wellformed(token) else None
        if known is None or known.tenant is None or (known.expires and known.expires <= datetime.now(UTC)):
            raise Refused(Reason.UNKNOWN_TOKEN, "the token is unknown, expired or revoked", 401)
        if not known.active:
            raise Refused(Reason.FORBIDDEN, "the tenant is not active", 403)
        if scope not in known.tenant.scopes:
            raise Refused(Reason.FORBIDDEN, f"the token has no scope for {scope}", 403)
        return known.tenant

    async def _known(self, digest: bytes) -> _Known:
        cached = self._cache.get(digest)
        if cached and monotonic() - cached.asked < self._ttl:
            return cached
        # One question a token at a time, however many requests wait for the answer.
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.create_task(self._ask(digest))
            asking.add_done_callback(lambda _: self._asking.pop(digest, None))
        try:
            return await asyncio.shield(asking)
        except Later:
            if cached and cached.tenant and monotonic() - cached.asked < self._stale:
                return cached
            raise

    async def _ask(self, digest: bytes) -> _Known:
        try:
            async with asyncio.timeout(LOOKUP_SECONDS), self._pool.connection() as connection:
                row = await (await connection.execute(_LOOKUP, (digest,))).fetchone()
        except (psycopg.Error, PoolTimeout, TimeoutError) as error:
            log.warning("token look-up failed: %s", type(error).__name__)
            raise Later("tokens can't be checked at the moment") from error
        if row is None:
            known = _Known(None, active=False, expires=None, asked=monotonic())
        else:
            token_id, tenant_id, scopes, expires, active = row
            tenant = Tenant(str(tenant_id), str(token_id), frozenset(Scope(s) for s in scopes))
            known = _Known(tenant, active, expires, monotonic())
        self._cache[digest] = known
        self._cache.move_to_end(digest)
        if len(self._cache) > CACHED_TOKENS:
            self._cache.popitem(last=False)
        return known


def token_of(headers: Mapping[str, str]) -> str | None:
    """The token in `X-Obstack-Auth-Token`, `Authorization: Bearer`, or the password of `Authorization: Basic` (RFC 6750 section 2.1, RFC 7617 section 2)."""
    if token := headers.get(TOKEN_HEADER):
        return token.strip()
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return credentials.strip() or None
        case "basic":
            try:
                return base64.b64decode(credentials, validate=True).decode().partition(":")[2] or None
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None
