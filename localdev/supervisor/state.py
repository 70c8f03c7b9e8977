"""What other processes may know of a supervisor: whether one runs, its pid, the status of its services.

A lock on `run/supervisor.lock` is the only sign of life: the kernel drops it however the supervisor dies, so no stale file can lie. A second lock is held
by the reaper until the last process of a dead supervisor is gone.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from localdev.paths import local
from localdev.supervisor.board import Status


def run_folder() -> Path:
    """Locks and status; made when missing."""
    return _folder("run")


def log_folder() -> Path:
    """One log per service, and `supervisor.log`; made when missing."""
    return _folder("logs")


def _folder(name: str) -> Path:
    folder = local() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Snapshot:
    """The last published state. `tries` counts how often failed services were given another chance."""

    pid: int
    tries: int
    services: dict[str, Status]


def held() -> frozenset[str]:
    """Services that the supervisor shall keep stopped. It looks when it gets SIGHUP."""
    return frozenset(path.name for path in _folder("run/held").iterdir())


def hold(name: str) -> None:
    """Make it one of those."""
    (_folder("run/held") / name).touch()


def let_go(names: Iterable[str]) -> None:
    """Undo `hold`."""
    for name in names:
        (_folder("run/held") / name).unlink(missing_ok=True)


def publish(pid: int, tries: int, services: Mapping[str, Status]) -> None:
    """Replace `status.json` at one stroke, so that readers never see half of it."""
    path = run_folder() / "status.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"pid": pid, "tries": tries, "services": {name: status.as_json() for name, status in services.items()}}, indent=1))
    new.replace(path)


def snapshot() -> Snapshot | None:
    """What the running supervisor published; None when none runs or it has not said anything yet."""
    pid = running()
    try:
        raw = json.loads((run_folder() / "status.json").read_text())
    except FileNotFoundError:
        return None
    if pid is None or raw["pid"] != pid:
        return None
    return Snapshot(pid, raw["tries"], {name: Status.from_json(fields) for name, fields in raw["services"].items()})


def acquire(name: str, seconds: float) -> IO[str] | None:
    """Lock `run/<name>.lock` and write our pid into it; None when somebody else still holds it after so long.

    Open until the process ends. The tries are repeated since `running` holds the lock for an instant.
    """
    file = (run_folder() / f"{name}.lock").open("a+")
    deadline = time.monotonic() + seconds
    while not _try_lock(file, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            file.close()
            return None
        time.sleep(0.02)
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def running() -> int | None:
    """Pid of the running supervisor; None when there is none."""
    with (run_folder() / "supervisor.lock").open("a+") as file:
        if _try_lock(file, fcntl.LOCK_SH):
            return None
        file.seek(0)
        with suppress(ValueError):
            return int(file.read())
    time.sleep(0.02)  # locked, and about to write its pid
    return running()


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
