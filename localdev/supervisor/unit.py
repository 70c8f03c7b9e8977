"""One service's life, told by one thread: install, wait for what it stands on, prepare, then start, probe, serve, restart.

A crash restarts it after 0.2 s, doubling to 5 s, and from the beginning again once it has been up for 30 s; before each start the whole old process group is
gone and the ports are free. What a person must mend (an installation, a taken port) ends in `failed` and is tried again by `begin`.
"""

import logging
import os
import signal
import threading
import time
from concurrent.futures import Executor, Future
from pathlib import Path

from localdev import processes
from localdev.ports import ports
from localdev.processes import Process
from localdev.service import Service
from localdev.supervisor.board import Board, State
from localdev.supervisor.reaper import Reaper

log = logging.getLogger(__name__)

BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 5.0
STEADY_SECONDS = 30.0
"""Up for so long, the next crash counts as the first."""
PROBE_SECONDS = 0.15
SETTLE_SECONDS = 1.0
"""Between two tries of the set-up."""


class Unit:
    """Keeps one service going on a thread of its own."""

    def __init__(self, service: Service, board: Board, reaper: Reaper, logs: Path) -> None:
        self.service = service
        self._board = board
        self._reaper = reaper
        self._log = logs / f"{service.name}.log"
        self._process: Process | None = None
        self._guard = threading.Lock()
        self._thread = threading.Thread()

    def begin(self, installs: Executor) -> None:
        """Start the service's life; its installation queues behind those that began earlier."""
        self._set(State.WAITING, detail="for its installation" if self.service.install else "", crashes=0)
        # Only what has something to install queues: behind two compilations, the rest of the stack would start when they are done.
        installed = installs.submit(self._install) if self.service.install else None
        self._thread = threading.Thread(target=self._live, args=(installed,), name=self.service.name, daemon=True)
        self._thread.start()

    def hold(self) -> None:
        """After Board.hold: SIGTERM, then SIGKILL. Returns when the process group is gone; the thread goes on when the service is let go."""
        with self._guard:
            process = self._process
        if process:
            self._set(detail="stopping")
            process.signal(signal.SIGTERM)
            if not self._board.wait_until_ended([self.service.name], self.service.stop_seconds):
                process.signal(signal.SIGKILL)
                self._board.wait_until_ended([self.service.name])

    def end(self) -> None:
        """After Board.stop: SIGTERM, then SIGKILL. Returns when the process group is gone."""
        with self._guard:
            process = self._process
        if process:
            self._set(detail="stopping")
            process.signal(signal.SIGTERM)
            self._thread.join(self.service.stop_seconds)
            if self._thread.is_alive():
                log.warning("%s did not stop within %s s: killed", self.service.name, self.service.stop_seconds)
                process.signal(signal.SIGKILL)
                self._thread.join()
        self._set(State.STOPPED, pid=None)

    def _set(self, state: State | None = None, **changes: object) -> None:
        self._board.update(self.service.name, state, **changes)

    def _install(self) -> None:
        if self.service.install and not self._board.stopping:
            self._set(State.INSTALLING)
            self.service.install(lambda line: self._set(detail=line))

    def _live(self, installed: Future[None] | None) -> None:
        try:
            if installed:
                installed.result()
            self._set(State.WAITING, detail=f"for {', '.join(self.service.after)}" if self.service.after else "")
            if not self._board.wait_for_state(self.service.after, frozenset({State.READY})):
                return
            if self.service.prepare:
                self.service.prepare()
            self._keep_running()
        except Exception as fault:  # recipes may raise anything; a thread's end must be seen
            log.exception("%s failed", self.service.name)
            self._set(State.FAILED, detail=str(fault) or type(fault).__name__, pid=None)

    def _keep_running(self) -> None:
        crashes = 0
        while not self._board.stopping:
            began = time.monotonic()
            ending = self._run_once()
            if self._board.stopping:
                return
            if not self._board.may_run(self.service.name):
                crashes = 0
                self._set(State.STOPPED, detail="on request; ./task start brings it back", pid=None, crashes=0)
                self._board.wait_while_held(self.service.name)
                continue
            crashes = 1 if time.monotonic() - began > STEADY_SECONDS else crashes + 1
            delay = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** (crashes - 1))
            log.warning("%s %s; starts again in %.1f s", self.service.name, ending, delay)
            restarts = self._board.statuses()[self.service.name].restarts + 1
            self._set(State.BACKOFF, detail=ending, pid=None, crashes=crashes, restarts=restarts)
            self._board.wait_for_stop(delay)

    def _run_once(self) -> str:
        """From start to end of one process; how it ended."""
        processes.check_ports(self._ports())
        with self._guard:
            if not self._board.may_run(self.service.name):
                return "not started"
            self._process = process = self._spawn()
        self._set(State.STARTING, pid=process.pid)
        log.info("%s started, pid %d", self.service.name, process.pid)
        if self._becomes_ready(process):
            self._set(State.READY)
            log.info("%s ready", self.service.name)
        ending = process.wait()
        with self._guard:
            self._process = None
        return ending

    def _spawn(self) -> Process:
        service = self.service
        user = "nobody" if service.unprivileged and os.geteuid() == 0 else None
        return processes.start(service.command(), {**os.environ, **service.env()}, service.cwd, self._log, self._reaper, user)

    def _becomes_ready(self, process: Process) -> bool:
        """Probe until the service answers and on_ready went through; false when the process ended or must end first."""
        while not process.ended() and not self._board.stopping:
            try:
                if self.service.ready():
                    self._set_up()
                    return True
                self._board.wait_for_stop(PROBE_SECONDS)
            except Exception as fault:  # a server that just came up may still say no, in any library's words
                log.exception("%s: set-up failed", self.service.name)
                self._set(detail=f"set-up failed, will be tried again: {fault}")
                self._board.wait_for_stop(SETTLE_SECONDS)
        return False

    def _set_up(self) -> None:
        if self.service.on_ready:
            self._set(detail="setting up")
            self.service.on_ready()

    def _ports(self) -> dict[str, int]:
        """The service's own: those variables of ports.env that begin with its name, and with no other service's longer one."""
        services = self._board.statuses()

        def owner(variable: str) -> str:
            return max((name for name in services if variable.startswith(f"{name.upper()}_")), key=len, default="")

        return {variable: port for variable, port in ports().items() if owner(variable) == self.service.name}
