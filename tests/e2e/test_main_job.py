"""From a customer's client to that customer's eyes, on the real stack: everything sent is found by its owner, and by nobody else."""

import time
from secrets import token_hex

import httpx2
import pytest

from localdev.demo import agents, checks
from localdev.demo.customer import Customer
from tests.conftest import Stack

pytestmark = pytest.mark.stack


def assert_all_hold(results: list[checks.Result]) -> None:
    assert [f"{r.check.backend} {r.check.signal}: saw {r.seen}, the other {r.other} {r.error}" for r in results if not r.holds] == []


@pytest.mark.usefixtures("collector")
def test_collectors_logs_metrics_and_traces_are_found_by_their_tenant_alone(customers: tuple[Customer, Customer]) -> None:
    run = f"run{token_hex(5)}"
    sent = agents.run_program(run, 30)
    results = checks.run(checks.of_program(sent, run), *customers)
    assert_all_hold(results)
    assert all(result.seconds is not None for result in results), "how late each was is told"


@pytest.mark.parametrize("message", [agents.REMOTE_WRITE_1, agents.REMOTE_WRITE_2])
def test_prometheus_writes_are_found_by_their_tenant_alone(stack: Stack, customers: tuple[Customer, Customer], message: str) -> None:
    began = time.time()
    fresh = checks.Check("Prometheus", "sample", lambda customer: customer.prometheus(f'timestamp(up{{job="functions"}}) > {began:.3f}'), at_least=7)
    with agents.prometheus(stack.gateway, stack.tenants[1]["token"], message):
        assert_all_hold(checks.run([fresh], customers[1], customers[0]))


def test_pipelines_own_logs_and_traces_are_found_by_their_tenant_alone(stack: Stack, customers: tuple[Customer, Customer]) -> None:
    marker = f"mark{token_hex(5)}"
    with agents.shipper(stack.gateway, stack.tenants[1]["token"]):
        began = time.time()
        httpx2.get(f"{stack.gateway}/{marker}")
        wanted = [check for check in checks.of_pipeline(marker, began) if check.backend != "Prometheus"]
        assert_all_hold(checks.run(wanted, customers[1], customers[0]))
