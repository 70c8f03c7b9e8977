"""The operators' view over the API: who sees it, what is asked of the operators' Prometheus, what comes back."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import parse_qs

import pytest

from functions.query import main, operations
from tests.conftest import Customer
from tests.functions.query.world import Asked, Backend, User, World, serve

PATH = "/query/api/operations"
SERIES = {"metric": {"group": "sink-loki"}, "value": [1.5, "7"], "values": [[60, "1"], [120, "NaN"]]}
ALERTS = [
    {"labels": {"alertname": "Slow", "severity": "warning"}, "annotations": {}, "state": "pending", "activeAt": "2026-11-29T05:00:00Z", "value": "1"},
    {
        "labels": {"alertname": "Away", "severity": "critical"},
        "annotations": {"summary": "Loki is away", "runbook_url": "https://x.example/Away.md"},
        "state": "firing",
        "activeAt": "2026-11-29T05:10:00Z",
        "value": "1",
    },
]


class Prometheus(Backend):
    """The operators': one series for each question, two alerts."""

    async def handle(self, request: Any) -> Any:
        data = {"alerts": ALERTS} if request.path.endswith("/alerts") else {"resultType": "any", "result": [SERIES]}
        if self.answer[0] == 200:
            self.answer = (200, {"content-type": "application/json"}, json.dumps({"status": "success", "data": data}).encode())
        return await super().handle(request)


@pytest.fixture
async def prometheus() -> AsyncIterator[Prometheus]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(serve(Prometheus()))


@pytest.fixture
async def operated(world: World, acme: Customer, prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch) -> World:
    """The function anew, with `acme` as the platform's own tenant."""
    monkeypatch.setenv("PLATFORM_TENANT_ID", acme.tenant_id)
    monkeypatch.setenv("OPERATIONS_PROMETHEUS_URL", prometheus.url)
    await main.function.close()
    await main.function.open()
    return world


async def headers(world: World, user: User) -> dict[str, str]:
    return {"cookie": (await world.log_in(user.email)).cookie}


async def test_an_admin_of_the_platforms_tenant_sees_everything(operated: World, anna: User, prometheus: Prometheus) -> None:
    answer = await operated.ask("GET", PATH, await headers(operated, anna))
    assert answer.status == 200
    seen = answer.json
    assert seen["configured"] is True
    assert seen["now"].keys() == operations.NOW.keys()
    assert seen["hour"].keys() == operations.HOUR.keys()
    assert seen["now"]["lag_records"] == [{"labels": {"group": "sink-loki"}, "value": 7}]
    assert seen["hour"]["lag_seconds"] == [{"labels": {"group": "sink-loki"}, "points": [[60_000, 1], [120_000, None]]}]
    assert [alert["name"] for alert in seen["alerts"]] == ["Away", "Slow"]  # what fires comes first
    assert seen["alerts"][0] | {"since": ""} == {
        "name": "Away",
        "severity": "critical",
        "state": "firing",
        "since": "",
        "summary": "Loki is away",
        "runbook": "https://x.example/Away.md",
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_the_questions_are_ours_whatever_is_asked(operated: World, anna: User, prometheus: Prometheus) -> None:
    answer = await operated.ask("GET", f"{PATH}?query=up&match[]=up&start=0&step=1", await headers(operated, anna))
    assert answer.status == 200
    asked = [parse_qs(one.query) for one in prometheus.asked if not one.path.endswith("/alerts")]
    assert sorted(one["query"][0] for one in asked) == sorted([*operations.NOW.values(), *operations.HOUR.values()])
    for one in asked:
        if "step" in one:
            assert (one["step"], int(one["end"][0]) - int(one["start"][0])) == (["60"], 3600)
    assert not operated.asked  # nothing of the customers' stores


async def test_nothing_of_the_callers_goes_along(operated: World, anna: User, prometheus: Prometheus) -> None:
    await operated.ask("GET", PATH, {**await headers(operated, anna), "x-scope-orgid": "a", "authorization": "Bearer x"})

    def told(one: Asked) -> set[str]:
        return {name.lower() for name in one.headers} & {"cookie", "authorization", "x-scope-orgid"}

    assert prometheus.asked
    assert not any(map(told, prometheus.asked))


async def test_for_others_it_is_not_there(operated: World, anna: User, vera: User, gus: User, acme: Customer, prometheus: Prometheus) -> None:
    """Neither for a viewer of the platform's tenant nor for another tenant's admin; a token opens it for nobody."""
    nowhere = await operated.ask("GET", "/query/api/nothing", await headers(operated, anna))
    for user in (vera, gus):
        answer = await operated.ask("GET", PATH, await headers(operated, user))
        assert (answer.status, answer.body) == (404, nowhere.body), user.email
    assert (await operated.ask("POST", PATH, await headers(operated, anna))).status == 404
    assert (await operated.ask("GET", PATH, acme.headers)).status == 401
    assert (await operated.ask("GET", PATH)).status == 401
    assert prometheus.asked == []


async def test_without_a_platforms_tenant_nobody_is_an_operator(world: World, anna: User) -> None:
    assert (await world.ask("GET", PATH, await headers(world, anna))).status == 404


async def test_the_page_is_told_who_is_an_operator(operated: World, anna: User, vera: User, gus: User) -> None:
    for user, operator in ((anna, True), (vera, None), (gus, None)):
        entered = await operated.log_in(user.email)
        assert entered.json.get("operator") is operator
        assert (await operated.ask("GET", "/query/api/me", {"cookie": entered.cookie})).json.get("operator") is operator


async def test_without_a_prometheus_the_view_says_so(operated: World, anna: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPERATIONS_PROMETHEUS_URL")
    await main.function.close()
    await main.function.open()
    answer = await operated.ask("GET", PATH, await headers(operated, anna))
    assert (answer.status, answer.json) == (200, {"configured": False})


@pytest.mark.parametrize("wrong", ["400", "500", "302", "silent"])
async def test_a_prometheus_in_trouble_is_503_without_its_words(operated: World, anna: User, prometheus: Prometheus, wrong: str) -> None:
    if wrong == "silent":
        prometheus.silent = True
    else:
        prometheus.answer = (int(wrong), {"location": "http://elsewhere.invalid/"}, b"internal words")
    answer = await operated.ask("GET", PATH, await headers(operated, anna))
    assert (answer.status, answer.json["error"]) == (503, "the operators' Prometheus is not available")
    assert prometheus.url.encode() not in answer.body
