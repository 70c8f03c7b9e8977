"""`python -m localdev.bench`: what ingest, the sinks and reads cost on this machine. `./task bench` calls it.

Each run makes backends of its own on loopback, sends them made-up batches, and removes everything afterwards.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from localdev import functions
from localdev.bench import history, ingest, query, report, servers, sinks, start
from localdev.bench.ingest import Case, Result
from localdev.bench.load import LoadError
from localdev.bench.report import Table
from localdev.bench.rounds import Effort
from localdev.bench.servers import NotReady
from localdev.bench.world import add_tenants, world
from localdev.paths import ROOT
from localdev.processes import PortTaken
from localdev.service import InstallError
from localdev.supervisor import control

EXAMPLES = """\
examples:
  ./task bench -- ingest --quick            logs of 10 and 512 records, two minutes
  ./task bench -- ingest --only '512 log'  cases whose name has these words
  ./task bench -- ingest --write            all cases, into docs/performance.md
  ./task bench -- prom
  ./task bench -- start --rounds 10
  ./task bench -- sinks --quick             all comparisons, some minutes
  ./task bench -- sinks --only Loki         one of: Loki, OpenSearch, instances, one backend away
  ./task bench -- query                     all reads, three minutes
  ./task bench -- query --only Tempo        reads whose name has these words
