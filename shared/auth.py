"""Token from its three places → Tenant. The tenant comes from the token alone.

Answers are cached by the token's digest for `token_ttl_seconds`, unknown tokens too; each kind is bounded by itself, so that a flood of made-up tokens drives
no known one out. A token in use is asked about again before its time is over, many in one question, so nobody waits for it. While the database is away known
tokens go on (`token_stale_seconds`), unknown ones get Later, never a 401: a client would throw its data away.
"""

import asyncio
import base64
import binascii
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar

from shared import tokens
from shared.contract import TOKEN_HEADER, Period, Reason, Scope
from shared.database import Connection, Database
from shared.errors import Later, Refused
from shared.settings import Database as Settings
from shared.telemetry import metrics
from shared.tenant import Limits, Tenant

log = logging.getLogger(__name__)

CACHED_TOKENS, CACHED_UNKNOWN = 20_000, 10_000
AWAY_SECONDS = 10.0
"""How long after a failed question the database counts as away: nobody waits for it, and in the second half it is asked again in the background."""
KNOWN_SECONDS = 0.5
"""How long a known token that wasn't used for a while waits for news of it, before it goes on with the old."""
REFRESH_SECONDS = 1.0
"""How long tokens that are due are gathered into one question."""
BATCH, WAITING = 200, 5_000
"""Tokens in one question, and how many may wait for theirs."""

