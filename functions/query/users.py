"""Users in PostgreSQL: password check at log-in, and whether a logged-in one is still welcome.

Answers about known users are kept `token_ttl_seconds`; while the database is away known sessions go on (`token_stale_seconds`), log-ins get Later.
Passwords are bcrypt hashes, checked on threads of their own: never on the event loop, and only so many at a time that a flood of log-ins leaves reads alone.
"""

import asyncio
import logging
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import bcrypt

from shared.contract import Reason
from shared.database import Connection, Database
from shared.errors import Later, Refused
from shared.settings import Database as Settings

log = logging.getLogger(__name__)

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
    """Open it in `start` (`async with`), inside its database, which others may use too."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._ttl, self._stale = settings.token_ttl_seconds, settings.token_stale_seconds
        self._database = database
        self._threads = ThreadPoolExecutor(CHECKING_THREADS, thread_name_prefix="bcrypt")
        self._checking = 0
        self._known: OrderedDict[str, tuple[User, float]] = OrderedDict()
        self._away_since = float("-inf")

    async def __aenter__(self) -> "Users":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

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
        try:
            return await self._database.run(partial(_fetch, question, value))
        except Later as error:
            self._away_since = monotonic()
            raise Later("users can't be checked at the moment") from error

    async def _matches(self, password: str, hashed: bytes) -> bool:
        if self._checking >= WAITING_CHECKS:
            raise Later("too many log-ins at the same time")
        self._checking += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, matches, password, hashed)
        finally:
            self._checking -= 1


async def _fetch(question: str, value: str, connection: Connection) -> tuple[Any, ...] | None:
    return await (await connection.execute(question, (value,))).fetchone()


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
