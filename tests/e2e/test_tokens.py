"""A token's life as a customer sees it, through the gateway: made by a logged-in user, used by an agent, rotated, revoked."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack

TOKENS = "/query/api/tokens"


@contextmanager
def logged_in(stack: Stack, number: int) -> Iterator[httpx2.Client]:
    tenant = stack.tenants[number]
    with httpx2.Client(base_url=stack.gateway, timeout=30) as client:
        client.post("/query/api/login", json={"email": tenant["email"], "password": tenant["password"]}).raise_for_status()
        yield client


@pytest.fixture
def anna(stack: Stack) -> Iterator[httpx2.Client]:
    with logged_in(stack, 0) as client:
        yield client


@pytest.fixture
def gus(stack: Stack) -> Iterator[httpx2.Client]:
    with logged_in(stack, 1) as client:
        yield client


def send(stack: Stack, token: str) -> int:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return httpx2.post(f"{stack.gateway}/ingest/otlp/v1/logs", headers=headers, content=b"{}", timeout=30).status_code


def test_a_tokens_life(stack: Stack, anna: httpx2.Client, gus: httpx2.Client) -> None:
    created = anna.post(TOKENS, json={"name": "agent", "scopes": ["logs"], "expires_in": "1h"})
    assert created.status_code == 201
    first = created.json()
    assert send(stack, first["token"]) == 200
    assert httpx2.get(f"{stack.gateway}/query/loki/api/v1/labels", headers={"authorization": f"Bearer {first['token']}"}, timeout=30).status_code == 403

    assert gus.request("DELETE", f"{TOKENS}/{first['id']}", json={}).status_code == 404
    assert first["id"] not in gus.get(TOKENS).text
    assert send(stack, first["token"]) == 200

    second = anna.post(f"{TOKENS}/{first['id']}/rotate", json={"grace": "1h"}).json()
    assert (send(stack, first["token"]), send(stack, second["token"])) == (200, 200)
    listed = anna.get(TOKENS)
    assert {first["id"], second["id"]} <= {token["id"] for token in listed.json()["tokens"]}
    assert first["token"] not in listed.text

    for token in (first, second):
        assert anna.request("DELETE", f"{TOKENS}/{token['id']}", json={}).json()["state"] == "revoked"
    until(lambda: send(stack, first["token"]) == send(stack, second["token"]) == 401, 45)
