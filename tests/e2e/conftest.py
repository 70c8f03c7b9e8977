"""Two customers of the running stack, and the agents that send for them."""

from collections.abc import Iterator

import pytest

from localdev import backends
from localdev.demo import agents
from localdev.demo.customer import Customer
from tests.conftest import Stack


@pytest.fixture(scope="session")
def customers(stack: Stack) -> Iterator[tuple[Customer, Customer]]:
    """Both tenants' users, logged in."""
    made = [Customer(stack.gateway, tenant) for tenant in stack.tenants[:2]]
    for customer in made:
        customer.log_in()
    yield made[0], made[1]
    for customer in made:
        customer.close()


@pytest.fixture(scope="session")
def collector(stack: Stack) -> Iterator[str]:
    """A real Collector, as tenant 1's agent; its OTLP/HTTP endpoint."""
    dict(backends.install_steps())["collector"](lambda _: None)
    with agents.collector(stack.gateway, stack.tenants[0]["token"]):
        yield agents.otlp_endpoint()
