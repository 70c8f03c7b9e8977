"""Each read of all four backends, through the gateway: whose data it is sees it, and the other tenant sees nothing with the same request.

The attacker asks with a session and a token of his own, which are good. A read that doesn't find its own tenant's data proves nothing, so that comes first.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import httpx2
import pytest

from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack


@dataclass(frozen=True)
class Sent:
    """What tenant 1 sent, findable by one word that nobody else has."""

    word: str
    trace_id: str
    tenant_id: str
    started: float

    @property
    def fields(self) -> dict[str, Any]:
        start, end = self.started - 300, time.time() + 300
        seconds = {"s": int(start), "e": int(end), "ns": int(start * 1e9), "ne": int(end * 1e9), "at": int(self.started * 1000)}
        return {"w": self.word, "t": self.trace_id, "victim": self.tenant_id, **seconds}


@dataclass(frozen=True)
class Reader:
    """Someone who is logged in, once by session and once by token."""

    session: httpx2.Client
    token: httpx2.Client


def reader(stack: Stack, tenant: dict[str, str]) -> Reader:
    session = httpx2.Client(base_url=stack.gateway, timeout=30)
    answer = session.post("/query/api/login", json={"email": tenant["email"], "password": tenant["password"]})
    assert answer.status_code == 200
    assert answer.json()["tenant"]["id"] == tenant["id"]
    return Reader(session, httpx2.Client(base_url=stack.gateway, timeout=30, headers={"authorization": f"Bearer {tenant['token']}"}))


@pytest.fixture(scope="module")
def readers(stack: Stack) -> Iterator[tuple[Reader, Reader]]:
    """Tenant 1, whose data it is, and tenant 2, who would like to see it."""
    both = reader(stack, stack.tenants[0]), reader(stack, stack.tenants[1])
    yield both
    for one in both:
        one.session.close()
        one.token.close()


@pytest.fixture(scope="module")
def sent(stack: Stack) -> Sent:
    """Two log records, one metric, one span of tenant 1."""
    tenant, now = stack.tenants[0], time.time()
    sent = Sent(f"w{token_hex(6)}", token_hex(16), tenant["id"], now)
    nano, resource = str(int(now * 1e9)), {"attributes": [{"key": "service.name", "value": {"stringValue": f"service-{sent.word}"}}]}
    attributes = [{"key": f"label_{sent.word}", "value": {"stringValue": sent.word}}]
    log = {"timeUnixNano": nano, "severityNumber": 9, "severityText": "INFO", "body": {"stringValue": f"hello {sent.word}"}, "traceId": sent.trace_id}
    earlier = {**log, "timeUnixNano": str(int(nano) - 20 * 10**9)}  # Loki's volumes leave out a chunk that lasts no time
    gauge = {"dataPoints": [{"timeUnixNano": nano, "asDouble": 1, "attributes": attributes}]}
    span = {
        "traceId": sent.trace_id,
        "spanId": token_hex(8),
        "name": f"span-{sent.word}",
        "kind": 2,
        "startTimeUnixNano": nano,
        "endTimeUnixNano": str(int(nano) + 10**7),
    }
    batches = {
        "logs": {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [log, earlier]}]}]},
        "metrics": {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [{"name": f"metric_{sent.word}", "gauge": gauge}]}]}]},
        "traces": {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]},
    }
    for signal, batch in batches.items():
        answer = httpx2.post(f"{stack.gateway}/ingest/otlp/v1/{signal}", json=batch, headers={"x-obstack-auth-token": tenant["token"]})
        assert answer.status_code == 200, answer.text
    return sent


RANGE = "start={s}&end={e}"
NANO = "start={ns}&end={ne}"
READS = {
    "loki query": '/query/loki/api/v1/query?query=sum by (service_name) (count_over_time({{service_name="service-{w}"}}[10m]))',
    "loki query_range": '/query/loki/api/v1/query_range?query={{service_name=~".*{w}"}}&' + NANO,
    "loki under its own path": '/query/loki/loki/api/v1/query_range?query={{service_name=~".%2B"}} |= "{w}"&' + NANO,
    "loki label values": "/query/loki/api/v1/label/service_name/values?" + NANO,
    "loki series": '/query/loki/api/v1/series?match[]={{service_name="service-{w}"}}&' + NANO,
    "loki volume": '/query/loki/api/v1/index/volume?query={{service_name=~".%2B"}}&limit=5000&' + NANO,
    "loki volume_range": '/query/loki/api/v1/index/volume_range?query={{service_name=~".%2B"}}&limit=5000&step=3600&' + NANO,
    "prometheus query": "/query/prometheus/api/v1/query?query=last_over_time(metric_{w}[10m])",
    "prometheus query_range": "/query/prometheus/api/v1/query_range?query=metric_{w}&step=15&" + RANGE,
    "prometheus any series": '/query/prometheus/api/v1/query?query=last_over_time({{__name__=~"metric_.*"}}[10m])',
    "prometheus foreign matcher": '/query/prometheus/api/v1/query?query=last_over_time({{__name__=~"metric_.*",tenant_id="{victim}"}}[10m])',
    "prometheus wide matcher": '/query/prometheus/api/v1/query?query=last_over_time({{__name__=~"metric_.*",tenant_id=~".%2B"}}[10m])',
    "prometheus in a subquery": "/query/prometheus/api/v1/query?query="
    'max_over_time((last_over_time({{__name__=~"metric_.*"}}[10m]) or metric_{w}{{tenant_id="{victim}"}})[10m:15s])',
    "prometheus series": "/query/prometheus/api/v1/series?match[]=metric_{w}&" + RANGE,
    "prometheus series foreign": '/query/prometheus/api/v1/series?match[]={{tenant_id="{victim}"}}&match[]={{tenant_id!=""}}&' + RANGE,
    "prometheus series without match": "/query/prometheus/api/v1/series?" + RANGE,
    "prometheus labels": "/query/prometheus/api/v1/labels?" + RANGE,
    "prometheus labels matched": '/query/prometheus/api/v1/labels?match[]={{__name__=~"metric_.*"}}&' + RANGE,
    "prometheus label values": "/query/prometheus/api/v1/label/__name__/values?" + RANGE,
    "prometheus label values matched": '/query/prometheus/api/v1/label/service_name/values?match[]={{tenant_id=~".*"}}&' + RANGE,
    "prometheus metadata": "/query/prometheus/api/v1/metadata",
    "prometheus metadata of a metric": "/query/prometheus/api/v1/metadata?metric=metric_{w}",
    "tempo trace": "/query/tempo/api/traces/{t}",
    "tempo search": "/query/tempo/api/search?tags=service.name%3Dservice-{w}&limit=20&" + RANGE,
    "tempo search all": "/query/tempo/api/search?limit=1000&" + RANGE,
    "tempo tag values": "/query/tempo/api/search/tag/service.name/values",
    "opensearch": "/query/api/logs/search?q={w}",
    "opensearch facets": "/query/api/logs/search?q={w}&facets=1&highlight=1&timeline=5&severity=info",
    "opensearch trace": "/query/api/logs/search?trace_id={t}",
    "opensearch all": "/query/api/logs/search?size=500&from={at}&sort=oldest",
}
POSTED = ("loki query_range", "prometheus query", "prometheus query_range", "prometheus foreign matcher", "prometheus series", "prometheus labels matched")


def text(answer: Any) -> str:
    """What an answer shows. An error would hide a leak, so of all errors only "no such trace" and the proxy's refusal of a foreign tenant_id will do."""
    assert answer.status_code in {200, 404} or "conflicting label matcher" in answer.text, answer.text
    return str(answer.text)


