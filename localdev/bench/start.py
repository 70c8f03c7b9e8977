"""`start`: from exec to the first 2xx, with a record in the broker by then, and what memory an idle function takes."""

import http.client
import time

from localdev.bench import servers
from localdev.bench.ingest import Case
from localdev.bench.report import Table
from localdev.bench.rounds import Spread
from localdev.bench.servers import NotReady, Server

IDLE_SECONDS = 2.0
_PAUSE = 0.002


def measure(name: str, case: Case, token: str) -> tuple[float, int, int]:
    """Start the function once: seconds until it has answered 2xx, then PSS and RSS in bytes once it has been idle for a while. Raises NotReady."""
    service, port = servers.described(name)
    command, environment, body = service.command(), service.env(), case.body()
    began = time.perf_counter()
    with servers.process(name, command, environment) as child:
        while not _takes(port, case, token, body):
            if time.perf_counter() - began > servers.READY_SECONDS or child.poll() is not None:
                raise NotReady(f"{name} did not answer 2xx")
            time.sleep(_PAUSE)
        took = time.perf_counter() - began
        time.sleep(IDLE_SECONDS)
        return took, *Server(name, port, child.pid).memory()


def _takes(port: int, case: Case, token: str, body: bytes) -> bool:
    """Whether the request is answered 2xx; not yet listening is no."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=servers.READY_SECONDS)
    try:
        connection.request("POST", case.path, body, {**dict(case.headers), "Authorization": f"Bearer {token}"})
        return connection.getresponse().status // 100 == 2
    except OSError:
        return False
    finally:
        connection.close()


def table(measured: dict[str, list[tuple[float, int, int]]]) -> Table:
    """A row a function."""
    rows = []
    for name, starts in measured.items():
        seconds, pss, rss = ([start[column] for start in starts] for column in range(3))
        rows.append((name, Spread.of(seconds).show(2), Spread.of([size / 2**20 for size in pss]).show(0), Spread.of([size / 2**20 for size in rss]).show(0)))
    columns = ("function", "exec to first 2xx, s", "idle PSS, MiB", "idle RSS, sum of its processes, MiB")
    return Table("Start and idle memory, median (min to max)", columns, rows)
