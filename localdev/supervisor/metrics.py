"""What the supervisor tells of the stack's processes and disks at `/metrics`, on each scrape: what cAdvisor and the node exporter tell of a cluster."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from localdev.backends import folders
from localdev.paths import local
from localdev.supervisor.board import State, Status

log = logging.getLogger(__name__)

VOLUMES: Mapping[str, Callable[[], Path]] = {"local": local, "s3": lambda: folders.data("s3")}
"""What is watched of the disks: where the backends' data are, and S3's, which may be a mount of its own."""


class Services(Collector):
    """Of each service; figures of a process are sums over all that the service runs. Shared memory counts for each that shares it."""

    def __init__(self, statuses: Callable[[], Mapping[str, Status]]) -> None:
        self._statuses = statuses

    def describe(self) -> Iterable[Metric]:
        """None beforehand: these are nobody else's names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        labels = ("service",)
        up = GaugeMetricFamily("obstack_service_up", "1: the process runs and is ready.", labels=labels)
        restarts = CounterMetricFamily("obstack_service_restarts", "Ends of the process that nobody asked for.", labels=labels)
        memory = GaugeMetricFamily("obstack_service_rss_bytes", "Resident memory.", labels=labels)
        seconds = CounterMetricFamily("obstack_service_cpu_seconds", "CPU time, user and system.", labels=labels)
        files = GaugeMetricFamily("obstack_service_open_files", "Open file descriptors.", labels=labels)
        statuses = self._statuses()
        families = _families({status.pid for status in statuses.values() if status.pid})
        for name, status in statuses.items():
            up.add_metric((name,), status.state is State.READY)
            restarts.add_metric((name,), status.restarts)
            if status.pid and (processes := families[status.pid]):
                memory.add_metric((name,), _sum(processes, lambda process: process.memory_info().rss))
                seconds.add_metric((name,), _sum(processes, lambda process: sum(process.cpu_times()[:2])))
                files.add_metric((name,), _sum(processes, lambda process: process.num_fds()))
        yield from (up, restarts, memory, seconds, files)


class Disks(Collector):
    """Of each of VOLUMES that exists."""

    def describe(self) -> Iterable[Metric]:
        """None beforehand: these are nobody else's names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        free = GaugeMetricFamily("obstack_disk_free_bytes", "What may still be written to the volume's disk without being root.", labels=("volume",))
        size = GaugeMetricFamily("obstack_disk_size_bytes", "All of the volume's disk.", labels=("volume",))
        for name, folder in VOLUMES.items():
            if folder().exists():
                usage = shutil.disk_usage(folder())
                free.add_metric((name,), usage.free)
                size.add_metric((name,), usage.total)
        yield from (free, size)


def serve(port: int, statuses: Callable[[], Mapping[str, Status]]) -> None:
    """Tell it on loopback, from now on. A port that is taken is a pity, and no reason not to run the stack."""
    registry = CollectorRegistry()
    registry.register(Services(statuses))
    registry.register(Disks())
    try:
        start_http_server(port, "127.0.0.1", registry)
    except OSError as error:
        log.warning("nobody will hear of the services' memory and CPU, port %d (SUPERVISOR_PORT): %s", port, error.strerror)


def _families(heads: set[int]) -> dict[int, list[psutil.Process]]:
    """Head → itself and all that descend from it, in one pass over the machine's processes; empty for one that has just ended."""
    processes = {process.pid: process for process in psutil.process_iter(["ppid"])}
    families: dict[int, list[psutil.Process]] = {head: [] for head in heads}
    for process in processes.values():
        ancestor: psutil.Process | None = process
        while ancestor and ancestor.pid not in heads:
            ancestor = processes.get(ancestor.info["ppid"])
        if ancestor:
            families[ancestor.pid].append(process)
    return families


def _sum(processes: Iterable[psutil.Process], figure: Callable[[psutil.Process], float]) -> float:
    """Without those that have ended meanwhile, or that don't tell us."""
    total = 0.0
    for process in processes:
        try:
            total += figure(process)
        except psutil.Error:
            continue
    return total
