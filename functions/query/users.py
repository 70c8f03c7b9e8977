"""Users in PostgreSQL: password check at log-in, and whether a logged-in one is still welcome.

Answers about known users are kept `token_ttl_seconds`; while the database is away known sessions go on (`token_stale_seconds`), log-ins get Later.
Passwords are bcrypt hashes, checked on threads of their own: never on the event loop, and only so many at a time that a flood of log-ins leaves reads alone.
"""

import asyncio
import logging
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any

import bcrypt
import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from shared.contract import Reason
from shared.errors import Later, Refused
from shared.settings import Database

log = logging.getLogger(__name__)

LOOKUP_SECONDS = 3.0
AWAY_SECONDS = 5.0
"""How long a database that just failed is not asked again for somebody already known."""
KNOWN_USERS = 10_000
CHECKING_THREADS, WAITING_CHECKS = 2, 32
MAX_PASSWORD_BYTES = 72
"""bcrypt reads no further; a longer password was never set and never matches."""

_NOBODY = b"$2b$12$uWiTnBwIsCVPvRjq5WJbWuX9OULeT4BVGXXwAlJebG7BgJtE7o05S"
"""A hash of the usual cost that nobody has: an unknown e-mail takes as long as a known one."""

_COLUMNS = "SELECT u.id, u.email, u.active, t.id, t.name, t.active, u.password_hash FROM users u JOIN tenants t ON t.id = u.tenant_id"
_BY_EMAIL = f"{_COLUMNS} WHERE u.email = %s"
_BY_ID = f"{_COLUMNS} WHERE u.id = %s"


@dataclass(frozen=True, slots=True)
class User:
    """A person, and the one tenant whose data he reads."""

    id: str
    email: str
    active: bool
    tenant_id: str
    tenant_name: str
    tenant_active: bool

    @property
    def public(self) -> dict[str, Any]:
        """What the page is told."""
        return {"email": self.email, "tenant": {"id": self.tenant_id, "name": self.tenant_name}}


class Users:
    """Open it in `start` (`async with`); it starts without a database and says Later until there is one."""

    def __init__(self, settings: Database) -> None:
        self._ttl, self._stale = settings.token_ttl_seconds, settings.token_stale_seconds
        self._pool = AsyncConnectionPool(
            settings.database_url.get_secret_value(),
            min_size=1,
            max_size=4,
            open=False,
            timeout=LOOKUP_SECONDS,
            check=AsyncConnectionPool.check_connection,
            kwargs={"connect_timeout": 3},
        )
        self._threads = ThreadPoolExecutor(CHECKING_THREADS, thread_name_prefix="bcrypt")
        self._checking = 0
        self._known: OrderedDict[str, tuple[User, float]] = OrderedDict()
        self._late: set[asyncio.Task[tuple[Any, ...] | None]] = set()
        self._away_since = float("-inf")

    async def __aenter__(self) -> "Users":
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._pool.close()

    async def log_in(self, email: str, password: str) -> User:
        """The user with this e-mail and password.

        Raises Refused (401 without telling which was wrong, 403 for an inactive tenant), Later when the database can't be asked.
        """
        row = await self._ask(_BY_EMAIL, email.lower())
        matches = await self._matches(password, row[6].encode() if row else _NOBODY)
        if row is None or not matches or not row[2]:
            raise Refused(Reason.UNKNOWN_TOKEN, "e-mail or password is wrong", 401)
        return _welcome(self._remember(row))

    async def still(self, user_id: str, tenant_id: str) -> User:
        """The user with this id, if he still belongs to the tenant and both are active. Raises Refused (401, 403), Later."""
        user = await self._known_user(user_id)
        if user is None or not user.active or user.tenant_id != tenant_id:
            raise Refused(Reason.UNKNOWN_TOKEN, "the session has ended: log in again", 401)
        return _welcome(user)

    async def _known_user(self, user_id: str) -> User | None:
        user, asked = self._known.get(user_id, (None, float("-inf")))
        now = monotonic()
        if now - asked < self._ttl or (user and now - self._away_since < AWAY_SECONDS and now - asked < self._stale):
            return user
        try:
            row = await self._ask(_BY_ID, user_id)
        except Later:
            if user and now - asked < self._stale:
                return user
            raise
        if row is None:
            self._known.pop(user_id, None)
            return None
        return self._remember(row)

    def _remember(self, row: tuple[Any, ...]) -> User:
        user = User(str(row[0]), row[1], row[2], str(row[3]), row[4], row[5])
        self._known[user.id] = user, monotonic()
        self._known.move_to_end(user.id)
        if len(self._known) > KNOWN_USERS:
            self._known.popitem(last=False)
        return user

    async def _ask(self, question: str, value: str) -> tuple[Any, ...] | None:
        # A task of its own, left behind when it's late: psycopg answers a cancellation only after it has tried for 10 s to tell a silent server of it.
        asking = asyncio.create_task(self._fetch(question, value))
        self._late.add(asking)
        asking.add_done_callback(self._late.discard)
        if asking not in (await asyncio.wait({asking}, timeout=LOOKUP_SECONDS))[0]:
            asking.cancel()
            raise self._away("timeout")
        try:
            return asking.result()
        except (psycopg.Error, PoolTimeout) as error:
            raise self._away(type(error).__name__) from error

    async def _fetch(self, question: str, value: str) -> tuple[Any, ...] | None:
        async with self._pool.connection() as connection:
            return await (await connection.execute(question, (value,))).fetchone()

    def _away(self, why: str) -> Later:
        self._away_since = monotonic()
        log.warning("user look-up failed: %s", why)
        return Later("users can't be checked at the moment")

    async def _matches(self, password: str, hashed: bytes) -> bool:
        if self._checking >= WAITING_CHECKS:
            raise Later("too many log-ins at the same time")
        self._checking += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, matches, password, hashed)
        finally:
            self._checking -= 1


def matches(password: str, hashed: bytes) -> bool:
    """Whether the hash is this password's; takes the same time for one that can't be anybody's."""
    given = password.encode(errors="replace")
    possible = len(given) <= MAX_PASSWORD_BYTES and b"\0" not in given
    try:
        return bcrypt.checkpw(given if possible else b"-", hashed) and possible
    except ValueError:  # no bcrypt hash: a defect of whoever wrote the row
        log.exception("a user's password hash can't be read")
        return False


def _welcome(user: User) -> User:
    if not user.tenant_active:
        raise Refused(Reason.FORBIDDEN, "the tenant is not active", 403)
    return user
