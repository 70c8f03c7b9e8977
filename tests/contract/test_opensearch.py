"""The real OpenSearch: which index a record goes to, what it finds there, what of a batch OpenSearch refuses; and the set-up."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as Ask
from urllib.request import urlopen
from uuid import uuid4

import orjson
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from starlette.requests import Request

from functions.query import opensearch as reader
from functions.query.reads import Reads
from functions.query.upstream import Upstream
from functions.sink_opensearch import answers, request
from functions.sink_opensearch.documents import documents
from localdev.paths import ROOT
from shared.contract import EventType, Period
from shared.errors import Later
from tests import batches
from tests.conftest import Stack
from tests.contract.conftest import Rig
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.parametrize("kind", ["opensearch"], indirect=True)]

DAY = 86_400 * 10**9


def ask(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Ask(url, data, {"content-type": "application/json"}, method=method), timeout=10) as answer:  # noqa: S310 the stack's own URLs
        return json.loads(answer.read())


def found(real: Rig) -> dict[str, list[str]]:
    """The tenant's words by the end of their index's name."""
    prefix = f"logs-tenant-{real.tenant_id}-"
    ask("POST", f"{real.backend.address}/{prefix}*/_refresh")
    hits = ask("GET", f"{real.backend.address}/{prefix}*/_search?size=1000")["hits"]["hits"]
    words: dict[str, list[str]] = {}
    for hit in hits:
        words.setdefault(hit["_index"].removeprefix(prefix), []).append(hit["_source"]["body"])
    return {index: sorted(of) for index, of in words.items()}


def suffix(at: int, form: str) -> str:
    return datetime.fromtimestamp(at // 10**9, UTC).strftime(form)


FORMS = {Period.DAY: "%Y.%m.%d", Period.WEEK: "%G.w%V", Period.MONTH: "%Y.%m"}


@pytest.mark.parametrize("period", Period)
def test_late_record_finds_the_index_of_its_own_date(real: Rig, period: Period) -> None:
    """Also when that is made for it alone."""
    now = time_ns()
    record = batches.record(EventType.LOGS, batches.logs("new", "late", at=[now, now - 40 * DAY]), real.tenant_id, index_period=period)
    assert [real.deliver(record), real.deliver(record)] == [204, 204]
    assert found(real) == {suffix(now, FORMS[period]): ["new"], suffix(now - 40 * DAY, FORMS[period]): ["late"]}


def test_change_of_plan_doubles_nothing(real: Rig) -> None:
    """A record that is delivered again after it goes to where it was; new ones go to the new index; the reader finds all of them, of this tenant alone."""
    now = time_ns()
    before = batches.record(EventType.LOGS, batches.logs("before", at=now), real.tenant_id)
    after = batches.record(EventType.LOGS, batches.logs("after", at=now), real.tenant_id, index_period=Period.WEEK)
    later = batches.record(EventType.LOGS, batches.logs("later", at=now), real.tenant_id, index_period=Period.MONTH)
    other = Rig(real.kind, real.client, real.broker, real.backend)
    theirs = batches.record(EventType.LOGS, batches.logs("theirs", at=now), other.tenant_id, index_period=Period.MONTH)
    assert {real.deliver(record) for record in (before, after, later, theirs, before, after, later)} == {204}
    assert found(real) == {suffix(now, FORMS[Period.DAY]): ["before"], suffix(now, FORMS[Period.WEEK]): ["after"], suffix(now, FORMS[Period.MONTH]): ["later"]}
    assert found(other) == {suffix(now, FORMS[Period.MONTH]): ["theirs"]}


def test_batch_that_its_client_sends_again_is_there_once(real: Rig) -> None:
    """Whoever killed the ingest function before it could say yes: the topic has the batch in two records then."""
    now = time_ns()
    value = batches.logs("first", "second", at=now)
    records = [batches.record(EventType.LOGS, value, real.tenant_id) for _ in range(2)]
    assert [real.deliver(record) for record in records] == [204, 204]
    assert found(real) == {suffix(now, FORMS[Period.DAY]): ["first", "second"]}


async def search(real: Rig, words: str) -> list[str]:
    scope = {"type": "http", "method": "GET", "path": reader.PATH, "query_string": f"q={words}&from=now-1h".encode(), "headers": []}
    async with Upstream(real.backend.address, reader.SECONDS) as opensearch:
        answer = await reader.search(Request(scope), real.tenant_id, opensearch, Reads(1, days=30))
        page = b"".join([bytes(part) async for part in answer.body_iterator])  # type: ignore[arg-type]  # ours are bytes
    return sorted(hit["body"] for hit in orjson.loads(page)["hits"])


async def test_reader_finds_all_periods_of_its_own_tenant(real: Rig) -> None:
    other = Rig(real.kind, real.client, real.broker, real.backend)
    for rig in (real, other):
        for period in Period:
            assert rig.deliver(batches.record(EventType.LOGS, batches.logs(f"{period}-{rig.tenant_id}"), rig.tenant_id, index_period=period)) == 204
    found(real)
    assert await search(real, "") == sorted(f"{period}-{real.tenant_id}" for period in Period)
    assert await search(real, other.tenant_id) == []


def hold_back(real: Rig, index: str) -> None:
    """Make an index of the tenant whose shard doesn't start until `let_go`."""
    body = {"settings": {"index.routing.allocation.require._name": "nobody"}}
    ask("PUT", f"{real.backend.address}/logs-tenant-{real.tenant_id}-{index}?wait_for_active_shards=0&timeout=1s", body)


