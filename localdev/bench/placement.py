"""Who runs where: processes bound to cores, or held to a share of one, so that on a small machine it is the same part that limits both sides of a comparison.

Linux only: `sched_setaffinity(2)` for cores; the `cpu` controller of cgroup v1 or v2 for shares, as containers have it, which needs the right to make a group.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
_PERIOD_US = 20_000
"""Containers usually have 100,000: so long a pause of an instance would be a good part of a turn."""


def cores() -> list[int]:
    """That this process may use; none where nobody can be bound to one."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []


@contextmanager
def bound(where: Mapping[int, int]) -> Iterator[None]:
    """Processes (by pid, with their children) to one core each, all their threads, until the end of the block; after it they may use all again."""
    everywhere = cores()
    try:
        for pid, core in where.items():
            _bind(pid, [core])
        yield
    finally:
        for pid in where:
            _bind(pid, everywhere)


def _bind(pid: int, to: Iterable[int]) -> None:
    # A thread that another one makes meanwhile is where that one was: twice finds it.
    for _ in range(2):
        with suppress(psutil.NoSuchProcess):
            for thread in [thread for process in family(pid) for thread in process.threads()]:
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, to)


@contextmanager
def limited(pids: Iterable[int], share: float) -> Iterator[None]:
    """Each of these processes, with its children, to that part of a core until the end of the block. Raises OSError where that can't be had."""
    made: list[Path] = []
    try:
        for pid in pids:
            group = above() / f"obstack-bench-{pid}"
            group.mkdir(exist_ok=True)
            made.append(group)
            _hold(group, round(_PERIOD_US * share))
            _move([process.pid for process in family(pid)], group)
        yield
    finally:
        for group in made:
            _move(map(int, (group / "cgroup.procs").read_text().split()), above())
            group.rmdir()


def above() -> Path:
    """Where groups are made: of v1, else of v2."""
    return _GROUPS / "cpu" if (_GROUPS / "cpu").is_dir() else _GROUPS


def _hold(group: Path, quota: int) -> None:
    """Microseconds of CPU in each period."""
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
    else:
        (group / "cpu.cfs_period_us").write_text(f"{_PERIOD_US}")
        (group / "cpu.cfs_quota_us").write_text(f"{quota}")


def _move(pids: Iterable[int], group: Path) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            (group / "cgroup.procs").write_text(f"{pid}")


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    main = psutil.Process(pid)
    return [main, *main.children(recursive=True)]
