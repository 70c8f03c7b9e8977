"""What the supervisor tells of its services and the disks under them."""

import os
import shutil
import signal
import socket
from typing import TYPE_CHECKING

import httpx2
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from localdev.ports import free_port
from localdev.supervisor import control
from localdev.supervisor.board import State
from tests.waiting import until

if TYPE_CHECKING:
    from tests.localdev.conftest import Supervised


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where the supervisor is told to tell it."""
    found = free_port()
    monkeypatch.setenv("METRICS_PORT", str(found))
    return found


def told(port: int) -> dict[tuple[str, str], float]:
    """(metric, service or volume) → value."""
    page = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}  # type: ignore[misc]


def test_services_are_told_with_all_their_processes(supervised: "Supervised", port: int) -> None:
    pid = supervised.up(supervised.service("alone"), supervised.service("crowd", "--worker"))["crowd"].pid
    now = told(port)
    assert (now["obstack_service_up", "alone"], now["obstack_service_up", "crowd"]) == (1, 1)
    assert now["obstack_service_restarts_total", "crowd"] == 0
    head = psutil.Process(pid)
    family = [head, *head.children()]
    assert len(family) == 2
    assert now["obstack_service_open_files", "crowd"] == sum(process.num_fds() for process in family)
    # A program that waits for requests holds what it holds.
    assert now["obstack_service_rss_bytes", "crowd"] == pytest.approx(sum(process.memory_info().rss for process in family), rel=0.2)
    assert 0 < now["obstack_service_cpu_seconds_total", "crowd"] < 60


def test_crash_and_stop_are_seen(supervised: "Supervised", port: int) -> None:
    """One that is stopped is down and has no figures; the crash is counted, the stop is not."""
    supervised.up(supervised.service("a"), supervised.service("b"))
    os.kill(until(lambda: supervised.status("a").pid) or 0, signal.SIGKILL)
    until(lambda: supervised.status("a").restarts == 1 and supervised.status("a").state is State.READY)
    control.stop("b")
    now = told(port)
    assert (now["obstack_service_up", "a"], now["obstack_service_restarts_total", "a"]) == (1, 1)
    assert (now["obstack_service_up", "b"], now["obstack_service_restarts_total", "b"]) == (0, 0)
    assert ("obstack_service_rss_bytes", "b") not in now


def test_disks_are_those_of_the_data(supervised: "Supervised", port: int) -> None:
    """S3's is told once it is there."""
    supervised.up(supervised.service("a"))
    assert {name for metric, name in told(port) if metric == "obstack_disk_size_bytes"} == {"local"}
    (supervised.folder / "data" / "s3").mkdir(parents=True)
    now, disk = told(port), shutil.disk_usage(supervised.folder)
    for volume in ("local", "s3"):
        assert now["obstack_disk_size_bytes", volume] == disk.total
        assert now["obstack_disk_free_bytes", volume] == pytest.approx(disk.free, rel=0.05)


def test_taken_port_does_not_keep_the_stack_from_starting(supervised: "Supervised", port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        assert supervised.up(supervised.service("a"))["a"].state is State.READY
    log = (supervised.folder / "logs" / "supervisor.log").read_text()
    assert f"port {port} (SUPERVISOR_PORT)" in log
