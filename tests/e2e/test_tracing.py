"""A customer's trace id leads an operator to what the pipeline did with the request; nobody else sees that, and it doesn't watch itself."""

import os
from typing import Any

import httpx2
import pytest

from localdev.functions import TRACE_RATIO
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack

BATCH = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "traced"}}]}]}]}
ENOUGH = int(20 / TRACE_RATIO)
"""Requests of which one is sampled, but for one run in a hundred million."""


@pytest.fixture(scope="module")
def sent(stack: Stack) -> set[str]:
    """Trace ids of a customer's requests."""
    ids = {os.urandom(16).hex() for _ in range(ENOUGH)}
    with httpx2.Client(headers={"authorization": f"Bearer {stack.tenants[0]['token']}"}) as client:
        for one in ids:
            answer = client.post(f"{stack.gateway}/ingest/otlp/v1/logs", json=BATCH, headers={"traceparent": f"00-{one}-{'1' * 16}-00"})
            answer.raise_for_status()
    return ids


def read(stack: Stack, tenant: dict[str, str], path: str, **parameters: str) -> Any:
    """Tempo's answer to a tenant."""
    answer = httpx2.get(f"{stack.gateway}/query/tempo/api/{path}", params=parameters, headers={"authorization": f"Bearer {tenant['token']}"})
    return {} if answer.status_code == 404 else answer.raise_for_status().json()


def spans(trace: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Service and name → span."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for batch in trace.get("batches", []):
        service = next(one["value"]["stringValue"] for one in batch["resource"]["attributes"] if one["key"] == "service.name")
        for scope in batch.get("scopeSpans") or batch.get("instrumentationLibrarySpans") or []:
            found |= {(service, span["name"]): span for span in scope["spans"]}
    return found


@pytest.fixture(scope="module")
def traced(stack: Stack, sent: set[str]) -> str:
    """The id of one that was sampled."""

    def look() -> set[str]:
        found = read(stack, stack.demo["platform"], "search", tags="service.name=ingest_otlp", limit="500").get("traces") or []
        return sent & {trace["traceID"].rjust(32, "0") for trace in found}

    return until(look, 60, "a trace with an id of the customer's is there for the platform's tenant").pop()


def test_one_trace_shows_the_way_from_the_request_to_each_backend(stack: Stack, traced: str) -> None:
    def whole() -> dict[tuple[str, str], dict[str, Any]]:
        found = spans(read(stack, stack.demo["platform"], f"traces/{traced}"))
        return found if {service for service, _ in found} >= {"ingest_otlp", "sink_loki", "sink_opensearch"} else {}

    found = until(whole, 60, "each function's spans are there")
    request, send = found["ingest_otlp", "ingest logs"], found["ingest_otlp", "send telemetry.logs"]
    assert send["parentSpanId"] == request["spanId"]
    for sink in ("sink_loki", "sink_opensearch"):
        work = found[sink, "process telemetry.logs"]
        assert work["parentSpanId"] == send["spanId"]
        # Several records may have shared a request, and the call be part of another one's trace.
        calls = [span for (service, name), span in found.items() if service == sink and name.startswith("POST ")]
        assert all(call["parentSpanId"] == work["spanId"] for call in calls)
        assert calls or work.get("links")


def test_customers_dont_see_them(stack: Stack, traced: str) -> None:
    for tenant in stack.tenants:
        assert not spans(read(stack, tenant, f"traces/{traced}"))


def test_the_platforms_own_requests_leave_none(stack: Stack, traced: str) -> None:
    """Exports have come in by now: `traced` was in one."""

    def about(tenant: dict[str, str]) -> Any:
        return read(stack, stack.demo["platform"], "search", tags=f"obstack.tenant.id={tenant['id']}", limit="20").get("traces") or []

    until(lambda: about(stack.tenants[0]), what=f"{traced} and others are found by their tenant")
    assert about(stack.demo["platform"]) == []
