"""The network edges of the functions, replaced: a broker behind confluent-kafka's Producer, a database behind psycopg's pool.

Everything on our side of these two is the real code.
"""

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

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


@dataclass
class Broker:
    """Topics in memory. `error`: what every delivery report says; `full`: the client's queue takes nothing more."""

    messages: list[Message] = field(default_factory=list)
    error: KafkaError | None = None
    full: bool = False

    def producer(self, _: dict[str, Any], **__: Any) -> "Producer":
        return Producer(self)


class Producer:
    """confluent-kafka's Producer: delivery reports come from `poll`, on the polling thread."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._reports: deque[Any] = deque()
        self._waiting = Condition()

    def produce(self, topic: str, value: bytes, key: str, headers: list[tuple[str, bytes]], on_delivery: Any) -> None:
        if self._broker.full:
            raise BufferError("Local: Queue full")
        if topic == "unknown":
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        if self._broker.error is None:
            self._broker.messages.append(Message(topic, key, value, {name: text.decode("ascii") for name, text in headers}))
        with self._waiting:
            self._reports.append((on_delivery, self._broker.error))
            self._waiting.notify()

    def poll(self, timeout: float) -> int:
        with self._waiting:
            self._waiting.wait_for(lambda: self._reports, timeout)
            reports, self._reports = list(self._reports), deque()
        for report, error in reports:
            report(error, None)
        return len(reports)

    def flush(self, _: float) -> int:
        self.poll(0)
        return 0


@dataclass
class Database:
    """Rows of the token look-up by the token's digest. `down`: every connection fails; `asked`: how many look-ups there were."""

    tokens: dict[bytes, tuple[Any, ...]] = field(default_factory=dict)
    down: bool = False
    asked: int = 0

    def add(self, token: str, row: tuple[Any, ...]) -> None:
        self.tokens[tokens.digest(token)] = row

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
        if self._database.down:
            raise psycopg.OperationalError("connection refused")
        yield self

    async def execute(self, _: str, parameters: tuple[bytes]) -> "Cursor":
        return Cursor(self._database.tokens.get(parameters[0]))


@dataclass
class Cursor:
    """One answer."""

    row: tuple[Any, ...] | None

    async def fetchone(self) -> tuple[Any, ...] | None:
        return self.row
