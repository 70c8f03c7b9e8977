"""One process of the stack: in a session of its own, output to a bounded file, ended together with everything it started.

Promise: after `Process.wait` has returned, nothing of its process group runs, so its port is free (on Linux the supervisor adopts orphans and waits for them).
"""

import ctypes
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from localdev.supervisor.reaper import Reaper, signal_group

LOG_BYTES = 50_000_000
"""A log file is cut at this size; one older part of the same size is kept."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Loopback is never behind the proxy that the environment may name."""
_LAUNCH = Path(__file__).with_name("supervisor") / "launch.py"
_PR_SET_CHILD_SUBREAPER = 36


class PortTaken(Exception):
    """A port is held by a process that isn't ours."""


class Process:
    """A started process and its group. `wait` belongs to one thread; `signal` may be called from any."""

    def __init__(self, child: subprocess.Popen[bytes], reaper: Reaper) -> None:
        self._child = child
        self._reaper = reaper

    @property
    def pid(self) -> int:
        """Also the number of its group and session."""
        return self._child.pid

    def ended(self) -> bool:
        """Whether the main process has exited. For the waiting thread only."""
        return self._child.poll() is not None

    def signal(self, number: int) -> None:
        """Signal the whole group."""
        signal_group(self.pid, number)

    def wait(self) -> str:
        """Wait for the main process, kill what it left of its group, and say how it ended."""
        code = self._child.wait()
        self.signal(signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-self.pid, 0)
        self._reaper.forget(self.pid)
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def start(command: Sequence[str], env: Mapping[str, str], cwd: Path | None, log: Path, reaper: Reaper, user: str | None = None) -> Process:
    """Start `command` through launch.py, its output appended to `log`, and tell the reaper. The calling thread must outlive the process."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), user or "-", *command],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    reaper.watch(child.pid)
    return Process(child, reaper)


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent dies, so that `Process.wait` can wait for a crashed server's workers (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def trim_log(log: Path) -> None:
    """Keep a log bounded: beyond LOG_BYTES it becomes `<name>.1` and starts again. Writers append, so they go on at the new end."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


def last_lines(log: Path, count: int) -> list[str]:
    """The end of a log, without reading all of it."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - count * 400))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def answers(url: str, status: int = 200) -> Callable[[], bool]:
    """A probe: whether GET `url` answers with that status."""

    def probe() -> bool:
        try:
            with _DIRECT.open(url, timeout=2) as response:
                return bool(response.status == status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code == status
        except (OSError, http.client.HTTPException):
            return False

    return probe


def check_ports(ports: Mapping[str, int]) -> None:
    """Raises PortTaken, naming holder and remedy, unless each of these ports (variable → number) can be listened on."""
    faults = [
        f"port {port} ({name}) is taken by {_holder(port)}: stop it, or choose another port by {name}=…, or move all of them by OBSTACK_PORT_OFFSET=…"
        for name, port in ports.items()
        if not _is_free(port)
    ]
    if faults:
        raise PortTaken("; ".join(faults))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    """Who listens there, as far as this user may know."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another process"
