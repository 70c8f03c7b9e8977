"""What a person asks of the supervisor: up, down, status; stop and start of one service. The supervisor is another process; these talk to it by signals and
read what it publishes.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from localdev.paths import ROOT, local
from localdev.processes import last_lines
from localdev.supervisor import state
from localdev.supervisor.board import State, Status
from localdev.supervisor.state import Snapshot

SUPERVISOR = (sys.executable, "-m", "localdev.supervisor")
HOPELESS_CRASHES = 5
"""Crashes in a row after which `up` stops hoping; the supervisor doesn't."""
LOG_LINES = 15
_POLL_SECONDS = 0.1


class Display(Protocol):
    """Shows how it goes; called several times a second."""

    def show(self, services: dict[str, Status]) -> None: ...


class Failure(Exception):
    """Why the stack isn't as asked, with the remedy."""


def up(display: Display, wanted: Collection[str] = (), timeout: float = float("inf"), command: Sequence[str] = SUPERVISOR) -> Snapshot:
    """Start the supervisor unless it runs, then wait until `wanted` (all, if empty) is ready. Raises Failure."""
    deadline = time.monotonic() + timeout
    before = state.snapshot()
    child = None
    state.let_go(state.held())
    if pid := state.running():
        os.kill(pid, signal.SIGHUP)
    else:
        child = _start_detached(command)
    tries = before.tries + 1 if before else 0
    while time.monotonic() < deadline:
        now = state.snapshot()
        if now is None and (child is None or child.poll() is not None) and not state.running():
            raise Failure(_ended())
        if now and now.tries >= tries:
            display.show(now.services)
            if _settled(now.services, wanted):
                return now
        time.sleep(_POLL_SECONDS)
    raise Failure(_late(state.snapshot(), wanted, timeout))


def down(timeout: float = 120) -> bool:
    """Stop the supervisor and wait until all its processes are gone; false when none ran. Raises Failure when it doesn't stop."""
    pid = state.running()
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    for name in ("supervisor", "reaper"):
        lock = state.acquire(name, max(0.0, deadline - time.monotonic()))
        if lock is None:
            raise Failure(f"not stopped after {timeout:.0f} s; kill -9 {pid} ends it and everything it runs")
        lock.close()
    return True


def stop(name: str, timeout: float = 60) -> None:
    """Stop one service of the running stack, cleanly; its port refuses until `start`, or `up`. Raises Failure."""
    before = _running_with(name)
    state.hold(name)
    os.kill(before.pid, signal.SIGHUP)
    _wait_for(name, timeout, lambda now: now.services[name].state is State.STOPPED)


def start(name: str, timeout: float = 120) -> None:
    """Start one that was stopped, and wait until it is ready. Raises Failure."""
    before = _running_with(name)
    state.let_go([name])
    os.kill(before.pid, signal.SIGHUP)
    _wait_for(name, timeout, lambda now: now.tries > before.tries and _settled(now.services, [name]))


def _running_with(name: str) -> Snapshot:
    now = state.snapshot()
    if now is None:
        raise Failure("no stack is running; ./task up starts it")
    if name not in now.services:
        raise Failure(_unknown({name}, now.services))
    return now


def _wait_for(name: str, timeout: float, done: Callable[[Snapshot], bool]) -> None:
    deadline = time.monotonic() + timeout
    while now := state.snapshot():
        if done(now):
            return
        if time.monotonic() > deadline:
            raise Failure(f"{name} is {now.services[name].state} after {timeout:.0f} s; ./task status, ./task logs -- {name}")
        time.sleep(_POLL_SECONDS)
    raise Failure(_ended())


def _start_detached(command: Sequence[str]) -> subprocess.Popen[bytes]:
    with (state.log_folder() / "supervisor.log").open("ab") as log:
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    threading.Thread(target=child.wait, daemon=True).start()  # a zombie of ours would keep its process group alive in the reaper's eyes
    return child


def _settled(services: dict[str, Status], wanted: Collection[str]) -> bool:
    """Whether all wanted services are ready. Raises Failure for one that won't become so."""
    names = set(wanted or services)
    if unknown := names - services.keys():
        raise Failure(_unknown(unknown, services))
    while more := {after for name in names for after in services[name].after} - names:
        names |= more
    for name in names:
        status = services[name]
        if status.state is State.FAILED or status.crashes >= HOPELESS_CRASHES:
            raise Failure(_failed(name, status))
    return all(services[name].state is State.READY for name in names)


def _unknown(names: Iterable[str], services: Iterable[str]) -> str:
    return f"no service is called {', '.join(sorted(names))}; there are {', '.join(services)}"


def _failed(name: str, status: Status) -> str:
    path = state.log_folder() / f"{name}.log"
    log = "".join(f"  {line}\n" for line in last_lines(path, LOG_LINES))
    times = f", {status.crashes} times in a row" if status.crashes else ""
    return (
        f"{name}: {status.detail}{times}\n"
        + (f"The last lines of {path}:\n{log}" if log else "")
        + "Remedy: mend this, then run ./task up again; the rest goes on meanwhile. ./task down stops everything."
    )


def _ended() -> str:
    path = state.log_folder() / "supervisor.log"
    return "\n".join([f"the supervisor ended. The last lines of {path}:", *(f"  {line}" for line in last_lines(path, LOG_LINES))])


def _late(now: Snapshot | None, wanted: Collection[str], timeout: float) -> str:
    services = now.services if now else {}
    waiting = [
        f"{name} ({status.state} {status.detail})" for name, status in services.items() if status.state is not State.READY and name in (wanted or services)
    ]
    missing = ", ".join(waiting) or "the supervisor"
    return f"not ready after {timeout:.0f} s: {missing}. It goes on in the background: ./task status, ./task logs -- NAME (in {local() / 'logs'})"
