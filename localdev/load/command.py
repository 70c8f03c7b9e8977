"""What `./task load` and `./task soak` have in common: arguments, the run, the report, the exit code."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx2
from confluent_kafka import KafkaException
from rich.console import Console

from localdev import admin, paths
from localdev.bench import report as bench_report
from localdev.bench.report import Table
from localdev.chaos.harm import NotBack
from localdev.load import report, verdicts
from localdev.load.measure import Measured, Order, measure
from localdev.load.profiles import Profile
from localdev.load.verdicts import Verdict
from localdev.supervisor import control

Judgement = tuple[list[Verdict], list[Table]]
MOST_TENANTS: Final = 500
"""Each has an index in OpenSearch, which holds a thousand a node."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those that both take."""
    parser.add_argument("--tenants", type=tenants, metavar="N", help="how many tenants share the load (default: the profile's)")
    parser.add_argument("--share", type=admin.positive, default=1.0, metavar="X", help="of the profile's rates, for instance 0.5 (default 1)")
    parser.add_argument("--report", type=Path, metavar="DIR", help="where report.md, report.json and the plots go (default: load/<profile> in .local)")
    parser.add_argument("--patience", type=admin.positive, default=120.0, help="seconds without progress until something counts as lost (default 120)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md too")


def scaled(profile: Profile, arguments: argparse.Namespace) -> Profile:
    """As the arguments want it."""
    return replace(profile.scaled(arguments.share), tenants=arguments.tenants or profile.tenants)


def run(order: Order, arguments: argparse.Namespace, judge: Callable[[Measured], Judgement]) -> int:
    """Measure and report; 0 if all verdicts hold, else 1. `judge`: what is to be said beyond the verdicts of every load."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    folder: Path = arguments.report or paths.local() / "load" / order.name
    before = os.getloadavg()[0]
    try:
        demo = json.loads((paths.local() / "demo.json").read_text())
        measured = measure(order, demo, console)
        more, tables = judge(measured)
        found = [*verdicts.judge(measured), *more]
        made = [*report.tables(measured, found), *tables]
        page = report.write(measured, found, made, folder)
        for table in made:
            table.print(console)
        said = [*report.facts(measured), f"Load average of the machine {before:.1f} before and {os.getloadavg()[0]:.1f} after (this load included)."]
        console.print(*said, f"Report: {page}", sep="\n", highlight=False, markup=False, soft_wrap=True)
        if arguments.write:
            bench_report.write(f"load {order.name}", said, made)
    except FileNotFoundError:
        print("no stack is running; ./task up starts it", file=sys.stderr)
        return 1
    except (NotBack, KafkaException, control.Failure, httpx2.HTTPError, ValueError) as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return _tell(console, found)


def _tell(console: Console, found: Sequence[Verdict]) -> int:
    failed = [one for one in found if not one.holds]
    for one in failed:
        console.print(f"Doesn't hold: {one.what}: {one.measured}, must be {one.bar}", highlight=False, markup=False, soft_wrap=True)
    if not failed:
        console.print("All verdicts hold.")
    return 1 if failed else 0


def tenants(text: str) -> int:
    """How many."""
    value = int(text)
    if not 0 < value <= MOST_TENANTS:
        raise argparse.ArgumentTypeError(f"1 to {MOST_TENANTS}")
    return value
