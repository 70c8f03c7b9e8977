"""Every panel's queries, asked of the operators' real Prometheus while the real stack has work to do: each parses and finds numbers. No Grafana runs here:
its variables are put in as it would."""

import math
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import cramjam
import httpx2
import pytest
from confluent_kafka import Producer

from localdev import topics
from localdev.dashboards import grafana, source
from localdev.dashboards.source import Dashboard
from shared import envelope
from shared.contract import PROTOBUF, EventType
from tests import batches
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack

DASHBOARDS = {dashboard.uid: dashboard for dashboard in source.dashboards()}
RATE_INTERVAL = "1m"
PATIENCE = 120.0

EMPTY: dict[str, str] = {}
"""Panels that may find nothing here, each with the reason."""


class Load:
    """A customer who sends a little of everything, and reads."""

    def __init__(self, stack: Stack) -> None:
        self._tenant = stack.tenants[0]
        self._client = httpx2.Client(base_url=stack.gateway, timeout=10, headers={"authorization": f"Bearer {self._tenant['token']}"})
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._ending.wait(0.3):
            for signal, body in (("logs", batches.logs("a", "b")), ("metrics", batches.metrics("dashboard_test")), ("traces", batches.traces("a"))):
                self._client.post(f"/ingest/otlp/v1/{signal}", content=body, headers={"content-type": PROTOBUF})
            written = bytes(cramjam.snappy.compress_raw(batches.series_1("dashboard_test_written")))
            kind = {"content-type": PROTOBUF, "content-encoding": "snappy", "x-prometheus-remote-write-version": "0.1.0"}
            self._client.post("/ingest/prometheus/v1/write", content=written, headers=kind)
            self._client.post("/ingest/otlp/v1/logs", content=b"", headers={"authorization": "Bearer obs_nobody", "content-type": PROTOBUF})
            self._client.get("/query/loki/api/v1/labels")
            self._client.get("/query/prometheus/api/v1/query", params={"query": "dashboard_test"})
            self._client.get("/query/tempo/api/search")
            self._client.get("/query/api/logs/search", params={"q": "a"})


class Prometheus:
    """The operators'."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client

    def ask(self, path: str, **parameters: Any) -> Any:
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def has_numbers(self, expression: str) -> bool:
        """Whether the query finds a number in the last minute."""
        now = int(time.time())
        found = self.ask("query_range", query=expression, start=now - 60, end=now, step=5)["result"]
        return any(math.isfinite(float(value)) for series in found for _, value in series["values"])

    def values(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        found = self.ask("query", query=expression)["result"]
        return {tuple(sorted(series["metric"].items())): float(series["value"][1]) for series in found}


@pytest.fixture(scope="module")
def prometheus(stack: Stack) -> Iterator[Prometheus]:
    with httpx2.Client(base_url=stack.backends["monitoring"], timeout=20) as client:
        yield Prometheus(client)


@pytest.fixture(scope="module")
def load(stack: Stack) -> Iterator[Load]:
    """While this module's tests run."""
    with Load(stack) as load:
        yield load


def filled(expression: str, **variables: str) -> str:
    for name, value in {"__rate_interval": RATE_INTERVAL, **variables}.items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression, expression
    return expression


def test_every_panel_finds_data_under_load(stack: Stack, prometheus: Prometheus, load: Load) -> None:
    wanted = [
        (dashboard.uid, panel.title, legend, filled(expression, tenant=stack.tenants[0]["id"]))
        for dashboard in DASHBOARDS.values()
        for panel in dashboard.panels
        for legend, expression in panel.queries.items()
        if panel.title not in EMPTY
    ]
    assert len(wanted) > 100

    def all_have() -> bool:
        wanted[:] = [one for one in wanted if not prometheus.has_numbers(one[3])]
        return not wanted

    try:
        until(all_have, PATIENCE)
    except AssertionError:
        pytest.fail("these find nothing:\n" + "\n".join(" | ".join(one) for one in wanted))


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_labels_in_legends_are_there(prometheus: Prometheus, stack: Stack, load: Load, uid: str) -> None:
    """Of series with any labels: what `or vector(0)` puts in has none."""
    wrong = []
    for panel in DASHBOARDS[uid].panels:
        for legend, expression in panel.queries.items():
            for labels in prometheus.values(filled(expression, tenant=stack.tenants[0]["id"])):
                has = {name for name, _ in labels}
                # On one row `function` tells functions, and the trigger has none.
                if has and not has & {"function", "job"} and not set(re.findall(r"{{(\w+)}}", legend)) <= has:
                    wrong.append((panel.title, legend, labels))
    assert wrong == []


def test_annotations_and_variables_can_be_asked(prometheus: Prometheus, stack: Stack, load: Load) -> None:
    assert isinstance(prometheus.ask("query", query=grafana._alerts()["expr"])["result"], list)
    variables = [described for dashboard in DASHBOARDS.values() for _, described in _variables(dashboard)]
    assert variables
    for query in variables:
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
        assert asked
        until(lambda asked=asked: stack.tenants[0]["id"] in prometheus.ask(f"label/{asked[2]}/values", **{"match[]": asked[1]}), PATIENCE)  # type: ignore[misc]


def _variables(dashboard: Dashboard) -> list[tuple[str, str]]:
    return list(dashboard.variables.values())


def test_the_first_dead_letter_is_seen(prometheus: Prometheus, stack: Stack) -> None:
    """A counter that appears with its first event has not increased, to Prometheus."""
    (panel,) = (panel for panel in DASHBOARDS["obstack-pipeline"].panels if panel.title == "Which data do backends refuse, and why?")
    (expression,) = panel.queries.values()

    def of_loki(asked: str) -> float:
        return sum(value for labels, value in prometheus.values(asked).items() if ("sink", "sink_loki") in labels)

    before = of_loki("obstack_dead_letter_stored_letters_total")
    record = batches.record(EventType.LOGS, b"\xff\xff\xff no message", stack.tenants[0]["id"])
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers(), "acks": "all"})
    producer.produce(record.topic.value, record.value, record.key, headers=envelope.kafka_headers(record))
    assert producer.flush(10) == 0

    # Less than before after `dead_letter` has started anew.
    until(lambda: of_loki("obstack_dead_letter_stored_letters_total") not in {0, before}, PATIENCE, "the dead letter is counted")
    assert of_loki(expression) > 0.5
