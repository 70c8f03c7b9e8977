"""What the running functions tell at `/metrics`: a form that Prometheus reads, its naming rules, and the figures after requests that are known."""

import platform
import subprocess
from collections.abc import Callable, Mapping
from secrets import token_hex
from time import time_ns
from typing import Any

import httpx2
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from localdev import functions
from localdev.install import servers
from shared import tokens
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack

NAMES = sorted(function.name for function in functions.catalogue())


def page(name: str) -> str:
    (port,) = [function.metrics_port for function in functions.catalogue() if function.name == name]
    answer = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert answer.status_code == 200
    return answer.text


def families(name: str) -> list[Metric]:
    """A function's, parsed. Raises ValueError."""
    return list(text_string_to_metric_families(page(name)))


def value(name: str, series: str, **labels: str) -> float:
    """The sum over a function's series that have these labels; 0 when there is none."""
    found = [sample for family in families(name) for sample in family.samples if sample.name == series]
    return sum(sample.value for sample in found if labels.items() <= sample.labels.items())


def send(stack: Stack, token: str, signal: str = "logs") -> int:
    record: Mapping[str, Any] = {"timeUnixNano": str(time_ns()), "body": {"stringValue": token_hex(8)}}
    batch = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    return httpx2.post(f"{stack.gateway}/ingest/otlp/v1/{signal}", json=batch, headers={"authorization": f"Bearer {token}"}, timeout=30).status_code


@pytest.mark.parametrize("name", NAMES)
def test_a_functions_page_is_read_and_says_what_runs(stack: Stack, name: str) -> None:
    read = {family.name: family for family in families(name)}
    assert read["process_cpu_seconds"].type == "counter"
    assert all(family.documentation for family in read.values())
    (build,) = read["obstack_build_info"].samples
    assert build.labels == {"function": name, "version": "dev", "python": platform.python_version()}


@pytest.mark.parametrize("name", NAMES)
def test_a_functions_page_passes_promtool(stack: Stack, name: str) -> None:
    servers.install(servers.promtool, lambda _: None)
    done = subprocess.run([servers.promtool.binary(), "check", "metrics"], input=page(name), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_requests_are_told_by_tenant_and_outcome(stack: Stack) -> None:
    tenant, series = stack.tenants[0], "obstack_ingest_requests_total"

    def growth(**labels: str) -> Callable[[], float]:
        before = value("ingest_otlp", series, **labels)
        return lambda: value("ingest_otlp", series, **labels) - before

    accepted = growth(tenant=tenant["id"], signal="logs", outcome="accepted", reason="")
    refused = growth(tenant="", signal="logs", outcome="refused", reason="unknown_token")
    nowhere = growth(tenant="", signal="", outcome="refused", reason="not_found")
    assert [send(stack, tenant["token"]) for _ in range(3)] == [200] * 3
    assert send(stack, tokens.create()) == 401
    assert send(stack, tenant["token"], "nothing") == 404
    assert (accepted(), refused(), nowhere()) == (3, 1, 1)
    assert value("ingest_otlp", "obstack_tokens_cached", kind="known") >= 1
    assert value("ingest_otlp", "obstack_token_lookups_total", outcome="hit") >= 1
    assert value("ingest_otlp", "obstack_tokens_away_seconds") == 0
    until(lambda: value("ingest_otlp", "obstack_publish_waiting_records") == 0, what="all is acknowledged")


def test_reads_are_told_by_endpoint(stack: Stack) -> None:
    labels = {"endpoint": "prometheus/api/v1/query", "status": "2xx"}
    before = value("query", "obstack_query_request_seconds_count", **labels)
    headers = {"authorization": f"Bearer {stack.tenants[0]['token']}"}
    assert httpx2.get(f"{stack.gateway}/query/prometheus/api/v1/query?query=up", headers=headers, timeout=30).status_code == 200
    assert value("query", "obstack_query_request_seconds_count", **labels) == before + 1


def test_query_has_counted_the_tokens_that_end(stack: Stack) -> None:
    until(lambda: value("query", "obstack_tokens_checked_timestamp_seconds") > 0, 90, "query has counted")
    assert {sample.labels["within"] for family in families("query") if family.name == "obstack_tokens_expiring" for sample in family.samples} == {"1d", "7d"}


def test_the_platforms_own_tenant_may_log_in_and_send(stack: Stack) -> None:
    platforms = stack.demo["platform"]
    assert platforms["id"] == functions.PLATFORM_TENANT_ID
    assert send(stack, platforms["token"]) == 200
    entered = httpx2.post(f"{stack.gateway}/query/api/login", json={"email": platforms["email"], "password": platforms["password"]}, timeout=30)
    assert (entered.status_code, entered.json().get("operator")) == (200, True)
    others = httpx2.post(f"{stack.gateway}/query/api/login", json={"email": stack.tenants[0]["email"], "password": stack.tenants[0]["password"]}, timeout=30)
    assert (others.status_code, others.json().get("operator")) == (200, None)
