"""Tempo for tests that kill it: the server that `./task up` runs, in a folder and on ports of the tests' own."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from localdev.backends import tempo
from tests import waiting


class Tempo(AbstractContextManager["Tempo"]):
    """A running server; what is in its files outlives `kill` and `start`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with ExitStack() as probes:
            sockets = [probes.enter_context(socket.socket()) for _ in range(3)]
            for probe in sockets:
                probe.bind(("127.0.0.1", 0))
            ports = [str(probe.getsockname()[1]) for probe in sockets]
        self._ports = dict(zip(("TEMPO_PORT", "TEMPO_GRPC_PORT", "TEMPO_OTLP_PORT"), ports, strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        with self._place():
            self.url = tempo.url()
            self.environment = {"TEMPO_URL": self.url, "TEMPO_OTLP_ENDPOINT": tempo.otlp(), "TEMPO_WAL_SECONDS": tempo.WAL_SECONDS}
            """A sink's settings."""

    def __enter__(self) -> "Tempo":
        with self._place():
            service = tempo.service()
            assert service.install
            service.install(lambda _: None)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        with self._place():
            service = tempo.service()
            assert service.prepare
            service.prepare()
            self._process = subprocess.Popen(service.command(), stderr=subprocess.DEVNULL)
            waiting.until(service.ready, what="Tempo is ready")

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait(20)

    @contextmanager
    def _place(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OBSTACK_LOCAL", str(self._folder))
            for name, port in self._ports.items():
                environment.setenv(name, port)
            yield
