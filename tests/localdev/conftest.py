"""Fixtures for localdev's tests: a supervisor of made-up services in a folder of its own, a real broker."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from localdev import topics
from localdev.bench import world
from localdev.paths import ROOT, STACK
from localdev.supervisor import control, state
from localdev.supervisor.board import Status

PROGRAMS = Path(__file__).with_name("programs")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def port_offset() -> int:
    """An OBSTACK_PORT_OFFSET by which every port of the stack is free: other stacks and test runs may be up on this machine."""
    return _free_offset(10_000 + os.getpid() % 10 * 1000)


def _free_offset(first: int) -> int:
    numbers = [int(line.partition("=")[2]) for line in (STACK / "ports.env").read_text().splitlines() if "=" in line and not line.startswith("#")]
    return next(offset for offset in range(first, 50_000, 500) if all(_is_free(number + offset) for number in numbers))


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port_offset: int) -> Path:
    """A `.local` and ports of this test's own."""
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path / "local"))
    monkeypatch.setenv("OBSTACK_PORT_OFFSET", str(port_offset))
    monkeypatch.delenv("OBSTACK_WITH", raising=False)
    return tmp_path / "local"


class Recorder:
    """A display that keeps each state a service was seen in."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def show(self, services: dict[str, Status]) -> None:
        for name, status in services.items():
            if (name, status.state) not in self.seen:
                self.seen.append((name, status.state))


class Supervised:
    """A supervisor of services described as in programs/supervised.py."""

    def __init__(self, folder: Path, first_port: int) -> None:
        self.folder = folder
        self.recorder = Recorder()
        self._port = first_port
        self._seen: set[psutil.Process] = set()

    def service(self, name: str, *options: str, **fields: Any) -> dict[str, Any]:
        """A row with a port of its own."""
        self._port += 1
        return {"name": name, "port": self._port, "options": [*options, "--note", str(self.folder / "notes")], **fields}

    def up(self, *rows: dict[str, Any], wanted: tuple[str, ...] = (), timeout: float = 30) -> dict[str, Status]:
        """`up` with these services."""
        description = self.folder / "services.json"
        if rows:
            description.write_text(json.dumps(rows))
        command = (sys.executable, str(PROGRAMS / "supervised.py"), str(description))
        try:
            return control.up(self.recorder, wanted, timeout, command).services
        finally:
            self._remember()

    def status(self, name: str) -> Status:
        """A service's status now."""
        now = state.snapshot()
        assert now is not None, "no supervisor runs"
        self._remember()
        return now.services[name]

    @property
    def supervisor(self) -> int:
        """Its pid."""
        pid = state.running()
        assert pid is not None, "no supervisor runs"
        return pid

    def notes(self) -> list[str]:
        """What the services noted, in order: "start 123", "stop 123"."""
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def processes(self) -> list[psutil.Process]:
        """All processes of this stack ever seen that still run, the reaper's too."""
        self._remember()
        return [process for process in self._seen if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def _remember(self) -> None:
        if pid := state.running():
            with suppress(psutil.Error):
                self._seen.update([psutil.Process(pid), *psutil.Process(pid).children(recursive=True)])

    def clean_up(self) -> None:
        """Whatever happened, nothing stays."""
        with suppress(control.Failure):
            control.down(timeout=20)
        for process in self.processes():
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)


@pytest.fixture
def supervised(local: Path, port_offset: int) -> Iterator[Supervised]:
    """A stack of made-up services."""
    local.mkdir()
    made = Supervised(local, first_port=9500 + port_offset)
    yield made
    made.clean_up()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, port_offset: int) -> Iterator[str]:
    """A real Kafka with the topics of stack/redpanda/topics.yml: its address."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OBSTACK_LOCAL", str(tmp_path_factory.mktemp("broker")))
        environment.setenv("OBSTACK_PORT_OFFSET", str(_free_offset(port_offset + 500)))  # it stays up beside other tests' stacks
        given = dict(os.environ)
        control.up(Recorder(), timeout=600, command=(sys.executable, str(PROGRAMS / "broker.py")))
        address = topics.bootstrap_servers()
    yield address
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OBSTACK_LOCAL", given["OBSTACK_LOCAL"])
        control.down()


Bench = Callable[..., subprocess.CompletedProcess[str]]
"""Words of the command → the run."""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """`./task bench` in the test's own folder. An interrupted one is killed before it can end its backends."""
    environment = {**os.environ, "OBSTACK_LOCAL": str(tmp_path)}
    yield lambda *words: subprocess.run(
        [sys.executable, "-m", "localdev.bench", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path / "bench"))
    world.remove()