def let_go(real: Rig, index: str) -> None:
    ask("PUT", f"{real.backend.address}/logs-tenant-{real.tenant_id}-{index}/_settings", {"index.routing.allocation.require._name": None})


async def test_search_while_an_index_is_being_made_waits_for_it(real: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, opened = [], Upstream.open

    async def count(*given: Any) -> Any:
        asked.append(given)
        return await opened(*given)

    monkeypatch.setattr(Upstream, "open", count)
    monkeypatch.setattr(reader, "STARTING_SECONDS", reader.SECONDS)
    index = suffix(time_ns(), FORMS[Period.DAY])
    await asyncio.to_thread(hold_back, real, index)
    searching = asyncio.create_task(search(real, ""))
    await asyncio.to_thread(until, lambda: len(asked) > 2, 10, "the search is put again")
    await asyncio.to_thread(let_go, real, index)
    assert await searching == []


async def test_search_without_a_part_of_the_records_is_no_answer(real: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer records than there are would look like all of them."""
    monkeypatch.setattr(reader, "STARTING_SECONDS", 0.2)
    assert real.deliver(batches.record(EventType.LOGS, batches.logs("here"), real.tenant_id)) == 204
    found(real)
    assert await search(real, "") == ["here"]
    await asyncio.to_thread(hold_back, real, "2020.01.01")
    with pytest.raises(Later, match="opensearch is not available"):
        await search(real, "")
    await asyncio.to_thread(let_go, real, "2020.01.01")
    await asyncio.to_thread(until, lambda: ask("GET", f"{real.backend.address}/_cluster/health/logs-tenant-{real.tenant_id}-*")["status"] != "red")
    assert await search(real, "") == ["here"]


@pytest.mark.parametrize("words", ["warning", "WARNING", "Warning", "00ABCDEF00ABCDEF00ABCDEF00ABCDEF", "00abcdef00abcdef"])
async def test_case_of_severity_and_ids_is_of_no_matter(real: Rig, words: str) -> None:
    """To the search; what is shown is as it was sent."""
    batch = ExportLogsServiceRequest.FromString(batches.logs("a"))
    log = batch.resource_logs[0].scope_logs[0].log_records[0]
    log.severity_text, log.trace_id, log.span_id = "Warning", bytes.fromhex("00abcdef" * 4), bytes.fromhex("00abcdef" * 2)
    assert real.deliver(batches.record(EventType.LOGS, batch.SerializeToString(), real.tenant_id)) == 204
    found(real)
    assert await search(real, words) == ["a"]
    assert await search(real, "warn") == []


def made_before(real: Rig, now: int, **index: Any) -> None:
    """Today's index, made by hand and not as our template says."""
    ask("PUT", f"{real.backend.address}/logs-tenant-{real.tenant_id}-{suffix(now, FORMS[Period.DAY])}", index)


def test_conflict_with_the_mapping_concerns_its_record_alone(real: Rig) -> None:
    now = time_ns()
    made_before(real, now, mappings={"properties": {"body": {"type": "integer"}}})
    record = batches.record(EventType.LOGS, batches.logs("1", "no number", "2", at=now), real.tenant_id)
    assert real.deliver(record) == 204
    assert real.dead() == ["no number"]
    [letter] = real.broker.messages
    assert letter.headers["ce_reason"] == "invalid"
    assert "failed to parse field [body]" in letter.headers["ce_detail"]
    assert found(real)[suffix(now, FORMS[Period.DAY])] == ["1", "2"]


def test_too_many_fields_concern_their_record_alone(real: Rig) -> None:
    """In an index whose mapping grows, since somebody's template went before ours; by ours it never does."""
    now = time_ns()
    foreign = f"{real.backend.address}/_index_template/{real.tenant_id}"
    limited = {"settings": {"index.mapping.total_fields.limit": 40}}
    ask("PUT", foreign, {"index_patterns": [f"logs-tenant-{real.tenant_id}-*"], "priority": 200, "template": limited})
    batch = ExportLogsServiceRequest.FromString(batches.logs("few", "many", at=now))
    for number in range(60):
        batch.resource_logs[0].scope_logs[0].log_records[1].attributes.add(key=f"k{number}").value.string_value = "v"
    try:
        assert real.deliver(batches.record(EventType.LOGS, batch.SerializeToString(), real.tenant_id)) == 204
    finally:
        ask("DELETE", foreign)
    assert real.dead() == ["many"]
    [letter] = real.broker.messages
    assert letter.headers["ce_reason"] == "invalid"
    assert "Limit of total fields" in letter.headers["ce_detail"]
    assert found(real)[suffix(now, FORMS[Period.DAY])] == ["few"]


def test_date_that_opensearch_cant_hold_is_said_so(real: Rig) -> None:
    """After 2262."""
    record = batches.record(EventType.LOGS, batches.logs("good", "bad", at=[time_ns(), 2**63]), real.tenant_id)
    assert real.deliver(record) == 204
    assert real.dead() == ["bad"]
    assert "@timestamp" in real.broker.messages[0].headers["ce_detail"]


@pytest.mark.parametrize("block", ["index.blocks.read_only", "index.blocks.read_only_allow_delete", "index.blocks.write"])
def test_blocked_index_holds_its_tenant_and_nobody_else(real: Rig, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is tried. Nothing is dead, and nothing is lost when it is free again."""
    monkeypatch.setattr("functions.sink_opensearch.bulk.PAUSES", (0.0,))
    other = Rig(real.kind, real.client, real.broker, real.backend)
    now = time_ns()
    assert real.deliver(real.record(now, "a")) == 204
    record = real.record(now, "b")
    settings = f"{real.backend.address}/logs-tenant-{real.tenant_id}-*/_settings"
    ask("PUT", settings, {block: True})
    assert {real.deliver(record) for _ in range(7)} == {503}
    assert other.deliver(other.record(now, "theirs")) == 204
    ask("PUT", settings, {block: None})
    assert real.deliver(record) == 204
    assert not real.broker.messages
    assert real.found() == ["a", "b"]


def test_shard_that_is_away_holds_its_tenant_and_nobody_else(real: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """OpenSearch waits a minute for it unless told otherwise, and then it was silence that we heard, which says nothing of whose fault it is."""
    other = Rig(real.kind, real.client, real.broker, real.backend)
    now = time_ns()
    nowhere = {"settings": {"index.routing.allocation.require._name": "nowhere"}}
    index = f"{real.backend.address}/logs-tenant-{real.tenant_id}-{suffix(now, FORMS[Period.DAY])}"
    ask("PUT", f"{index}?wait_for_active_shards=0", nowhere)
    record = real.record(now, "a")
    assert real.deliver(record) == 503
    assert "unavailable_shards_exception" in caplog.text
    assert other.deliver(other.record(now, "theirs")) == 204
    ask("PUT", f"{index}/_settings", {"index.routing.allocation.require._name": None})
    assert real.deliver(record) == 204
    assert real.found() == ["a"]


def test_good_answer_is_as_expected(real: Rig) -> None:
    """To the byte: another one would be read item by item, which costs more."""
    batch = ExportLogsServiceRequest.FromString(batches.logs("a", "b", "c"))
    body = request.body(list(documents(batches.record(EventType.LOGS, b"", real.tenant_id), batch)))
    with urlopen(Ask(real.backend.address + request.path(5), body, request.HEADERS, method="POST"), timeout=10) as answer:  # noqa: S310 the stack's own URLs
        assert answer.read() == answers.all_created(3)


def set_up(stack: Stack, *arguments: str, **settings: str) -> str:
    """Run the step; what it said."""
    environment = {**os.environ, "OPENSEARCH_URL": stack.backends["opensearch"], **settings}
    command = [sys.executable, "-m", "functions.sink_opensearch.setup", *arguments]
    done = subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_set_up_is_repeatable_and_does_without_ism(real: Rig, stack: Stack) -> None:
    """The minimal distribution has no such plugin; the step says so."""
    url = f"{stack.backends['opensearch']}/_index_template/logs-tenant"
    said = [set_up(stack), set_up(stack)]
    assert all("no Index State Management" in one for one in said)
    [template] = ask("GET", url)["index_templates"]
    assert template["index_template"]["template"]["mappings"]["dynamic"] is False
    assert real.deliver(real.record(time_ns(), "a")) == 204


def test_old_indices_are_pruned(real: Rig, stack: Stack) -> None:
    """By their period's end, of whatever period; and what isn't old stays."""
    prefix = f"{stack.backends['opensearch']}/logs-tenant-{uuid4()}-"
    old, kept = ["2001.01.01", "2001.w05", "2001.02"], [f"{datetime.now(UTC) - timedelta(days=29):%Y.%m.%d}"]
    for end in old + kept:
        ask("PUT", prefix + end, {})
    # Later than anything that other tests store.
    set_up(stack, "--prune", OPENSEARCH_DELETE_DAYS="3650")
    for end in old:
        with pytest.raises(HTTPError, match="404"):
            ask("GET", prefix + end)
    assert [ask("GET", prefix + end) for end in kept]
