"""The supervisor: starts what is ready to be started, keeps it running, stops it in reverse.

Promise: at most one per `.local`; whichever way it ends, its services end with it. SIGTERM and SIGINT stop everything; SIGHUP tries failed services again,
and stops and starts single ones as `state.hold` says.
Every service has a thread (see unit.py), so a slow compile delays only those that wait for it.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from localdev import processes
from localdev.service import Service
from localdev.supervisor import metrics, state
from localdev.supervisor.board import Board, State, Status
from localdev.supervisor.reaper import Reaper
from localdev.supervisor.unit import Unit

log = logging.getLogger(__name__)

PARALLEL_INSTALLS = 2
PUBLISH_SECONDS = 0.1
"""Shortest time between two writes of the status: installations report every line."""
TRIM_SECONDS = 5.0


class Supervisor:
    """All services of one stack."""

    def __init__(self, services: Iterable[Service], reaper: Reaper) -> None:
        self._services = list(services)
        self._board = Board({service.name: service.after for service in self._services})
        self._units = {service.name: Unit(service, self._board, reaper, state.log_folder()) for service in self._services}
        self._installs = ThreadPoolExecutor(PARALLEL_INSTALLS, "install")
        self._tries = 0
        self._publishing = threading.Lock()

    def start(self) -> None:
        """Begin every service's life and publish how it goes."""
        self._publish()
        for unit in self._units.values():
            unit.begin(self._installs)
        threading.Thread(target=self._keep_publishing, name="publisher", daemon=True).start()

    def statuses(self) -> dict[str, Status]:
        """How every service is doing."""
        return self._board.statuses()

    def obey(self) -> None:
        """End the services that are to be held, start those that no longer are, and give another chance to those that wait for a person."""
        held = state.held()
        self._board.hold(held)
        for name in held & self._units.keys():
            self._units[name].hold()
        for name, status in self._board.statuses().items():
            if status.state is State.FAILED:
                self._units[name].begin(self._installs)
        self._tries += 1
        self._publish()

    def stop(self) -> None:
        """End every service after those that stand on it. Installations are left to the reaper."""
        self._board.stop()
        with ThreadPoolExecutor(len(self._units) or 1) as enders:
            list(enders.map(self._end, self._units))
        self._publish()

    def _end(self, name: str) -> None:
        self._board.wait_until_ended(service.name for service in self._services if name in service.after)
        self._units[name].end()

    def _keep_publishing(self) -> None:
        version = 0
        while not self._board.wait_for_stop(PUBLISH_SECONDS):
            version = self._board.wait_for_news(version, TRIM_SECONDS)
            try:
                self._publish()
                for path in state.log_folder().glob("*.log"):
                    processes.trim_log(path)
            except OSError:  # a full disk; what runs goes on, and so does this
                log.exception("status not published")

    def _publish(self) -> None:
        with self._publishing:
            state.publish(os.getpid(), self._tries, self._board.statuses())


def run(services: Iterable[Service], metrics_port: int | None = None) -> None:
    """Be the supervisor until told to stop. Never returns: installations may still be running on threads that cannot be ended.

    `metrics_port`: of loopback, where to tell how the services are; None tells nobody.
    """
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s", force=True)
    requests = _signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    lock = state.acquire("supervisor", seconds=2)
    if lock is None:
        log.info("another supervisor runs already")
        sys.exit(0)
    supervisor = Supervisor(services, _start_reaper())
    supervisor.start()
    if metrics_port:
        metrics.serve(metrics_port, supervisor.statuses)
    while os.read(requests, 1)[0] == signal.SIGHUP:
        supervisor.obey()
    log.info("stopping")
    supervisor.stop()
    log.info("stopped")
    logging.shutdown()
    os._exit(0)


def _signals(*numbers: int) -> int:
    """A pipe with a byte, the number, for each of these signals from now on.

    Handlers in Python run only between two of the main thread's steps: of a signal that comes just before it waits for a lock or a queue, it would never hear.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return reading


def _start_reaper() -> Reaper:
    """Wait until a predecessor's reaper is done, then start ours, which holds the lock from then on and watches our own group too: installations run in it."""
    lock = state.acquire("reaper", seconds=30)
    if lock is None:
        sys.exit("processes of an earlier supervisor are still being ended; try again")
    with lock:
        reaper = Reaper(lock.fileno())
    processes.adopt_orphans()
    reaper.watch(os.getpgrp())
    return reaper