"""
QUICK = ("10 log records, identity, 1 tenant", "512 log records, identity, 1 tenant")


def run_ingest(arguments: argparse.Namespace, console: Console) -> list[Table]:
    """ingest_otlp beside the OpenTelemetry Collector (OTLP → Kafka, acks=all), taking turns on the same bodies."""
    cases = _chosen(ingest.otlp_cases(arguments.tenants), arguments)
    servers.install_collector(_progress(console))
    return ingest.otlp_tables(_measure(arguments, console, cases, ("ingest_otlp", servers.COLLECTOR)))


def run_prom(arguments: argparse.Namespace, console: Console) -> list[Table]:
    """ingest_prom with 2,000 samples a request, remote_write 1.0 and 2.0."""
    return ingest.prom_tables(_measure(arguments, console, _chosen(ingest.prom_cases(arguments.tenants), arguments), ("ingest_prom",)))


def run_start(arguments: argparse.Namespace, console: Console) -> list[Table]:
    """Cold start of each function from its image's tree, exec to first 2xx or ready, its idle memory, and the tree's size."""
    os.environ[functions.WITH] = "sink_archive"
    with world(console), TemporaryDirectory() as folder:
        (token,) = add_tenants(1)
        images = [start.assemble(row, Path(folder, row.name)) for row in functions.catalogue()]
        measured: dict[str, list[start.Start]] = {one.function.name: [] for one in images}
        for number in range(arguments.rounds + 1):
            for one in images:
                result = start.measure(one, token)
                if number:  # the first has the disk cache cold
                    measured[one.function.name].append(result)
                    console.print(f"{number:3} of {arguments.rounds}  {one.function.name}: {result.seconds:.2f} s", highlight=False)
        return [start.table(measured, {one.function.name: one.size for one in images})]


def run_sinks(arguments: argparse.Namespace, console: Console) -> list[Table]:
    """Kafka → Loki beside the Collector, sink_opensearch beside ready-made bodies, one instance beside two, three sinks beside one whose backend is away."""
    parts = [part for name, part in sinks.PARTS.items() if arguments.only in name]
    if not parts:
        raise ValueError(f"nothing is called like that; there are: {', '.join(sinks.PARTS)}")
    if any(part.collector for part in parts):
        servers.install_collector(_progress(console))
    with world(console, tuple(dict.fromkeys(name for part in parts for name in part.backends))):
        return [table for part in parts for table in part.run(_effort(arguments), _say(console))]


def run_query(arguments: argparse.Namespace, console: Console) -> list[Table]:
    """Each read through query beside the same question asked of the backend itself, one at a time and a few: whole answers, first bytes, CPU."""
    query.check(arguments.only)
    with world(console, history.BACKENDS):
        return query.run(_effort(arguments), arguments.only, _say(console))


def _effort(arguments: argparse.Namespace) -> Effort:
    return Effort(arguments.rounds, arguments.seconds, arguments.connections)


def _say(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)


def _measure(arguments: argparse.Namespace, console: Console, cases: list[Case], names: Sequence[str]) -> list[Result]:
    effort = _effort(arguments)
    console.print(f"{len(cases)} cases, about {len(cases) * effort.total(len(names)) / 60 + 0.5:.0f} min", highlight=False)
    with world(console), ExitStack() as running:
        tokens = add_tenants(max(case.tenants for case in cases))
        contestants = [running.enter_context(servers.collector() if name == servers.COLLECTOR else servers.function(name)) for name in names]
        return ingest.run(cases, contestants, tokens, effort, _say(console))


def _chosen(cases: list[Case], arguments: argparse.Namespace) -> list[Case]:
    chosen = [case for case in cases if arguments.only in case.name and (not arguments.quick or case.name in QUICK or case.path == "/v1/write")]
    if not chosen:
        raise ValueError(f"no case is called like that; there are: {'; '.join(case.name for case in cases)}")
    return chosen


def _progress(console: Console) -> Callable[[str], None]:
    """Installation steps, one line for each kind."""
    said: set[str] = set()

    def progress(line: str) -> None:
        kind = line.split(maxsplit=1)[0] if line else ""
        if kind not in said:
            said.add(kind)
            console.print(f"Collector: {line} …", highlight=False, markup=False)

    return progress


def _facts(arguments: argparse.Namespace, before: float) -> list[str]:
    """What a reader needs to judge the figures."""
    turns = f"{arguments.rounds} rounds"
    if arguments.command is run_query:
        turns += f" of {arguments.seconds:g} s for each read, one at a time and {arguments.connections}, 1 worker"
    elif arguments.command is not run_start:
        turns += f" of {arguments.seconds:g} s, {arguments.connections} connections at full load, 1 worker"
    backends = {run_sinks: ("Loki", "OpenSearch"), run_query: query.BACKENDS}.get(arguments.command, ("PostgreSQL",))
    return [f"{report.machine(backends)}. {turns}; load average of the machine {before:.1f} before and {os.getloadavg()[0]:.1f} after (measuring included)."]


def _tenants(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if not all(0 < count <= 100_000 for count in counts):
        raise argparse.ArgumentTypeError("between 1 and 100,000 tenants")
    return counts


def _bounded(low: float, high: float, kind: type[float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"between {low:g} and {high:g}")
        return value

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m localdev.bench", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in (("ingest", run_ingest), ("prom", run_prom), ("sinks", run_sinks), ("query", run_query), ("start", run_start)):
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command, name=name, quick=False, only="")
        sub.add_argument("--rounds", type=_bounded(1, 100, int), default=5, help="how often each server has its turn (default %(default)g)")
        sub.add_argument("--quick", action="store_true", help="fewer and shorter: a first look")
        sub.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
        if command is not run_start:
            sub.add_argument("--seconds", type=_bounded(0.1, 60, float), default=1.0, help="length of a turn (default %(default)g)")
            sub.add_argument("--connections", type=_bounded(1, 1000, int), default=8, help="requests under way (default %(default)g)")
            sub.add_argument("--only", default="", metavar="WORDS", help="cases whose name has these words")
        if command is run_query:
            sub.set_defaults(rounds=4, seconds=0.4, connections=4)
        if command in (run_ingest, run_prom):
            sub.add_argument("--tenants", type=_tenants, default=[1, 1000] if command is run_ingest else [1], metavar="N,M", help="as how many tenants")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.write and (arguments.quick or arguments.only):
        parser.error("--write takes no part of the cases: the page would be left with these alone")
    if arguments.quick:
        arguments.rounds = min(arguments.rounds, 3)
        if arguments.command in (run_sinks, run_query):
            arguments.seconds = min(arguments.seconds, 0.3)
    # Tables are as wide as they are, in a log too.
    console, before = Console(width=None if sys.stdout.isatty() else 200), os.getloadavg()[0]
    try:
        tables = arguments.command(arguments, console)
        for table in tables:
            table.print(console)
        facts = _facts(arguments, before)
        console.print(*facts, highlight=False)
        if arguments.write:
            report.write(arguments.name, facts, tables)
            print(f"Written to {report.PAGE.relative_to(ROOT)}")
    except (control.Failure, InstallError, LoadError, NotReady, PortTaken, ValueError) as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
