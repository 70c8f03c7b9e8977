"""The network edges of the functions, replaced: a broker behind confluent-kafka's Producer, a database behind psycopg's pool.

Everything on our side of these two is the real code.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import psycopg
from confluent_kafka import KafkaError, KafkaException

from shared import tokens


@dataclass
class Message:
    """What a topic would hold."""

    topic: str
    key: str
    value: bytes
    headers: dict[str, str]

    def partition(self) -> int:
        return crc32(self.key.encode()) % PARTITIONS


PARTITIONS = 8


@dataclass
class Broker:
    """Topics in memory. `error`: what every delivery report says; `persisted`: the message is there all the same; `full`: the queue takes nothing more;
    `silent`: no report comes; `fatal`: the producers that there are take nothing any more.
    """

    messages: list[Message] = field(default_factory=list)
    error: KafkaError | None = None
    full: bool = False
    silent: bool = False
    persisted: bool = False
    fatal: set["Producer"] = field(default_factory=set)
    producers: list["Producer"] = field(default_factory=list)

    def producer(self, _: dict[str, Any], **__: Any) -> "Producer":
        self.producers.append(Producer(self))
        return self.producers[-1]


class Producer:
    """confluent-kafka's Producer: delivery reports come from `poll`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._reports: deque[Any] = deque()
        self._unreported: list[Any] = []

    def produce(self, topic: str, value: bytes, key: str, headers: list[tuple[str, bytes]], on_delivery: Any) -> None:
        if self._broker.full:
            raise BufferError("Local: Queue full")
        if self in self._broker.fatal:
            raise KafkaException(KafkaError(KafkaError._FATAL, "sequence numbers have parted", True))
        if topic == "unknown":
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        message = Message(topic, key, value, {name: text.decode("ascii") for name, text in headers})
        if self._broker.error is None or self._broker.persisted:
            self._broker.messages.append(message)
        self._unreported.append((on_delivery, message))
        if not self._broker.silent:
            self._reports.append((*self._unreported.pop(), self._broker.error))

    def purge(self) -> None:
        """What has no report yet gets one: that it was purged."""
        self._reports += [(*one, KafkaError(KafkaError._PURGE_QUEUE)) for one in self._unreported]
        self._unreported.clear()

    def poll(self, _: float) -> int:
        reports, self._reports = list(self._reports), deque()
        for report, message, error in reports:
            report(error, message)
        return len(reports)


STANDARD = (500.0, 50_000_000.0, 10.0, 64 * 1024 * 1024)
"""A plan's columns, as the token look-up reads them."""


@dataclass
class Database:
    """Rows of the token look-up by the token's digest, and of the look-ups of `users` (with `id`, `email`, `row`, `password_hash`) and of their `sessions`.

    Any other statement is kept and answered from `answers`, or with no rows.
    `down`: every connection fails; `frozen`: nothing is answered, cancelled or not; `asked`: how many questions there were.
    """

    tokens: dict[bytes, tuple[Any, ...]] = field(default_factory=dict)
    users: list[Any] = field(default_factory=list)
    sessions: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """User's id and password hash by session id."""
    down: bool = False
    frozen: bool = False
    asked: int = 0
    statements: list[tuple[str, Any]] = field(default_factory=list)
    answers: deque[list[tuple[Any, ...]]] = field(default_factory=deque)
    flags: list[tuple[str, str | None, str, float | None]] = field(default_factory=list)
    """Name, tenant's id or None, value, seconds until it ends or None."""

    ending: tuple[int, int, int] = (0, 0, 0)
    """Tokens that end within a day, within a week, and those that have ended."""

    def add(self, token: str, row: tuple[Any, ...], plan: tuple[float, ...] = STANDARD, period: str = "day") -> None:
        """`row`: token id, tenant id, scopes, expiry, whether the tenant is active."""
        digest = tokens.digest(token)
        self.tokens[digest] = (digest, *row, period, *plan)

    def account(self, statement: str, given: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        """A log-in's look-up, a session's beginning, look-up and end."""
        if "DELETE FROM telemetry.sessions WHERE id" in statement:
            owner = self.sessions.pop(given["session"], None)
            for other in [other for other, (user, _) in self.sessions.items() if given["everywhere"] and owner and user == owner[0]]:
                del self.sessions[other]
            return
        for user in list(self.users):
            if "INTO telemetry.sessions" in statement:
                if (user.id, user.password_hash) == (given["user"], given["checked"]):
                    self.sessions[given["session"]] = user.id, user.password_hash
                    yield (given["session"],)
            elif "WHERE s.id" in statement:
                if self.sessions.get(given["session"]) == (user.id, user.password_hash):
                    yield user.row
            elif user.email in {given["given"], given["lowered"]}:
                yield (*user.row, user.password_hash)

    def pool(self, *_: Any, **__: Any) -> "Pool":
        return Pool(self)


class Pool:
    """psycopg's AsyncConnectionPool."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, **_: Any) -> None: ...

    async def close(self) -> None: ...

    @asynccontextmanager
    async def connection(self) -> Any:
        self._database.asked += 1
        while self._database.frozen:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        if self._database.down:
            raise psycopg.OperationalError("connection refused")
        yield self

    async def execute(self, statement: str, parameters: Any = None) -> "Cursor":
        if "sha256 = ANY" in statement:
            return Cursor([row for digest in parameters[0] if (row := self._database.tokens.get(digest))])
        if "telemetry.users" in statement or "FROM telemetry.sessions" in statement:
            return Cursor(list(self._database.account(statement, parameters)))
        if "telemetry.flags" in statement:
            return Cursor([row for row in self._database.flags if row[0] in parameters[0]])
        if "s.replaces = k.id" in statement:
            return Cursor([self._database.ending])
        self._database.statements.append((statement, parameters))
        return Cursor(self._database.answers.popleft() if self._database.answers else [])


@dataclass
class Cursor:
    """One answer."""

    rows: list[tuple[Any, ...]]

    async def fetchone(self) -> tuple[Any, ...] | None:
        return self.rows[0] if self.rows else None

    async def fetchall(self) -> list[tuple[Any, ...]]:
        return self.rows
