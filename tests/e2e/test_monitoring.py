"""The operators' Prometheus of a real stack: it hears of everything, its rules find their metrics, and a backend that is stopped is told of."""

from functools import partial
from typing import Any

import httpx2
import pytest

from localdev import functions, monitoring
from localdev.supervisor import control
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack


def ask(stack: Stack, path: str, **parameters: str) -> Any:
    """Its API's data."""
    answer = httpx2.get(f"{stack.backends['monitoring']}/api/v1/{path}", params=parameters, timeout=30)
    answer.raise_for_status()
    return answer.json()["data"]


def query(stack: Stack, expression: str) -> list[dict[str, str]]:
    """Labels of what is found now."""
    return [one["metric"] for one in ask(stack, "query", query=expression)["result"]]


def alerts(stack: Stack, name: str, service: str) -> list[str]:
    """States of an alert about a service."""
    return [one["state"] for one in ask(stack, "alerts")["alerts"] if (one["labels"]["alertname"], one["labels"].get("service")) == (name, service)]


def test_all_that_tells_metrics_is_heard(stack: Stack) -> None:
    """Other tests stop and kill services; in the end each is up."""
    rows = functions.catalogue()
    expected = {("functions", row.name) for row in rows} | {(job, "") for job in monitoring.JOBS if job != "broker"}
    until(lambda: {(one["job"], one.get("function", "")) for one in query(stack, "up == 1")} == expected, 90, "everything is up")
    groups = {row.trigger.group for row in rows if row.trigger}
    until(lambda: {one["group"] for one in query(stack, "obstack_group_lag_seconds")} == groups, 60, "the lag of all groups")


def test_rules_are_evaluated_without_error(stack: Stack) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in ask(stack, "rules")["groups"] for rule in group["rules"]]

    until(lambda: {rule["health"] for rule in rules()} == {"ok"}, what="each rule was evaluated")
    assert [rule["lastError"] for rule in rules() if rule.get("lastError")] == []


def _sinks_tell(stack: Stack, expression: str) -> bool:
    return {"sink_loki", "sink_opensearch"} <= {one["function"] for one in query(stack, expression)}


def test_bounds_of_the_aims_are_buckets(stack: Stack) -> None:
    """As they are stored: `le` is text. A sink tells its age's buckets once it has stored something."""
    batch = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "watched"}}]}]}]}
    httpx2.post(f"{stack.gateway}/ingest/otlp/v1/logs", json=batch, headers={"x-obstack-auth-token": stack.tenants[0]["token"]}).raise_for_status()
    for bound in ("5.0", "15.0"):
        expression = f'obstack_sink_age_seconds_bucket{{le="{bound}"}}'
        until(partial(_sinks_tell, stack, expression), 60, f"both sinks' buckets for {bound} s")


def test_stopped_backend_is_told_of_until_it_is_back(stack: Stack) -> None:
    until(lambda: not alerts(stack, "BackendAway", "tempo"), 60, "Tempo is there")
    control.stop("tempo")
    try:
        until(lambda: alerts(stack, "BackendAway", "tempo"), 60, "the alert")
        until(lambda: alerts(stack, "BackendAway", "tempo") == ["firing"], 120, "the alert fires")
    finally:
        control.start("tempo")
    until(lambda: not alerts(stack, "BackendAway", "tempo"), 90, "the alert's end")
