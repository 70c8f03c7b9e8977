"""Kills what a supervisor leaves behind, however it dies: a tiny process that reads process groups from a pipe until the supervisor's end closes.

Run as a bare file in a session of its own. Lines are `+GROUP` and `-GROUP`; at end of file each group still noted gets SIGTERM and, after a grace, SIGKILL.
Kernel and pipe do the watching, so kill -9 of the supervisor is noticed at once and nothing polls meanwhile.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import IO

GRACE_SECONDS = 5.0


class Reaper:
    """The supervisor's side."""

    def __init__(self, lock: int) -> None:
        """Start the process. It inherits the open file `lock`, so that a lock on it is held until the last group is gone."""
        self._process = subprocess.Popen([sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, start_new_session=True, pass_fds=[lock])
        assert self._process.stdin  # noqa: S101 given PIPE
        self._pipe: IO[bytes] = self._process.stdin

    def watch(self, group: int) -> None:
        """Kill this group should the supervisor die."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """The group is gone; its number may be given to somebody else."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        """One write below PIPE_BUF, so lines of several threads never mix."""
        os.write(self._pipe.fileno(), line.encode())


def signal_group(group: int, number: int) -> bool:
    """Signal every process of the group; false when there is none."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def kill(groups: set[int]) -> None:
    """SIGTERM, a grace, SIGKILL."""
    alive = {group for group in groups if signal_group(group, signal.SIGTERM)}
    deadline = time.monotonic() + GRACE_SECONDS
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)  # nobody tells a stranger that a group has ended
        alive = {group for group in alive if signal_group(group, 0)}
    for group in alive:
        signal_group(group, signal.SIGKILL)


def main() -> None:
    """Note groups until the pipe closes, then kill those that are left."""
    groups: set[int] = set()
    for line in sys.stdin:
        with suppress(ValueError):
            (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    kill(groups)


if __name__ == "__main__":
    main()
