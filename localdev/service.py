"""What the supervisor needs to know of one process: how to install, prepare, start, probe and stop it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Progress = Callable[[str], None]
"""Called with a short line, such as "compiling (3 of 4)", whenever an installation gets further."""


@dataclass(frozen=True)
class Service:
    """One supervised process.

    `command` and `env` are called just before each start, so they may use what `install` and `prepare` made.
    """

    name: str
    command: Callable[[], list[str]]
    ready: Callable[[], bool]
    """Blocking probe, answered within 2 s; true when the process serves."""
    after: tuple[str, ...] = ()
    """Names of services that must be ready before this one starts."""
    env: Callable[[], Mapping[str, str]] = field(default=dict)
    """Variables on top of the supervisor's own environment."""
    cwd: Path | None = None
    install: Callable[[Progress], None] | None = None
    """Makes what is needed on disk, in the cache; a quick no-op when it is there. Raises InstallError with the remedy."""
    prepare: Callable[[], None] | None = None
    """Writes configuration and initialises storage, before the first start only; a no-op when done."""
    on_ready: Callable[[], None] | None = None
    """Runs once after each time the service became ready (create topics, migrate tables); must be idempotent."""
    unprivileged: bool = False
    """As root, run as the user `nobody` (OpenSearch and PostgreSQL refuse root); `prepare` has handed it its folders."""
    stop_seconds: float = 15.0
    """SIGTERM, then SIGKILL to the process group after this long."""


class InstallError(Exception):
    """An installation step failed: what, the last lines of its output, and the remedy."""