# Comparing digests takes no constant time and needs none: see `tokens.digest`.
_LOOKUP = """
SELECT k.sha256, k.id, k.tenant_id, k.scopes, k.expires_at, t.is_active,
    p.index_period, p.requests_per_second, p.bytes_per_second, p.burst_seconds, p.max_body_bytes
FROM telemetry.tokens k JOIN telemetry.tenants t ON t.id = k.tenant_id CROSS JOIN LATERAL telemetry.plan_of(t.plan) p
WHERE k.sha256 = ANY(%s) AND k.revoked_at IS NULL
"""
_NEVER: Final = float("-inf")
_HIT, _MISS, _UNKNOWN, _STALE, _FAILED = map(metrics.TOKEN_LOOKUPS.labels, ("hit", "miss", "unknown", "stale", "failed"))


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database said of a token, and when."""

    tenant: Tenant
    active: bool
    expires: datetime | None
    asked: float


T = TypeVar("T")
_Answer = _Known | Later | None


class Authenticator:
    """Checks tokens against PostgreSQL. Open it in `start` (`async with`); it starts without a database and says Later until there is one."""

    def __init__(self, settings: Settings) -> None:
        self._ttl = settings.token_ttl_seconds
        self._fresh = settings.token_ttl_seconds / 2
        self._stale = settings.token_stale_seconds
        self.database = Database(settings.database_url)
        # By digest, not by the token itself, which would save 0.3 µs a request: no token stays in memory longer than its request.
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._waiting: dict[bytes, asyncio.Future[_Answer]] = {}
        self._queue: list[bytes] = []
        self._asking: asyncio.Task[None] | None = None
        self._due: set[bytes] = set()
        self._due_timer: asyncio.TimerHandle | None = None
        self._away_since = _NEVER
        self._failing_since: float | None = None
        self._shared: dict[Any, Any] = {}
        metrics.TOKENS_CACHED.labels("known").set_function(lambda: len(self._known))
        metrics.TOKENS_CACHED.labels("unknown").set_function(lambda: len(self._unknown))
        metrics.TOKENS_AWAY.set_function(lambda: 0 if self._failing_since is None else monotonic() - self._failing_since)

    async def __aenter__(self) -> "Authenticator":
        await self.database.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._due_timer:
            self._due_timer.cancel()
        if self._asking:
            self._asking.cancel()
        self._fail(list(self._waiting), Later("the function ends"))
        await self.database.__aexit__()

    async def tenant(self, headers: Mapping[str, str], scope: Scope, *, anew: bool = False) -> Tenant:
        """The tenant whose token the request carries, if the token is good for `scope`. `anew`: as the database says now, if it can be asked.

        Raises Refused (401 without a valid token, 403 for an inactive tenant or a missing scope), Later when the database can't be asked.
        """
        token = token_of(headers)
        if token is None:
            raise Refused(Reason.NO_TOKEN, f"send the token as {TOKEN_HEADER}, as Authorization: Bearer, or as the password of Authorization: Basic", 401)
        # A digest costs a third of the checksum, and a token whose digest is known has a right one.
        digest = tokens.digest(token)
        known = self._known.get(digest)
        if known is None or anew or monotonic() - known.asked >= self._fresh:
            try:
                known = await self._look_up(token, digest, known, 0.0 if anew else self._ttl)
            except Later:
                _FAILED.inc()
                raise
        else:
            _HIT.inc()
        if known is None or (known.expires and known.expires <= datetime.now(UTC)):
            raise Refused(Reason.UNKNOWN_TOKEN, "the token is unknown, expired or revoked", 401)
        if not known.active:
            raise Refused(Reason.FORBIDDEN, "the tenant is not active", 403)
        if scope not in known.tenant.scopes:
            raise Refused(Reason.FORBIDDEN, f"the token has no scope for {scope}", 403)
        return known.tenant

    async def _look_up(self, token: str, digest: bytes, known: _Known | None, believed: float) -> _Known | None:
        """`believed`: for how many seconds an answer about a known token is."""
        now = monotonic()
        if known is None:
            if not tokens.is_wellformed(token) or now - self._unknown.get(digest, _NEVER) < self._ttl:
                _UNKNOWN.inc()
                return None
            return await self._ask(digest)
        age, away = now - known.asked, now - self._away_since
        if age < believed or (away < AWAY_SECONDS and age < self._stale):
            if away >= AWAY_SECONDS / 2:
                self._refresh(digest)
            (_HIT if age < believed else _STALE).inc()
            return known
        if age >= self._stale:
            return await self._ask(digest)
        try:
            async with asyncio.timeout(KNOWN_SECONDS):
                return await self._ask(digest)
        except (Later, TimeoutError):
            _STALE.inc()
            return known

    async def _ask(self, digest: bytes) -> _Known | None:
        """One question a token at a time, however many requests wait for the answer."""
        if digest not in self._waiting:
            away = monotonic() - self._away_since
            # A flood of made-up tokens must not keep a known one, which may be revoked, from being asked about.
            full = len(self._waiting) >= WAITING and digest not in self._known
            # While the database is away one token at a time tries whether it still is.
            if full or away < AWAY_SECONDS / 2 or (away < AWAY_SECONDS and self._waiting):
                raise Later("tokens can't be checked at the moment")
            self._enqueue(digest)
        answer = await asyncio.shield(self._waiting[digest])
        if isinstance(answer, Later):
            raise answer
        _MISS.inc()
        return answer

    def _refresh(self, digest: bytes) -> None:
        self._due.add(digest)
        if self._due_timer is None:
            self._due_timer = asyncio.get_running_loop().call_later(REFRESH_SECONDS, self._enqueue_due)

    def _enqueue_due(self) -> None:
        due, self._due, self._due_timer = self._due, set(), None
        for digest in due:
            if digest not in self._waiting:
                self._enqueue(digest)

    def _enqueue(self, digest: bytes) -> None:
        self._waiting[digest] = asyncio.get_running_loop().create_future()
        self._queue.append(digest)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())

    async def _ask_all(self) -> None:
        """Answer the queue; what comes in meanwhile goes into the next question."""
        try:
            while self._queue:
                batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
                rows = {row[0]: row for row in await self.database.run(partial(_fetch, batch))}
                self._away_since, self._failing_since = _NEVER, None
                for digest in batch:
                    known = self._remember(digest, rows.get(digest))
                    self._waiting.pop(digest).set_result(known)
        except Exception as error:  # whatever it is: those who wait must be told, and known tokens go on
            if not isinstance(error, Later):
                log.exception("tokens can't be looked up")
            self._away_since = monotonic()
            if self._failing_since is None:
                self._failing_since = self._away_since
            self._fail(list(self._waiting), Later("tokens can't be checked at the moment"))
        finally:
            self._asking = None

    def _fail(self, digests: Sequence[bytes], error: Later) -> None:
        self._queue.clear()
        for digest in digests:
            future = self._waiting.pop(digest)
            if not future.done():
                future.set_result(error)

    def _remember(self, digest: bytes, row: Sequence[Any] | None) -> _Known | None:
        if row is None:
            self._known.pop(digest, None)
            _keep(self._unknown, digest, monotonic(), CACHED_UNKNOWN)
            return None
        _, token_id, tenant_id, scopes, expires, active, period, *plan = row
        # Thousands of tokens share a few plans and sets of scopes.
        limits = self._once(Limits(*plan))
        # A newer version's scope is none that we could be asked for.
        usable = frozenset(Scope(scope) for scope in scopes if scope in _SCOPES)
        tenant = Tenant(str(tenant_id), str(token_id), self._once(usable), limits, Period(period))
        self._unknown.pop(digest, None)
        found = _Known(tenant, active, expires, monotonic())
        _keep(self._known, digest, found, CACHED_TOKENS)
        return found

    def _once(self, value: Any) -> Any:
        if len(self._shared) > 1000:
            self._shared.clear()
        return self._shared.setdefault(value, value)


_SCOPES: Final = frozenset(map(str, Scope))


def _keep(cache: OrderedDict[bytes, T], digest: bytes, value: T, most: int) -> None:
    cache[digest] = value
    cache.move_to_end(digest)
    if len(cache) > most:
        cache.popitem(last=False)


async def _fetch(digests: list[bytes], connection: Connection) -> list[tuple[Any, ...]]:
    return await (await connection.execute(_LOOKUP, (digests,))).fetchall()


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
