"""How every service is doing: written by the services' threads, waited on by each other, published to other processes by the supervisor.

One condition variable carries all news, so nobody polls: a service waiting for another, the publisher, and whoever sleeps through a backoff until told to stop.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where a service is in its life."""

    WAITING = "waiting"
    INSTALLING = "installing"
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Status:
    """One service. `crashes` counts those in a row, `restarts` all of them; `since` is when the state began."""

    state: State = State.WAITING
    detail: str = ""
    pid: int | None = None
    restarts: int = 0
    crashes: int = 0
    after: tuple[str, ...] = ()
    since: float = field(default_factory=time.time)

    def as_json(self) -> dict[str, Any]:
        """For `status.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Status":
        """The inverse of as_json."""
        return cls(**{**fields, "state": State(fields["state"]), "after": tuple(fields["after"])})


class Board:
    """Thread-safe, by name of service."""

    def __init__(self, services: Mapping[str, tuple[str, ...]]) -> None:
        """`services`: name → names it starts after."""
        self._news = threading.Condition()
        self._statuses = {name: Status(after=after) for name, after in services.items()}
        self._version = 0
        self._held: frozenset[str] = frozenset()
        self._stopping = False

    def update(self, name: str, state: State | None = None, **changes: Any) -> None:
        """Change a service's status; a new state starts its `since`, and its detail anew."""
        with self._news:
            old = self._statuses[name]
            if state and state != old.state:
                changes = {"detail": "", "since": time.time(), **changes, "state": state}
            self._statuses[name] = replace(old, **changes)
            self._tell()

    def statuses(self) -> dict[str, Status]:
        """A copy, in the order of the services."""
        with self._news:
            return dict(self._statuses)

    def stop(self) -> None:
        """From now on nothing is started."""
        with self._news:
            self._stopping = True
            self._tell()

    @property
    def stopping(self) -> bool:
        """Whether stop was called."""
        return self._stopping

    def hold(self, names: frozenset[str]) -> None:
        """From now on these services, and no others, are not started."""
        with self._news:
            self._held = names
            self._tell()

    def may_run(self, name: str) -> bool:
        """Whether the service may be started: the stack isn't being stopped, and nobody holds the service."""
        return not self._stopping and name not in self._held

    def wait_while_held(self, name: str) -> None:
        """Until the service is let go, or the stack is being stopped."""
        self._wait(lambda: self._stopping or name not in self._held)

    def wait_for_state(self, names: Iterable[str], states: frozenset[State]) -> bool:
        """Until each of these services is in one of `states`; false when the stack is being stopped first."""
        wanted = list(names)
        self._wait(lambda: self._stopping or all(self._statuses[name].state in states for name in wanted))
        return not self._stopping

    def wait_until_ended(self, names: Iterable[str], seconds: float | None = None) -> bool:
        """Until none of these services has a process, or so long; whether it is so."""
        wanted = list(names)
        return self._wait(lambda: all(self._statuses[name].pid is None for name in wanted), seconds)

    def wait_for_stop(self, seconds: float) -> bool:
        """Sleep, unless the stack is being stopped: then true, at once."""
        self._wait(lambda: self._stopping, seconds)
        return self._stopping

    def wait_for_news(self, version: int, seconds: float) -> int:
        """Until something has changed since `version`, or so long; the version to ask with next time."""
        self._wait(lambda: self._version != version, seconds)
        return self._version

    def _wait(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        with self._news:
            return self._news.wait_for(condition, seconds)

    def _tell(self) -> None:
        self._version += 1
        self._news.notify_all()
