"""Users and their sessions in PostgreSQL: password check at log-in, a row for each session, and whether a session still stands.

A session ends by its time, by logging out, and when its user gets another password, is deactivated or moved. An answer about it is believed SESSION_SECONDS;
while the database is away known sessions go on (`token_stale_seconds`), log-ins and log-outs get Later.
Passwords are bcrypt hashes, checked on threads of their own: never on the event loop, and only so many at a time that a flood of log-ins leaves reads alone.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any
from uuid import uuid4

import bcrypt

from shared.contract import Reason, Role
from shared.database import Connection, Database
from shared.errors import Later, Refused
from shared.settings import Database as Settings

log = logging.getLogger(__name__)

SESSION_SECONDS = 5.0
"""How long a session that was ended elsewhere may go on: one look-up by its key in this time, for each session in use."""
AWAY_SECONDS = 5.0
"""How long a database that just failed is not asked again for somebody already known."""
KNOWN_SESSIONS = 10_000
MOST_SESSIONS = 50
"""Of one user; another log-in ends the oldest."""
CHECKING_THREADS, MOST_LOGINS = 2, 32
"""MOST_LOGINS: under way at the same time, most of them waiting for a thread."""
MAX_PASSWORD_BYTES = 72
"""bcrypt reads no further; a longer password was never set and never matches."""

_NOBODY = b"$2b$12$uWiTnBwIsCVPvRjq5WJbWuX9OULeT4BVGXXwAlJebG7BgJtE7o05S"
"""A hash of the usual cost that nobody has: an unknown e-mail takes as long as a known one."""

_COLUMNS = "u.id, u.email, u.is_active, t.id, t.name, t.is_active, u.roles"
# An e-mail is stored in small letters, or as the platform took it. They are made small here, as for counting attempts (`session`): the database may do it
# otherwise, and find one user by e-mails that are counted apart, as those with İ for i.
_BY_EMAIL = f"""
SELECT {_COLUMNS}, u.hashed_password FROM telemetry.users u JOIN telemetry.tenants t ON t.id = u.tenant_id
WHERE u.email IN (%(given)s, %(lowered)s) ORDER BY u.email = %(given)s DESC LIMIT 1
"""  # noqa: S608 constants only, here and below
# Only if the password is still the one that was checked. The other sessions' rows are tidied by the way.
_BEGIN = """
WITH over AS (
    DELETE FROM telemetry.sessions WHERE user_id = %(user)s AND (expires_at < now() OR id IN (
        SELECT id FROM telemetry.sessions WHERE user_id = %(user)s ORDER BY created_at DESC OFFSET %(most)s - 1
    ))
)
INSERT INTO telemetry.sessions (id, user_id, password_mark, expires_at)
SELECT %(session)s, u.id, sha256(convert_to(u.hashed_password, 'UTF8')), now() + %(lifetime)s
FROM telemetry.users u WHERE u.id = %(user)s AND u.hashed_password = %(checked)s RETURNING id
"""
# The hash stays in the database.
_STANDING = f"""
SELECT {_COLUMNS} FROM telemetry.sessions s JOIN telemetry.users u ON u.id = s.user_id JOIN telemetry.tenants t ON t.id = u.tenant_id
WHERE s.id = %(session)s AND s.expires_at > now() AND s.password_mark = sha256(convert_to(u.hashed_password, 'UTF8'))
"""  # noqa: S608
_END = """
DELETE FROM telemetry.sessions WHERE id = %(session)s
OR (%(everywhere)s AND user_id = (SELECT user_id FROM telemetry.sessions WHERE id = %(session)s)) RETURNING id
"""


@dataclass(frozen=True, slots=True)
class User:
    """A person, and the one tenant whose data he reads."""

    id: str
    email: str
    active: bool
    tenant_id: str
    tenant_name: str
    tenant_active: bool
    role: Role

    @property
    def public(self) -> dict[str, Any]:
        """What the page is told."""
        return {"email": self.email, "roles": [self.role], "tenant": {"id": self.tenant_id, "name": self.tenant_name}}


class Users:
    """Open it in `start` (`async with`), inside its database, which others may use too."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._fresh, self._stale = min(SESSION_SECONDS, settings.token_ttl_seconds), settings.token_stale_seconds
        self._database = database
        self._threads = ThreadPoolExecutor(CHECKING_THREADS, thread_name_prefix="bcrypt")
        self._under_way = 0
        self._known: OrderedDict[str, tuple[User | None, float]] = OrderedDict()
        self._away_since = float("-inf")

    async def __aenter__(self) -> "Users":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One of the log-ins at the same time. Raises Later when there are too many."""
        if self._under_way >= MOST_LOGINS:
            raise Later("too many log-ins at the same time")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def log_in(self, email: str, password: str, lifetime: timedelta) -> tuple[User, str]:
        """The user with this e-mail and password, and the id of his new session.

        Raises Refused (401 without telling which was wrong, 403 for an inactive tenant), Later when the database can't be asked.
        """
        row = await self._ask(_BY_EMAIL, {"given": email, "lowered": email.lower()})
        # The platform may know users without a password, who were invited or come by another way: to be told apart from nobody by neither answer nor time.
        hashed = (row and row[7]) or ""
        matches = await self._matches(password, hashed.encode() or _NOBODY)
        if row is None or not hashed or not matches or not row[2]:
            raise _wrong()
        user, session = _welcome(_user(row)), str(uuid4())
        begun = {"session": session, "user": row[0], "checked": hashed, "lifetime": lifetime, "most": MOST_SESSIONS}
        if await self._ask(_BEGIN, begun) is None:
            raise _wrong()  # his password was changed at this moment
        self._remember(session, user)
        return user, session

    async def still(self, session: str, user_id: str, tenant_id: str) -> User:
        """The user of this session, if he is the one it was made for and welcome still. Raises Refused (401, 403), Later."""
        user = await self._known_user(session)
        if user is None or not user.active or (user.id, user.tenant_id) != (user_id, tenant_id):
            raise Refused(Reason.UNKNOWN_TOKEN, "the session has ended: log in again", 401)
        return _welcome(user)

    async def log_out(self, session: str, everywhere: bool) -> None:
        """End it, or all of its user's. Raises Later: then it may go on elsewhere."""
        user, _ = self._known.pop(session, (None, 0.0))
        if everywhere and user:
            for other in [other for other, (known, _) in self._known.items() if known and known.id == user.id]:
                del self._known[other]
        await self._ask(_END, {"session": session, "everywhere": everywhere})
        # Whoever asked about it meanwhile may have put it back.
        self._remember(session, None)

    async def _known_user(self, session: str) -> User | None:
        user, asked = self._known.get(session, (None, float("-inf")))
        now = monotonic()
        if now - asked < self._fresh or (user and now - self._away_since < AWAY_SECONDS and now - asked < self._stale):
            return user
        try:
            row = await self._ask(_STANDING, {"session": session})
        except Later:
            if user and now - asked < self._stale:
                return user
            raise
        return self._remember(session, _user(row) if row else None)

    def _remember(self, session: str, user: User | None) -> User | None:
        self._known[session] = user, monotonic()
        self._known.move_to_end(session)
        if len(self._known) > KNOWN_SESSIONS:
            self._known.popitem(last=False)
        return user

    async def _ask(self, question: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        try:
            return await self._database.run(partial(_fetch, question, values))
        except Later as error:
            self._away_since = monotonic()
            raise Later("users can't be checked at the moment") from error

    async def _matches(self, password: str, hashed: bytes) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._threads, matches, password, hashed)


async def _fetch(question: str, values: Mapping[str, Any], connection: Connection) -> tuple[Any, ...] | None:
    return await (await connection.execute(question, values)).fetchone()


def _user(row: tuple[Any, ...]) -> User:
    # The platform keeps a list of words; those that mean nothing here make nobody an admin.
    role = Role.ADMIN if isinstance(row[6], list) and Role.ADMIN in row[6] else Role.VIEWER
    return User(str(row[0]), row[1], row[2], str(row[3]), row[4], row[5], role)


def matches(password: str, hashed: bytes) -> bool:
    """Whether the hash is this password's; takes the same time for one that can't be anybody's."""
    given = password.encode(errors="replace")
    possible = len(given) <= MAX_PASSWORD_BYTES and b"\0" not in given
    try:
        return bcrypt.checkpw(given if possible else b"-", hashed) and possible
    except ValueError:  # no bcrypt hash: a defect of whoever wrote the row
        log.exception("a user's password hash can't be read")
        return False


def _wrong() -> Refused:
    return Refused(Reason.UNKNOWN_TOKEN, "e-mail or password is wrong", 401)


def _welcome(user: User) -> User:
    if not user.tenant_active:
        raise Refused(Reason.FORBIDDEN, "the tenant is not active", 403)
    return user
