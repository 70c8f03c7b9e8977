"""The servers under test as processes, and what they use: CPU and memory of all their processes together, never the broker's.

They are started by the commands of the stack (functions, trigger) or of `stack/collector/bench*.yml`, are children of the measurement and end with it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from localdev import functions, processes
from localdev.backends import folders, loki, prometheus
from localdev.bench import placement, stack, stand_in, trigger
from localdev.install import servers
from localdev.paths import ROOT
from localdev.ports import free_port, listens, ports
from localdev.processes import last_lines
from localdev.service import Service
from localdev.supervisor import launch, state
from shared.contract import Topic

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
COLLECTOR = "Collector"
WITHOUT_SPANS: Final = {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}
"""No spans of ours: what is measured beside them makes none, and here is nobody to take them."""


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
        return sum(map(_cpu_seconds, placement.family(self.pid)))

    def memory(self) -> tuple[int, int]:
        """Bytes of all its processes: PSS (a page that several share counts by its share), and the plain sum of RSS."""
        usages = [process.memory_full_info() for process in placement.family(self.pid)]
        return sum(getattr(usage, "pss", usage.rss) for usage in usages), sum(usage.rss for usage in usages)


def _cpu_seconds(process: psutil.Process) -> float:
    """From the process' own clock where there is one (Linux): psutil's figures have steps of 10 ms."""
    if sys.platform == "linux":
        with suppress(OSError):
            return time.clock_gettime(~process.pid << 3 | 2)  # as clock_getcpuclockid(3) makes it, which Python doesn't have
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def function(name: str, port: int | None = None, **settings: str) -> Iterator[Server]:
    """A function, as the stack runs it, until the end of the block; on another port and with other settings where given. Raises NotReady."""
    service, usual = described(name)
    port = port or usual
    command = [str(port) if word == str(usual) else word for word in service.command()]
    with process(name, command, {**service.env(), **WITHOUT_SPANS, **settings}) as child:
        _wait(name, child, processes.answers(f"http://127.0.0.1:{port}/readyz"))
        yield Server(name, port, child.pid)


def described(name: str) -> tuple[Service, int]:
    """A function's row as a service, and its port."""
    service = next(service for service in functions.services() if service.name == name)
    return service, next(row.port for row in functions.catalogue() if row.name == name)


def collector() -> AbstractContextManager[Server]:
    """The Collector that writes to the reference topics, until the end of the block. It must be installed. Raises NotReady."""
    topics = {f"{topic.name}_TOPIC": stack.reference(topic) for topic in (Topic.LOGS, Topic.METRICS, Topic.TRACES)}
    return _collector("bench.yml", ports()["AGENT_OTLP_PORT"], topics)


def collector_to_loki(tenant_id: str) -> AbstractContextManager[Server]:
    """The Collector that brings the reference topic of logs to Loki as this tenant's; otherwise as `collector`."""
    values = {"LOGS_TOPIC": stack.reference(Topic.LOGS), "LOKI_URL": loki.url(), "TENANT_ID": tenant_id}
    return _collector("bench-loki.yml", ports()["AGENT_METRICS_PORT"], values)


@contextmanager
def _collector(template: str, port: int, values: Mapping[str, str]) -> Iterator[Server]:
    config = folders.render(f"collector/{template}", folders.config("collector") / template, folders.values(**values))
    with process("collector", [str(collector_binary()), f"--config={config}"], {}) as child:
        _wait(COLLECTOR, child, lambda: listens(port))
        yield Server(COLLECTOR, port, child.pid)


@contextmanager
def trigger_of(*names: str) -> Iterator[Server]:
    """The stack's trigger, for these functions, until the end of the block. Raises NotReady."""
    port = ports()["TRIGGER_PORT"]
    with process("trigger", [sys.executable, "-m", trigger.__name__, *names], {"PYTHONPATH": str(ROOT)}) as child:
        _wait("trigger", child, processes.answers(f"http://127.0.0.1:{port}/readyz"))
        yield Server("trigger", port, child.pid)


@contextmanager
def stand_in_backend() -> Iterator[Server]:
    """A backend that takes everything at once, until the end of the block. Raises NotReady."""
    port = free_port()
    with process("stand_in", [sys.executable, "-m", stand_in.__name__, str(port)], {"PYTHONPATH": str(ROOT)}) as child:
        _wait("stand_in", child, lambda: listens(port))
        yield Server("stand_in", port, child.pid)


@contextmanager
def label_proxy(url: str) -> Iterator[Server]:
    """prom-label-proxy as the stack runs it, in front of another server than Prometheus, until the end of the block. Raises NotReady."""
    name, port = "label_proxy", free_port()
    here = prometheus.proxy_url().removeprefix("http://")
    command = [word.replace(prometheus.url(), url).replace(here, f"127.0.0.1:{port}") for word in prometheus.proxy().command()]
    with process(name, command, {}) as child:
        _wait(name, child, lambda: listens(port))
        yield Server(name, port, child.pid)


def backend(name: str, port: int) -> Server:
    """One of the world's backends. Raises NotReady."""
    now = state.snapshot()
    pid = now and now.services[name].pid
    if not pid:
        raise NotReady(f"{name} doesn't run")
    return Server(name, port, pid)


def collector_binary() -> Path:
    """There once `install_collector` is done."""
    return servers.bench_collector.binary()


def install_collector(progress: Callable[[str], None]) -> None:
    """Compile it, once a machine. Raises InstallError."""
    servers.install(servers.bench_collector, progress)


@contextmanager
def process(name: str, command: Sequence[str], environment: Mapping[str, str], cwd: Path = ROOT) -> Iterator[subprocess.Popen[bytes]]:
    """A child through the supervisor's launcher, so that it dies with us however we end; SIGTERM and a wait at the end."""
    bound = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "-", *command]
    with (state.log_folder() / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(bound, cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
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
