"""`ingest` and `prom`: ingest_otlp beside the Collector on the same bodies, and ingest_prom by itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

from localdev.bench import bodies
from localdev.bench.load import Target
from localdev.bench.report import Table
from localdev.bench.rounds import Effort, Generator, Measured, Spread, compare
from localdev.bench.servers import Server
from shared.contract import PROTOBUF

SIZES = (10, 100, 512, 4000)
SAMPLES = 2000
_UNITS = {"logs": "log records", "metrics": "data points", "traces": "spans"}
_PROTOCOLS = {"1.0": ("prometheus.WriteRequest", "0.1.0", bodies.series_1), "2.0": ("io.prometheus.write.v2.Request", "2.0.0", bodies.series_2)}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """One kind of request, the same for every server."""

    name: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: Callable[[], bytes]
    tenants: int

    def target(self, server: Server, tokens: tuple[str, ...], body: bytes) -> Target:
        return Target(server.port, self.path, self.headers, body, tokens[: self.tenants])


def otlp_cases(tenants: Iterable[int]) -> list[Case]:
    """Every signal, size and encoding, as so many tenants."""
    return [_otlp(*row) for row in product(bodies.SIGNALS, SIZES, ("identity", "gzip"), tenants)]


def _otlp(signal: str, size: int, encoding: str, tenants: int) -> Case:
    headers = (("Content-Type", PROTOBUF), *((("Content-Encoding", encoding),) if encoding != "identity" else ()))
    name = f"{size} {_UNITS[signal]}, {encoding}, {_tenants(tenants)}"
    return Case(name, f"/v1/{signal}", headers, lambda: bodies.ENCODINGS[encoding](bodies.SIGNALS[signal](size)), tenants)


def prom_cases(tenants: Iterable[int]) -> list[Case]:
    """Both versions of the protocol, as so many tenants."""
    return [_prom(*row) for row in product(_PROTOCOLS, tenants)]


def _prom(protocol: str, tenants: int) -> Case:
    message, number, make = _PROTOCOLS[protocol]
    headers = (
        ("Content-Type", f"{PROTOBUF};proto={message}"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", number),
    )
    name = f"remote_write {protocol}, {SAMPLES} samples, {_tenants(tenants)}"
    return Case(name, "/v1/write", headers, lambda: bodies.ENCODINGS["snappy"](make(SAMPLES)), tenants)


def _tenants(count: int) -> str:
    return f"{count:,} tenant{'s' if count > 1 else ''}"


@dataclass(frozen=True)
class Result:
    """A case's turns."""

    case: Case
    size: int
    measured: list[Measured]
    rate: float


def run(cases: list[Case], servers: list[Server], tokens: list[str], effort: Effort, say: Say) -> list[Result]:
    """All cases, one after the other, each with the servers taking turns."""
    results: list[Result] = []
    with Generator() as generator:
        for number, case in enumerate(cases, 1):
            body = case.body()
            contestants = [(server, case.target(server, tuple(tokens), body)) for server in servers]
            measured, rate = compare(generator, contestants, effort)
            results.append(Result(case, len(body), measured, rate))
            left = (len(cases) - number) * effort.total(len(servers)) / 60
            say(f"{number:3} of {len(cases)}  {case.name}: {_summary(measured)}  ({left:.0f} min left)")
    return results


def _summary(measured: list[Measured]) -> str:
    figures = " and ".join(f"{Spread.of(one.cpu_ms()).median:.3f}" for one in measured)
    ratio = f", ratio {Spread.ratio(measured[0].cpu_ms(), measured[1].cpu_ms()).show(2)}" if len(measured) == 2 else ""
    return f"CPU {figures} ms{ratio}"


def otlp_tables(results: list[Result]) -> list[Table]:
    """CPU and throughput of both, then their latencies; ours first."""
    cost = Table(
        "CPU per request and throughput, ingest_otlp / Collector",
        ("request", "body", "CPU, ms", "CPU ratio, median (min to max)", "requests/s", "throughput ratio"),
        [
            (
                result.case.name,
                _bytes(result.size),
                _both(ours.cpu_ms(), theirs.cpu_ms(), 3),
                Spread.ratio(ours.cpu_ms(), theirs.cpu_ms()).show(2),
                _both(ours.throughputs(), theirs.throughputs(), 0),
                Spread.ratio(ours.throughputs(), theirs.throughputs()).show(2),
            )
            for result in results
            for ours, theirs in [result.measured]
        ],
    )
    latency = Table(
        "Latency in ms, ingest_otlp / Collector",
        ("request", "p50, full load", "p99, full load", "half load, requests/s", "p99, half load", "p99 ratio at half load"),
        [
            (
                result.case.name,
                _both(ours.p50_ms(), theirs.p50_ms(), 1),
                _both(ours.p99_ms(), theirs.p99_ms(), 1),
                f"{result.rate:.0f}",
                _both(ours.half_p99_ms(), theirs.half_p99_ms(), 1),
                Spread.ratio(ours.half_p99_ms(), theirs.half_p99_ms()).show(2),
            )
            for result in results
            for ours, theirs in [result.measured]
        ],
    )
    return [cost, latency]


def prom_tables(results: list[Result]) -> list[Table]:
    """One table: what ingest_prom uses and gives."""
    rows = [
        (
            result.case.name,
            _bytes(result.size),
            Spread.of(ours.cpu_ms()).show(3),
            f"{Spread.of(ours.throughputs()).median:.0f}",
            f"{Spread.of(ours.p50_ms()).median:.1f}",
            f"{Spread.of(ours.p99_ms()).median:.1f}",
            f"{Spread.of(ours.half_p99_ms()).median:.1f}",
        )
        for result in results
        for [ours] in [result.measured]
    ]
    columns = ("request", "body", "CPU, ms, median (min to max)", "requests/s", "p50, ms", "p99, ms", "p99 at half load, ms")
    return [Table("ingest_prom", columns, rows)]


def _both(ours: list[float], theirs: list[float], digits: int) -> str:
    return f"{Spread.of(ours).median:.{digits}f} / {Spread.of(theirs).median:.{digits}f}"


def _bytes(size: int) -> str:
    return f"{size / 1000:.1f} kB"
