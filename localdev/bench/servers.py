"""The servers under test as processes, and what they use: CPU and memory of all their processes together, never the broker's.

They are started by the commands of the stack (functions) or of `stack/collector/bench.yml`, are children of the measurement and end with it.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from localdev import functions
from localdev.backends import folders
from localdev.bench import stack
from localdev.install import servers
from localdev.paths import ROOT
from localdev.ports import ports
from localdev.processes import last_lines
from localdev.service import Service
from localdev.supervisor import launch, state
from shared.contract import Topic

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
COLLECTOR = "Collector"


class NotReady(Exception):
    """A server under test ended or didn't get ready."""


@dataclass(frozen=True)
class Server:
    """A running server under test."""

    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """CPU that all its processes have used so far, in user and kernel mode."""
        return sum(map(_cpu_seconds, self._processes()))

    def memory(self) -> tuple[int, int]:
        """Bytes of all its processes: PSS (a page that several share counts by its share), and the plain sum of RSS."""
        usages = [process.memory_full_info() for process in self._processes()]
        return sum(getattr(usage, "pss", usage.rss) for usage in usages), sum(usage.rss for usage in usages)

    def _processes(self) -> list[psutil.Process]:
        main = psutil.Process(self.pid)
        return [main, *main.children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    """From the process' own clock where there is one (Linux): psutil's figures have steps of 10 ms."""
    if sys.platform == "linux":
        with suppress(OSError):
            return time.clock_gettime(~process.pid << 3 | 2)  # as clock_getcpuclockid(3) makes it, which Python doesn't have
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def function(name: str) -> Iterator[Server]:
    """A function, as the stack runs it, until the end of the block. Raises NotReady."""
    service, port = described(name)
    with process(name, service.command(), service.env()) as child:
        _wait(name, child, service.ready)
        yield Server(name, port, child.pid)


def described(name: str) -> tuple[Service, int]:
    """A function's row as a service, and its port."""
    service = next(service for service in functions.services() if service.name == name)
    return service, next(row.port for row in functions.catalogue() if row.name == name)


@contextmanager
def collector() -> Iterator[Server]:
    """The Collector that writes to the reference topics, until the end of the block. It must be installed. Raises NotReady."""
    topics = {f"{topic.name}_TOPIC": stack.reference(topic) for topic in (Topic.LOGS, Topic.METRICS, Topic.TRACES)}
    config = folders.render("collector/bench.yml", folders.config("collector") / "bench.yml", folders.values(**topics))
    port = ports()["AGENT_OTLP_PORT"]
    with process("collector", [str(collector_binary()), f"--config={config}"], {}) as child:
        _wait(COLLECTOR, child, lambda: _listens(port))
        yield Server(COLLECTOR, port, child.pid)


def collector_binary() -> Path:
    """There once `install_collector` is done."""
    return servers.bench_collector.binary()


def install_collector(progress: Callable[[str], None]) -> None:
    """Compile it, once a machine. Raises InstallError."""
    servers.install(servers.bench_collector, progress)


@contextmanager
def process(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A child through the supervisor's launcher, so that it dies with us however we end; SIGTERM and a wait at the end."""
    bound = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "-", *command]
    with (state.log_folder() / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(bound, cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait(name: str, child: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        if child.poll() is not None or time.monotonic() > deadline:
            log = state.log_folder() / f"{'collector' if name == COLLECTOR else name}.log"
            raise NotReady(f"{name} did not get ready. The last lines of {log}:\n" + "\n".join(last_lines(log, 15)))
        time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
