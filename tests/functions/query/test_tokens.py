"""A tenant's tokens over the API: who may, what is sent to the database, what comes back. The statements themselves: tests/shared/test_token_store.py."""

import base64
import json
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from functions.query import main, users
from shared import tokens
from shared.auth import Authenticator
from shared.contract import Scope
from shared.errors import Refused
from shared.settings import Database as Settings
from tests.conftest import Customer, add_customer
from tests.edges import Database
from tests.functions.query.world import Answer, User, World

JSON = {"content-type": "application/json"}
PATH = "/query/api/tokens"
ONE = f"{PATH}/{uuid4()}"
CREATE = {"name": "agent", "scopes": ["logs"], "expires_in": "90d"}
CHANGES = [("POST", PATH), ("POST", f"{ONE}/rotate"), ("DELETE", ONE)]


def row(**changes: Any) -> tuple[Any, ...]:
    """A row of tokens as the statements return it."""
    values = {"id": uuid4(), "name": "agent", "scopes": ["logs"], "hint": "obs_abcd", "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    return tuple({**values, "expires_at": None, "revoked_at": None, "last_used_at": None, "replaces": None, **changes}.values())


async def ask(world: World, method: str, path: str, headers: dict[str, str], body: Any = None) -> Answer:
    return await world.ask(method, path, {**JSON, **headers}, b"" if body is None else json.dumps(body).encode())


async def test_list_shows_everything_but_secrets(world: World, database: Database, session: dict[str, str], anna: User) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    database.answers.append([row(), row(expires_at=past, last_used_at=past), row(revoked_at=past)])
    answer = await world.ask("GET", PATH, session)
    assert answer.status == 200
    shown = answer.json["tokens"]
    assert [token["state"] for token in shown] == ["active", "expired", "revoked"]
    columns = {"id", "name", "scopes", "hint", "state", "created_at", "expires_at", "revoked_at", "last_used_at", "replaces"}
    assert set(shown[0]) == columns
    assert database.statements[-1][1] == {"tenant": anna.tenant_id}


async def test_create_shows_the_secret_once_and_stores_its_digest(world: World, database: Database, session: dict[str, str], anna: User) -> None:
    database.answers.append([row()])
    answer = await ask(world, "POST", PATH, session, CREATE)
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    secret = answer.json["token"]
    assert tokens.is_wellformed(secret)
    statement, given = database.statements[-1]
    assert (given["tenant"], given["scopes"], given["lifetime"]) == (anna.tenant_id, ["logs"], timedelta(days=90))
    assert (given["sha256"], given["hint"]) == (tokens.digest(secret), secret[:8])
    assert secret not in statement + str(given)


async def test_rotate_and_revoke_name_the_sessions_tenant(world: World, database: Database, session: dict[str, str], anna: User) -> None:
    database.answers.extend([[row()], [row(revoked_at=datetime.now(UTC))]])
    rotated = await ask(world, "POST", f"{ONE}/rotate", session, {"grace": "2h"})
    assert (rotated.status, tokens.is_wellformed(rotated.json["token"])) == (201, True)
    assert (database.statements[-1][1]["tenant"], database.statements[-1][1]["grace"]) == (anna.tenant_id, timedelta(hours=2))
    revoked = await ask(world, "DELETE", ONE, session)
    assert (revoked.status, revoked.json["state"], "token" in revoked.json) == (200, "revoked", False)
    assert database.statements[-1][1] == {"tenant": anna.tenant_id, "id": ONE.rpartition("/")[2]}


@pytest.mark.parametrize(("method", "path"), [("GET", PATH), *CHANGES])
async def test_a_token_opens_nothing_here(world: World, database: Database, acme: Customer, method: str, path: str) -> None:
    assert (await ask(world, method, path, acme.headers, CREATE)).status == 401
    assert (await ask(world, method, path, {"x-obstack-auth-token": acme.token}, CREATE)).status == 401
    assert (await ask(world, method, path, {}, CREATE)).status == 401
    assert not database.statements


async def test_a_viewer_lists_and_changes_nothing(world: World, database: Database, vera: User) -> None:
    session = {"cookie": (await world.log_in(vera.email)).cookie}
    for method, path in CHANGES:
        answer = await ask(world, method, path, session, CREATE)
        assert (answer.status, answer.json["errorType"]) == (403, "forbidden")
        assert "admin" in answer.json["error"]
    assert not database.statements
    database.answers.append([row()])
    assert len((await ask(world, "GET", PATH, session)).json["tokens"]) == 1
    assert (await world.ask("GET", "/query/loki/api/v1/labels", session)).status == 200


async def test_a_role_taken_away_is_noticed_in_seconds(
    world: World, database: Database, session: dict[str, str], anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna.roles = ["viewer"]
    monkeypatch.setattr("functions.query.users.monotonic", lambda: monotonic() + users.SESSION_SECONDS)
    assert (await ask(world, "POST", PATH, session, CREATE)).status == 403
    assert not database.statements


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [({"content-type": "text/plain"}, 415), ({"sec-fetch-site": "cross-site"}, 403), ({"origin": "https://evil.example"}, 403)],
)
async def test_other_sites_change_nothing(
    world: World, database: Database, session: dict[str, str], method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert (await ask(world, method, path, {**session, **headers}, CREATE)).status == status
    assert not database.statements


WRONG = [
    {},
    {**CREATE, "name": ""},
    {**CREATE, "name": " "},
    {**CREATE, "name": "a\nb"},
    {**CREATE, "name": "a\0"},
    {**CREATE, "name": "x" * 101},
    {**CREATE, "name": 1},
    {**CREATE, "scopes": []},
    {**CREATE, "scopes": "logs"},
    {**CREATE, "scopes": ["admin"]},
    {**CREATE, "scopes": [["logs"]]},
    {**CREATE, "expires_in": "90"},
    {**CREATE, "expires_in": "0d"},
    {**CREATE, "expires_in": "99999d"},
    {**CREATE, "expires_in": -1},
    [],
    "x",
]


@pytest.mark.parametrize("body", WRONG)
async def test_malformed_requests_are_400(world: World, database: Database, session: dict[str, str], body: Any) -> None:
    assert (await ask(world, "POST", PATH, session, body)).status == 400
    assert not database.statements


async def test_body_that_is_no_json_or_huge(world: World, session: dict[str, str]) -> None:
    assert (await world.ask("POST", PATH, {**JSON, **session}, b"{")).status == 400
    assert (await world.ask("POST", PATH, {**JSON, **session}, b" " * 5000)).status == 413


async def test_what_isnt_there_is_404_and_too_many_409(world: World, database: Database, session: dict[str, str]) -> None:
    assert (await ask(world, "DELETE", ONE, session)).status == 404
    assert (await ask(world, "POST", f"{ONE}/rotate", session, {})).status == 404
    assert (await ask(world, "DELETE", f"{PATH}/{'-' * 36}", session)).status == 404
    assert (await ask(world, "POST", PATH, session, CREATE)).status == 409
    database.answers.extend([[], [row(id=ONE.rpartition("/")[2])]])
    assert (await ask(world, "POST", f"{ONE}/rotate", session, {})).status == 409


@pytest.mark.parametrize(("method", "path"), [("PUT", PATH), ("GET", ONE), ("POST", ONE), ("GET", f"{ONE}/rotate"), ("DELETE", PATH)])
async def test_other_methods_are_405(world: World, session: dict[str, str], method: str, path: str) -> None:
    assert (await ask(world, method, path, session)).status == 405


async def test_database_away_is_503(world: World, database: Database, session: dict[str, str]) -> None:
    database.down = True
    answer = await world.ask("GET", PATH, session)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")


# --- what a token is worth for reads ---

LABELS = "/query/loki/api/v1/labels"


def spellings(token: str) -> list[dict[str, str]]:
    """The token where clients may put it; Basic's user is any."""
    basic = [base64.b64encode(f"{user}:{token}".encode()).decode() for user in ("obstack", "", "anna@acme.example")]
    return [{"authorization": f"Bearer {token}"}, {"x-obstack-auth-token": token}, *({"authorization": f"Basic {word}"} for word in basic)]


@pytest.mark.parametrize("number", range(5))
async def test_token_reads_wherever_a_client_puts_it(world: World, acme: Customer, number: int) -> None:
    assert (await world.ask("GET", LABELS, spellings(acme.token)[number])).status == 200
    assert world.loki.last.headers["x-scope-orgid"] == acme.tenant_id


@pytest.mark.parametrize("scopes", [["logs", "metrics", "traces"], ["logs"], []])
async def test_token_without_the_scope_read_is_403_though_a_good_cookie_is_beside_it(
    world: World, database: Database, session: dict[str, str], scopes: list[str]
) -> None:
    sender = add_customer(database, scopes=scopes)
    for headers in spellings(sender.token):
        for cookie in ({}, session):
            assert (await world.ask("GET", LABELS, {**headers, **cookie})).status == 403
    assert not world.asked


async def test_read_token_sends_nothing(database: Database) -> None:
    reader = add_customer(database, scopes=["read"])
    async with Authenticator(Settings()) as authenticator:
        assert (await authenticator.tenant(reader.headers, Scope.READ)).id == reader.tenant_id
        for scope in (Scope.LOGS, Scope.METRICS, Scope.TRACES):
            with pytest.raises(Refused) as refused:
                await authenticator.tenant(reader.headers, scope)
            assert refused.value.status == 403


async def test_unknown_token_and_inactive_tenant(world: World, database: Database) -> None:
    closed = add_customer(database, active=False)
    assert [(await world.ask("GET", LABELS, headers)).status for headers in spellings(tokens.create())] == [401] * 5
    assert [(await world.ask("GET", LABELS, headers)).status for headers in spellings(closed.token)] == [403] * 5
    assert not world.asked


async def test_reads_by_token_are_counted(world: World, database: Database, acme: Customer) -> None:
    await world.ask("GET", "/query/loki/api/v1/labels", acme.headers)
    needs = await main.function.open()
    assert await needs.usage.flush()
    (rows,) = [parameters for statement, parameters in database.statements if "INTO telemetry.usage " in statement]
    assert (rows["tenants"], rows["tokens"], rows["signals"], rows["requests"]) == ([acme.tenant_id], [acme.token_id], ["read"], [1])
