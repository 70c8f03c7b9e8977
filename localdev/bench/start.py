"""`start`: each function from its image's tree, from exec until it does its work, and what memory an idle one takes.

A function that customers send to has answered 2xx then, with a record in the broker; another one says that it is ready, its flags read from the database.
"""

import http.client
import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grpc

from localdev import image
from localdev.bench import bodies, ingest, servers
from localdev.bench.ingest import Case
from localdev.bench.report import Table
from localdev.bench.rounds import Spread
from localdev.bench.servers import NotReady, Server
from localdev.functions import Function
from localdev.paths import ROOT
from shared.contract import TOKEN_HEADER
from shared.signals import SIGNALS

IDLE_SECONDS = 2.0
_PAUSE = 0.002
_STAGES = ("run", "function")


@dataclass(frozen=True)
class Assembled:
    """A function's image without Docker. `size`: bytes of its tree, its base not counted."""

    function: Function
    app: Path
    command: list[str]
    environment: dict[str, str]
    size: int


@dataclass(frozen=True)
class Start:
    """Seconds from exec until it worked, PSS and RSS in bytes once it was idle for a while."""

    seconds: float
    pss: int
    rss: int


def assemble(function: Function, folder: Path) -> Assembled:
    """Make the image's tree and its packages in `folder`. The settings are those of the backends that run."""
    folder.mkdir()
    run, stage = (image.stages()[name] for name in _STAGES)
    app, packages = image.make(stage, function.name, folder / "tree"), image.packages(folder, ROOT / "functions" / function.name / "requirements.txt")
    service, port = servers.described(function.name)
    given = image.environment([run, stage], app, packages, {**service.env(), "FUNCTION": function.name})
    given |= {"HOST": "127.0.0.1", "PORT": str(port), "METRICS_PORT": str(function.metrics_port)}
    return Assembled(function, app, image.command(stage, app, packages), given, image.size(app, packages))


def measure(assembled: Assembled, token: str) -> Start:
    """Start the function once. Raises NotReady."""
    works, function = _works(assembled.function, token), assembled.function
    began = time.perf_counter()
    with servers.process(function.name, assembled.command, assembled.environment, assembled.app) as child:
        while not works():
            if time.perf_counter() - began > servers.READY_SECONDS or child.poll() is not None:
                raise NotReady(f"{function.name} did not get to work")
            time.sleep(_PAUSE)
        took = time.perf_counter() - began
        time.sleep(IDLE_SECONDS)
        return Start(took, *Server(function.name, function.port, child.pid).memory())


def _works(function: Function, token: str) -> Callable[[], bool]:
    """Whether it does by now; bodies are made before the clock runs."""
    match function.name:
        case "ingest_otlp":
            return _takes(function.port, ingest.otlp_cases([1])[0], token)
        case "ingest_prom":
            return _takes(function.port, ingest.prom_cases([1])[0], token)
        case "ingest_otlp_grpc":
            return _exports(function.port, token)
    return lambda: _answers(function.port, "GET", "/readyz", b"", {})


def _takes(port: int, case: Case, token: str) -> Callable[[], bool]:
    body, headers = case.body(), {**dict(case.headers), "Authorization": f"Bearer {token}"}
    return lambda: _answers(port, "POST", case.path, body, headers)


def _answers(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> bool:
    """2xx; not yet listening is no."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=servers.READY_SECONDS)) as connection:
        try:
            connection.request(method, path, body, headers)
            return connection.getresponse().status // 100 == 2
        except OSError:
            return False


def _exports(port: int, token: str) -> Callable[[], bool]:
    body = bodies.SIGNALS["logs"](10)

    def exports() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()  # a channel that finds nobody waits before it looks again
        except OSError:
            return False
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:  # type: ignore[no-untyped-call]
            try:
                channel.unary_unary(SIGNALS[0].method)(body, metadata=((TOKEN_HEADER, token),), timeout=servers.READY_SECONDS)
            except grpc.RpcError:
                return False
        return True

    return exports


def table(measured: dict[str, list[Start]], sizes: dict[str, int]) -> Table:
    """A row a function."""
    rows = []
    for name, starts in measured.items():
        pss, rss = (Spread.of([value / 2**20 for value in values]).show(0) for values in zip(*((start.pss, start.rss) for start in starts), strict=True))
        until = "first 2xx" if name.startswith("ingest_") else "ready"
        rows.append((name, until, Spread.of([start.seconds for start in starts]).show(2), pss, rss, f"{sizes[name] / 1e6:.0f}"))
    columns = ("function", "until", "from exec, s", "idle PSS, MiB", "idle RSS, sum of its processes, MiB", "image's tree, MB")
    return Table("Start, idle memory and size, median (min to max)", columns, rows)
