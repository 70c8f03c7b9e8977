"""The query function with two tenants, each with a user who is logged in and a token (`acme`, `globex` of the root conftest)."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from functions.query import main
from tests.conftest import Customer
from tests.edges import Database
from tests.functions.query.world import SECRET, Backend, User, World, serve


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch, database: Database) -> AsyncIterator[World]:
    monkeypatch.setenv("SESSION_SECRET", SECRET)
    async with AsyncExitStack() as stack:
        backends = {name: await stack.enter_async_context(serve(Backend())) for name in ("loki", "prometheus", "tempo", "opensearch")}
        for name, variable in (("loki", "LOKI_URL"), ("prometheus", "PROM_LABEL_PROXY_URL"), ("tempo", "TEMPO_URL"), ("opensearch", "OPENSEARCH_URL")):
            monkeypatch.setenv(variable, backends[name].url)
        backends["opensearch"].answer = (200, {"content-type": "application/json"}, b'{"hits":{"total":{"value":0,"relation":"eq"},"hits":[]}}')
        stack.push_async_callback(main.function.close)
        await main.function.open()
        yield World(database=database, **backends)


@pytest.fixture
def anna(world: World, acme: Customer) -> User:
    """A user of the tenant whose token `acme` is."""
    world.database.users.append(user := User("anna@acme.example", acme.tenant_id))
    return user


@pytest.fixture
def gus(world: World, globex: Customer) -> User:
    """A user of the other tenant."""
    world.database.users.append(user := User("gus@globex.example", globex.tenant_id, name="Globex Energy"))
    return user


@pytest.fixture
def vera(world: World, acme: Customer) -> User:
    """A viewer of Anna's tenant."""
    world.database.users.append(user := User("vera@acme.example", acme.tenant_id, roles=["viewer"]))
    return user


@pytest.fixture
async def session(world: World, anna: User) -> dict[str, str]:
    """Headers of Anna's browser."""
    return {"cookie": (await world.log_in(anna.email)).cookie}
