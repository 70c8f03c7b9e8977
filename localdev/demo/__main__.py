"""`./task demo`: the main job on real input, and the proof that each customer sees his own data and only his own.

Two customers send what they would really send (agents.py): the first an instrumented program's logs, metrics and traces through a Collector, the second a
Prometheus' scrapes and the pipeline's own logs. Then each logs in and looks into all four backends. Exit code 0 only if everything is there, nothing is
missing, and nothing is visible to the other one. The stack stays up.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from secrets import token_hex
from typing import Any

import httpx2
from rich.console import Console

from localdev import backends
from localdev.demo import agents, checks, report
from localdev.demo.customer import Customer
from localdev.paths import local
from localdev.service import InstallError
from localdev.supervisor import control
from localdev.supervisor.display import for_terminal

FIRST = ("gateway", "ingest_otlp", "ingest_prom", "query", "trigger", "opensearch", "sink_opensearch")
"""What must be ready for the first log to be found; the rest goes on being installed meanwhile."""

_QUIET_SECONDS = 10.0


class Demo:
    """The story, step by step."""

    def __init__(self, console: Console, files: int) -> None:
        self._console = console
        self._files = files
        self._began = time.monotonic()

    def run(self) -> bool:
        """All steps; whether everything holds."""
        with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
            collector = pool.submit(self._install_collector)
            self._up(FIRST)
            first, second = self._customers(stack)
            self._say("broker, database, functions and OpenSearch are ready; the second customer sends the pipeline's own logs")
            stack.enter_context(agents.shipper(self._gateway, second.token))
            self._first_log(second)
            early = pool.submit(self._early_run, collector, stack, first)
            self._up(())
            sent, run = early.result()
            stack.enter_context(agents.prometheus(self._gateway, second.token))
            self._say("all backends are ready; the second customer's Prometheus scrapes and writes")
            results = self._look(first, second, sent, run)
        self._console.print(report.table(results, self._console.width))
        return all(result.holds for result in results)

    def _install_collector(self) -> None:
        """The Collector is no service of ours, so nobody else installs it."""
        told = time.monotonic()

        def progress(line: str) -> None:
            nonlocal told
            if time.monotonic() - told > _QUIET_SECONDS:
                told = time.monotonic()
                self._say(f"the first customer's Collector: {line}")

        dict(backends.install_steps())["collector"](progress)

    def _early_run(self, installed: Future[None], stack: ExitStack, customer: Customer) -> tuple[dict[str, Any], str]:
        """The first customer sends as soon as he has a Collector, while backends are still being compiled."""
        installed.result()
        stack.enter_context(agents.collector(self._gateway, customer.token))
        run = f"run{token_hex(5)}"
        sent = agents.run_program(run, self._files)
        self._say(f"the first customer's program sent {sent['logs']} logs and {sent['spans']} spans; what has no backend yet waits in Kafka")
        return sent, run

    def _look(self, first: Customer, second: Customer, early_sent: dict[str, Any], early: str) -> list[checks.Result]:
        """Everything of the early run, then a run with all backends up, whose freshness is measured; the same for the second customer."""
        results = [_untimed(result) for result in checks.run(checks.of_program(early_sent, early), first, second)]
        run = f"run{token_hex(5)}"
        sent = agents.run_program(run, self._files)
        results += checks.run(checks.of_program(sent, run), first, second)
        marker = f"mark{token_hex(5)}"
        marked_at = time.time()
        httpx2.get(f"{self._gateway}/{marker}", timeout=10)
        return results + checks.run(checks.of_pipeline(marker, marked_at), second, first)

    def _up(self, wanted: Sequence[str]) -> None:
        with for_terminal(self._console) as display:
            control.up(display, wanted)
        demo = json.loads((local() / "demo.json").read_text())
        self._gateway, self._tenants = demo["gateway"], demo["tenants"]

    def _customers(self, stack: ExitStack) -> tuple[Customer, Customer]:
        customers = [Customer(self._gateway, tenant) for tenant in self._tenants[:2]]
        for customer in customers:
            stack.callback(customer.close)
            customer.log_in()
        return customers[0], customers[1]

    def _first_log(self, customer: Customer) -> None:
        """Wait until the customer finds a line of the pipeline in OpenSearch: the path works from end to end."""
        marker = f"first{token_hex(5)}"
        httpx2.get(f"{self._gateway}/{marker}", timeout=10)
        (result,) = checks.run([checks.Check("OpenSearch", "first log", lambda reader: reader.opensearch(marker))], customer, customer)
        if not result.seen.count:
            raise control.Failure(f"no log became visible in OpenSearch ({result.error}); see ./task status and ./task logs -- sink_opensearch")
        self._say("the first logs are visible in OpenSearch")

    def _say(self, text: str) -> None:
        self._console.print(f"[bold]{time.monotonic() - self._began:6.1f} s[/]  {text}")


def _untimed(result: checks.Result) -> checks.Result:
    """Of data that waited for its backend to be compiled the time says nothing."""
    return checks.Result(result.check, result.owner, result.seen, None, result.other, result.error)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; its exit code."""
    parser = argparse.ArgumentParser(prog="./task demo --", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=60, help="how many files the instrumented program reads per run")
    arguments = parser.parse_args(argv)
    console = Console() if sys.stdout.isatty() else Console(width=150)
    try:
        holds = Demo(console, arguments.files).run()
    except (control.Failure, InstallError, TimeoutError, RuntimeError, httpx2.HTTPError) as failure:
        console.print(f"[bold red]The demo failed:[/] {type(failure).__name__}: {failure}", markup=True)
        return 1
    tenants = local() / "demo.json"
    if holds:
        console.print(f"\n[bold green]Everything holds.[/] The stack stays up: look around at {json.loads(tenants.read_text())['gateway']}/query/")
        console.print(f"Users, passwords and tokens are in {tenants}. ./task down stops everything.")
    else:
        console.print("\n[bold red]Something is missing or visible to the wrong customer[/]: see the lines with ✗; ./task status and ./task logs say more.")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
