"""kill -9 of what a customer's Collector and a reader talk to, while data flows: it comes back and nothing is missing. test_chaos.py kills all the rest."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex

import pytest

from localdev.demo import agents, checks
from localdev.demo.customer import Customer
from localdev.supervisor import state
from localdev.supervisor.board import State
from tests.waiting import until

pytestmark = pytest.mark.stack

VICTIMS = ["ingest_otlp", "query", "gateway"]

KILLS = 3
"""Per victim, each as soon as it is back, so that they fall on different moments of the flow."""


def pid_of(service: str) -> int | None:
    """Pid of a ready service."""
    now = state.snapshot()
    status = now.services[service] if now else None
    return status.pid if status and status.state is State.READY else None


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_process_comes_back_and_nothing_is_missing(customers: tuple[Customer, Customer], victim: str) -> None:
    until(lambda: pid_of(victim), what=f"{victim} is ready")
    run = f"run{token_hex(5)}"
    killed: set[int] = set()
    with ThreadPoolExecutor(1) as pool:
        program = pool.submit(agents.run_program, run, 150)
        while not program.done() or not killed:
            pid = until(lambda: pid_of(victim) or program.done(), what=f"{victim} is back")
            if pid is not True and pid not in killed and len(killed) < KILLS:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        sent = program.result()
    until(lambda: pid_of(victim) not in {None, *killed}, seconds=60, what=f"{victim} is back")
    results = checks.run(checks.of_program(sent, run), *customers)
    assert [f"{r.check.backend}: saw {r.seen}, the other {r.other} {r.error}" for r in results if not (r.seen.count >= r.check.at_least and not r.other)] == []