@pytest.mark.parametrize("name", READS)
def test_read_shows_its_own_tenant_only(readers: tuple[Reader, Reader], sent: Sent, name: str) -> None:
    owner, attacker = readers
    target = READS[name].format(**sent.fields)
    until(lambda: sent.word in text(owner.session.get(target)), what=name)
    assert sent.word in text(owner.token.get(target))
    assert sent.word not in text(attacker.session.get(target))
    assert sent.word not in text(attacker.token.get(target))


@pytest.mark.parametrize("name", POSTED)
def test_posted_read_shows_its_own_tenant_only(readers: tuple[Reader, Reader], sent: Sent, name: str) -> None:
    owner, attacker = readers
    path, _, query = READS[name].format(**sent.fields).partition("?")
    form = query.encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    until(lambda: sent.word in text(owner.session.post(path, content=form, headers=headers)), what=name)
    for client in (attacker.session, attacker.token):
        assert sent.word not in text(client.post(path, content=form, headers=headers))


def test_tenant_headers_of_the_attacker_change_nothing(readers: tuple[Reader, Reader], sent: Sent) -> None:
    _, attacker = readers
    smuggled = {"x-scope-orgid": sent.tenant_id, "x-obstack-tenant": sent.tenant_id}
    for name in ("loki query_range", "prometheus label values", "tempo trace", "tempo search all", "opensearch"):
        target = READS[name].format(**sent.fields)
        assert sent.word not in text(attacker.token.get(target, headers=smuggled))
        assert sent.word not in text(attacker.session.get(target, headers={**smuggled, "x-scope-orgid": f"{sent.tenant_id}|x"}))


