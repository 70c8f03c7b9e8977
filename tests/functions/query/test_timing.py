"""How long reads take, by endpoint: which label each path has, and that every answer is noted once."""

import asyncio

import pytest

from functions.query import timing
from functions.query.routes import ALLOWED, Route
from tests.conftest import Customer
from tests.functions.query.test_reads import PUBLIC, path_of
from tests.functions.query.world import User, World
from tests.told import growth

NAME = "obstack_query_request_seconds"


@pytest.mark.parametrize("row", ALLOWED, ids=lambda row: f"{row.backend}{row.path}")
def test_a_row_of_the_allow_list_is_an_endpoint(row: Route) -> None:
    """By its pattern: a label's name or a trace's id in a path makes no series."""
    assert timing.endpoint("GET", PUBLIC[row.backend] + path_of(row.path)) == f"{row.backend}{row.path}"


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/query", "page"),
        ("/query/", "page"),
        ("/query/page/main.js", "page"),
        ("/query/api/login", "api/login"),
        ("/query/api/me", "api/me"),
        ("/query/api/logs/search", "api/logs"),
        ("/query/api/tokens/0b57ac00-0000-4000-8000-000000000001/rotate", "api/tokens"),
        ("/query/api/usage", "api/usage"),
        ("/query/api/operations", "api/operations"),
        ("/query/api/whatever", "none"),
        ("/query/api", "none"),
        ("/query/whatever", "none"),
        ("/query/loki/api/v1/push", "none"),
        ("/query/tempo/../../etc/passwd", "none"),
    ],
)
def test_our_own_paths_are_endpoints_and_what_is_nowhere_is_none(path: str, endpoint: str) -> None:
    assert timing.endpoint("GET", path) == endpoint


async def test_each_answer_is_noted_once_with_its_status(world: World, acme: Customer, anna: User) -> None:
    counts = {
        (endpoint, status): growth(f"{NAME}_count", endpoint=endpoint, status=status)
        for endpoint in ("loki/loki/api/v1/labels", "loki/api/v1/labels", "api/login", "api/me", "none", "page", "prometheus/api/v1/query")
        for status in ("2xx", "4xx", "5xx")
    }
    assert (await world.ask("GET", "/query/loki/api/v1/labels", acme.headers)).status == 200
    assert (await world.ask("GET", "/query/loki/api/v1/labels")).status == 401
    assert (await world.log_in(anna.email)).status == 200
    assert (await world.log_in(anna.email, "wrong")).status == 401
    assert (await world.ask("GET", "/query/loki/api/v1/push", acme.headers)).status == 404
    assert (await world.ask("GET", "/query/")).status == 200
    world.prometheus.silent = True
    assert (await world.ask("GET", "/query/prometheus/api/v1/query?query=up", acme.headers)).status == 503
    assert {row: count() for row, count in counts.items() if count()} == {
        ("loki/api/v1/labels", "2xx"): 1,
        ("loki/api/v1/labels", "4xx"): 1,
        ("api/login", "2xx"): 1,
        ("api/login", "4xx"): 1,
        ("none", "4xx"): 1,
        ("page", "2xx"): 1,
        ("prometheus/api/v1/query", "5xx"): 1,
    }


async def test_the_time_is_that_until_the_backend_answers(world: World, acme: Customer) -> None:
    seconds = growth(f"{NAME}_sum", endpoint="tempo/api/echo", status="2xx")
    world.tempo.gate = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, world.tempo.gate.set)
    assert (await world.ask("GET", "/query/tempo/api/echo", acme.headers)).status == 200
    assert seconds() >= 0.2


async def test_refusals_are_querys_own_and_not_ingests(world: World) -> None:
    own, ingests = (growth(f"obstack_{which}_refused_requests_total", reason="no_token") for which in ("query", "ingest"))
    assert (await world.ask("GET", "/query/loki/api/v1/labels")).status == 401
    assert (own(), ingests()) == (1, 0)