@pytest.mark.parametrize("name", ["tempo trace", "tempo search", "loki query_range", "opensearch"])
def test_many_reads_at_a_time_are_all_answered(readers: tuple[Reader, Reader], sent: Sent, name: str) -> None:
    """Below our own limit of 20 no backend has one of its own that is reached first."""
    target, ask = READS[name].format(**sent.fields), readers[0].token
    until(lambda: sent.word in text(ask.get(target)), what=name)
    with ThreadPoolExecutor(16) as many:
        answers = list(many.map(lambda _: ask.get(target), range(160)))
    assert {answer.status_code for answer in answers} == {200}, {answer.text[:200] for answer in answers if answer.status_code != 200}


def test_list_of_some_lines_ends_no_query_of_lokis(readers: tuple[Reader, Reader], stack: Stack) -> None:
    """Each that Loki ends takes one of its workers away from everybody for a while (stack/loki/loki.yml)."""
    now, tenant = time.time(), stack.tenants[0]
    logs = [{"timeUnixNano": str(int((now - 60 * number) * 1e9)), "body": {"stringValue": f"line {number} {'x' * 1000}"}} for number in range(600)]
    batch = {"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]}
    httpx2.post(f"{stack.gateway}/ingest/otlp/v1/logs", json=batch, headers={"x-obstack-auth-token": tenant["token"]}, timeout=30).raise_for_status()
    params = {"query": '{service_name=~".+"} |= "line"', "start": str(int((now - 86_400) * 1e9)), "end": str(int((now + 60) * 1e9)), "limit": "5"}
    workers = _workers(stack)
    for _ in range(20):
        until(lambda: len(readers[0].token.get("/query/loki/api/v1/query_range", params=params).json()["data"]["result"]), what="there are lines")
        assert _workers(stack) == workers


def _workers(stack: Stack) -> float:
    """Loki's, that wait for a query or are at one."""
    (line,) = re.findall(r"^loki_query_frontend_connected_clients (\S+)$", httpx2.get(f"{stack.backends['loki']}/metrics").text, re.MULTILINE)
    return float(line)


def test_tenant_label_has_one_value(readers: tuple[Reader, Reader], sent: Sent, stack: Stack) -> None:
    for one, tenant in zip(readers, stack.tenants, strict=False):
        values = one.session.get("/query/prometheus/api/v1/label/tenant_id/values").json()["data"]
        assert set(values) <= {tenant["id"]}


def test_search_goes_on_page_by_page(readers: tuple[Reader, Reader], sent: Sent, stack: Stack) -> None:
    """Records of one nanosecond, more than a page holds: none twice, none missing."""
    word, nano = f"p{token_hex(6)}", str(int(sent.started * 1e9))
    records = [{"timeUnixNano": nano, "body": {"stringValue": f"{word} {number}"}} for number in range(25)]
    batch = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    httpx2.post(f"{stack.gateway}/ingest/otlp/v1/logs", json=batch, headers={"x-obstack-auth-token": stack.tenants[0]["token"]}).raise_for_status()
    ask = readers[0].session
    until(lambda: ask.get("/query/api/logs/search", params={"q": word}).json()["total"] == 25, what="all records are found")
    found: list[str] = []
    parameters = {"q": word, "size": "10"}
    while True:
        page = ask.get("/query/api/logs/search", params=parameters).json()
        found += [hit["body"] for hit in page["hits"]]
        if page["next"] is None:
            break
        parameters["cursor"] = page["next"]
    assert sorted(found) == sorted(f"{word} {number}" for number in range(25))


@pytest.fixture(scope="module")
def searched(readers: tuple[Reader, Reader], stack: Stack) -> str:
    """A word of six records of tenant 1: from two services, of severities trace to fatal, a second apart, the bodies with tags of their own."""
    word, now = f"s{token_hex(6)}", time.time() - 60
    for service, numbers in (("one", (1, 5, 9)), ("two", (13, 17, 21))):
        records = [
            {"timeUnixNano": str(int((now + number) * 1e9)), "severityNumber": number, "body": {"stringValue": f"<em>{word}</em> is number {number}, {word}"}}
            for number in numbers
        ]
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": f"{word}-{service}"}}]}
        batch = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
        httpx2.post(f"{stack.gateway}/ingest/otlp/v1/logs", json=batch, headers={"x-obstack-auth-token": stack.tenants[0]["token"]}).raise_for_status()
    until(lambda: search(readers, word)["total"] == 6, what="all records are found")
    return word


def search(readers: tuple[Reader, Reader], word: str, **parameters: str) -> Any:
    answer = readers[0].session.get("/query/api/logs/search", params={"q": word, "from": "now-10m", **parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_search_is_narrowed_by_severity_and_service(readers: tuple[Reader, Reader], searched: str) -> None:
    numbers = {name: [hit["severity_number"] for hit in search(readers, searched, severity=name)["hits"]] for name in ("trace", "warn", "fatal")}
    assert numbers == {"trace": [21, 17, 13, 9, 5, 1], "warn": [21, 17, 13], "fatal": [21]}
    assert [hit["severity_number"] for hit in search(readers, searched, service=f"{searched}-one")["hits"]] == [9, 5, 1]
    assert not search(readers, searched, service=searched)["hits"]


def test_search_tells_facets_of_what_it_leaves_out(readers: tuple[Reader, Reader], searched: str) -> None:
    found = search(readers, searched, severity="error", service=f"{searched}-two", facets="1", timeline="50")
    assert (found["total"], len(found["hits"])) == (2, 2)
    assert sorted(found["services"]) == [[f"{searched}-one", 3], [f"{searched}-two", 3]]
    assert found["severities"] == dict.fromkeys(("trace", "debug", "info", "warn", "error", "fatal"), 1)
    assert sum(part[1] for part in found["timeline"]) == 2


def test_search_marks_what_matched(readers: tuple[Reader, Reader], searched: str) -> None:
    hit = search(readers, searched, highlight="1", size="1")["hits"][0]
    assert hit["highlight"] == [["<em>", False], [searched, True], ["</em> is number 21, ", False], [searched, True]]


def test_search_marks_in_a_body_longer_than_is_looked_through(readers: tuple[Reader, Reader], stack: Stack) -> None:
    word = f"m{token_hex(6)}"
    body = f"{word} " + "filler " * 20_000 + word
    batch = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": str(time.time_ns()), "body": {"stringValue": body}}]}]}]}
    httpx2.post(f"{stack.gateway}/ingest/otlp/v1/logs", json=batch, headers={"x-obstack-auth-token": stack.tenants[0]["token"]}).raise_for_status()
    until(lambda: search(readers, word)["total"] == 1, what="the record is found")
    parts = search(readers, word, highlight="1")["hits"][0]["highlight"]
    assert parts[0] == [word, True]
    assert "".join(text for text, _ in parts) == body


def test_search_goes_both_ways_through_time(readers: tuple[Reader, Reader], searched: str) -> None:
    for sort in ("newest", "oldest"):
        seen, cursor = [], ""
        while cursor is not None:
            found = search(readers, searched, sort=sort, size="2", **({"cursor": cursor} if cursor else {}))
            seen += [hit["severity_number"] for hit in found["hits"]]
            cursor = found["next"]
        assert seen == sorted(seen, reverse=sort == "newest")
        assert len(seen) == 6
