"""The Grafana-compatible reads: what goes to a backend, what comes back. Hostile requests are in test_hostile.py."""

import asyncio
import base64
import gzip
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import aiohttp
import pytest
from starlette.types import Message

from functions.query import bounds, main, relay
from functions.query.routes import ALLOWED, METADATA, Backend
from shared.telemetry.metrics import Tenants
from tests.conftest import Customer, add_customer
from tests.edges import Database
from tests.functions.query.world import Backend as Server
from tests.functions.query.world import User, World
from tests.told import growth
from tests.waiting import until

FORM = {"content-type": "application/x-www-form-urlencoded"}
TENANT = {"loki": "x-scope-orgid", "tempo": "x-scope-orgid", "prometheus": "x-obstack-tenant"}
PUBLIC = {"loki": "/query/loki", "tempo": "/query/tempo", "prometheus": "/query/prometheus"}
OWN = {"loki": "/loki", "tempo": "", "prometheus": ""}
NAMES = {"{label}": "service_name", "{tag}": "service.name", "{trace}": "0123456789abcdef0123456789abcdef"}


def path_of(path: str) -> str:
    for name, value in NAMES.items():
        path = path.replace(name, value)
    return path


ROWS = [(row.backend.value, path_of(row.path), row.needed, method) for row in ALLOWED for method in sorted(row.methods) if row is not METADATA]


def server(world: World, backend: str) -> Server:
    return {"loki": world.loki, "prometheus": world.prometheus, "tempo": world.tempo}[backend]


@pytest.mark.parametrize(("backend", "path", "needed", "method"), ROWS)
@pytest.mark.parametrize("by", ["session", "token"])
async def test_each_row_reaches_its_backend_as_the_readers_tenant(
    world: World, acme: Customer, session: dict[str, str], backend: str, path: str, needed: str, method: str, by: str
) -> None:
    query = f"{needed}=up" if needed else "start=1&end=2"
    headers = session if by == "session" else acme.headers
    target = f"{PUBLIC[backend]}{path}"
    answer = await (world.ask("GET", f"{target}?{query}", headers) if method == "GET" else world.ask("POST", target, {**headers, **FORM}, query.encode()))
    assert answer.status == 200
    asked = server(world, backend).last
    assert (asked.method, asked.path) == (method, OWN[backend] + path)
    assert asked.headers.getall(TENANT[backend]) == [acme.tenant_id]
    assert len(world.asked) == 1


@pytest.mark.parametrize("base", ["/query/loki", "/query/loki/loki", "/loki", "/loki/loki"])
async def test_loki_is_found_under_both_data_source_urls_and_a_functions_own(world: World, acme: Customer, base: str) -> None:
    assert (await world.ask("GET", f"{base}/api/v1/labels", acme.headers)).status == 200
    assert world.loki.last.path == "/loki/api/v1/labels"


@pytest.mark.parametrize("way", ["bearer", "basic", "header"])
async def test_token_may_come_in_three_ways(world: World, acme: Customer, way: str) -> None:
    headers = {
        "bearer": acme.headers,
        "basic": {"authorization": "Basic " + base64.b64encode(f"any:{acme.token}".encode()).decode()},
        "header": {"x-obstack-auth-token": acme.token},
    }[way]
    assert (await world.ask("GET", "/query/prometheus/api/v1/labels", headers)).status == 200
    assert world.prometheus.last.headers["x-obstack-tenant"] == acme.tenant_id


async def test_token_needs_the_scope_read(world: World, database: Database) -> None:
    writer = add_customer(database, scopes=["logs", "metrics", "traces"])
    answer = await world.ask("GET", "/query/prometheus/api/v1/labels", writer.headers)
    assert (answer.status, answer.json["errorType"]) == (403, "forbidden")
    assert not world.asked


async def test_backends_get_nothing_of_the_caller_but_his_accepts(world: World, session: dict[str, str]) -> None:
    sent = {
        **session,
        "accept": "application/json",
        "accept-encoding": "gzip",
        "user-agent": "Grafana",
        "x-forwarded-for": "192.0.2.1",
        "referer": "x",
        "x-query-tags": "y",
    }
    await world.ask("GET", "/query/loki/api/v1/labels", sent)
    got = world.loki.last.headers
    assert {name.lower() for name in got} == {"host", "accept", "accept-encoding", "x-scope-orgid", "user-agent"}
    assert (got["accept"], got["accept-encoding"]) == ("application/json", "gzip")
    assert "Grafana" not in got["user-agent"]


async def test_token_never_reaches_a_backend(world: World, acme: Customer) -> None:
    await world.ask("GET", "/query/tempo/api/search", {**acme.headers, "x-obstack-auth-token": acme.token})
    asked = world.tempo.last
    assert acme.token not in str(asked.headers) + asked.query
    assert asked.headers["accept-encoding"] == "identity"


async def test_answer_passes_as_it_is_encoded(world: World, acme: Customer) -> None:
    packed = gzip.compress(b"protobuf bytes")
    sent = {
        "content-type": "application/protobuf",
        "content-encoding": "gzip",
        "server": "Tempo/2",
        "set-cookie": "a=b",
        "x-scope-orgid": "t",
        "via": "x",
        "x-powered-by": "y",
    }
    world.tempo.answer = (200, sent, packed)
    answer = await world.ask("GET", "/query/tempo/api/search", {**acme.headers, "accept-encoding": "gzip", "accept": "application/protobuf"})
    assert answer.body == packed
    described = {name: answer.headers[name] for name in ("content-type", "content-encoding", "content-length")}
    assert described == {"content-type": "application/protobuf", "content-encoding": "gzip", "content-length": str(len(packed))}
    assert not {"server", "set-cookie", "x-scope-orgid", "via", "x-powered-by"} & {name.lower() for name in answer.headers}


async def test_large_answer_streams_through(world: World, acme: Customer) -> None:
    world.loki.answer = (200, {"content-type": "application/json"}, b"x" * 5_000_000)
    answer = await world.ask("GET", "/query/loki/api/v1/labels", acme.headers)
    assert len(answer.body) == 5_000_000


@pytest.mark.parametrize("status", [400, 404, 422, 429, 503, 504])
async def test_backends_own_errors_pass(world: World, acme: Customer, status: int) -> None:
    world.prometheus.answer = (
        status,
        {"content-type": "application/json", "retry-after": "7"},
        b'{"status":"error","errorType":"bad_data","error":"parse error"}',
    )
    answer = await world.ask("GET", "/query/prometheus/api/v1/query?query=sum(", acme.headers)
    assert (answer.status, answer.json["error"], answer.headers["retry-after"]) == (status, "parse error", "7")


@pytest.mark.parametrize("status", [500, 501, 502, 503])
@pytest.mark.parametrize("backend", ["tempo", "loki", "prometheus"])
async def test_what_a_backend_says_of_itself_stays_here(world: World, acme: Customer, caplog: pytest.LogCaptureFixture, backend: str, status: int) -> None:
    """Its parts, files and addresses. Prometheus' 503 is about the query: it took too long."""
    server(world, backend).answer = (status, {"content-type": "text/plain"}, b"dial tcp 10.0.0.3:9095: connection refused")
    path = {"tempo": "/api/search", "loki": "/api/v1/labels", "prometheus": "/api/v1/labels"}[backend]
    answer = await world.ask("GET", f"{PUBLIC[backend]}{path}", acme.headers)
    assert (answer.status, answer.headers["retry-after"].isdigit()) == (503, True)
    if (backend, status) == ("prometheus", 503):
        assert b"10.0.0.3" in answer.body
    else:
        assert f"{backend} is not available".encode() in answer.body
        assert b"10.0.0.3" not in answer.body
        assert f"{backend}: answered {status}: dial tcp 10.0.0.3" in caplog.text


async def test_backend_that_has_too_much_to_do_says_when_to_come_back(world: World, acme: Customer) -> None:
    """Loki and Tempo don't, of their own accord."""
    world.tempo.answer = (429, {"content-type": "text/plain"}, b"too many outstanding requests\n")
    answer = await world.ask("GET", "/query/tempo/api/traces/1", acme.headers)
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (429, b"too many outstanding requests\n", "1")


@pytest.mark.parametrize("reply", [(502, {}, b""), (302, {"location": "http://169.254.169.254/"}, b"")])
async def test_proxy_without_its_backend_and_redirects_are_503(world: World, acme: Customer, reply: Any) -> None:
    world.prometheus.answer = reply
    answer = await world.ask("GET", "/query/prometheus/api/v1/labels", acme.headers)
    assert (answer.status, answer.json) == (503, {"status": "error", "errorType": "unavailable", "error": "prometheus is not available"})
    assert "location" not in answer.headers


async def test_backend_away_is_503_without_its_address(world: World, acme: Customer) -> None:
    world.loki.silent = True
    answer = await world.ask("GET", "/query/loki/api/v1/labels", acme.headers)
    assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "2", b"loki is not available\n")


async def test_slow_backend_is_504(world: World, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    await main.function.close()
    monkeypatch.setattr(relay, "SECONDS", 0.05)
    monkeypatch.setattr(world.loki, "handle", None)
    async with silence() as url:
        monkeypatch.setenv("LOKI_URL", url)
        answer = await world.ask("GET", "/query/loki/api/v1/labels", acme.headers)
    assert (answer.status, answer.body) == (504, b"loki didn't answer in 0 s: ask for a shorter time range\n")


@pytest.fixture
async def two_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function started anew, with two reads a tenant."""
    await main.function.close()
    monkeypatch.setenv("READS_PER_TENANT", "2")


async def test_reads_at_the_same_time_are_bounded_by_tenant(world: World, two_at_a_time: None, acme: Customer, globex: Customer, few_tenants: Tenants) -> None:
    hits = growth("obstack_limit_hits_total", tenant=acme.tenant_id, limit="reads")
    world.loki.gate = asyncio.Event()
    slow = [asyncio.create_task(world.ask("GET", "/query/loki/api/v1/labels", acme.headers)) for _ in range(2)]
    await asyncio.to_thread(until, lambda: len(world.loki.asked) == 2, 5)
    for target in ("/query/loki/api/v1/labels", "/query/prometheus/api/v1/labels", "/query/api/logs/search"):
        answer = await world.ask("GET", target, acme.headers)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        if "loki" not in target:
            assert (await world.ask("GET", target, globex.headers)).status == 200
    assert hits() == 3
    world.loki.gate.set()
    assert [(await task).status for task in slow] == [200, 200]
    assert (await world.ask("GET", "/query/loki/api/v1/labels", acme.headers)).status == 200


async def test_caller_that_has_the_whole_answer_may_ask_again(world: World, two_at_a_time: None, acme: Customer) -> None:
    """Though the server hasn't heard yet that the answer has ended."""
    asked, statuses = 0, []

    async def ask_again(message: Message) -> None:
        if message["type"] == "http.response.body" and not message["more_body"] and asked < 4:
            await ask()

    async def ask() -> None:
        nonlocal asked
        asked += 1
        statuses.append((await world.ask("GET", "/query/loki/api/v1/labels", acme.headers, sent=ask_again)).status)

    await ask()
    assert statuses == [200] * 4


@pytest.mark.parametrize("how", ["away", "redirects", "is wrong", "breaks off"])
async def test_read_that_fails_gives_its_place_back(world: World, two_at_a_time: None, acme: Customer, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    world.loki.silent, world.loki.answer = how == "away", (302 if how == "redirects" else 400, {}, b"")
    async with silence(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", hang_up=True) as url:
        if how == "breaks off":
            monkeypatch.setenv("LOKI_URL", url)
        for _ in range(3):
            with suppress(aiohttp.ClientPayloadError):
                assert (await world.ask("GET", "/query/loki/api/v1/labels", acme.headers)).status in {400, 503}
        assert (await world.ask("GET", "/query/prometheus/api/v1/labels", acme.headers)).status == 200


async def test_answer_that_breaks_off_is_no_success(world: World, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    await main.function.close()
    async with silence(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{", hang_up=True) as url:
        monkeypatch.setenv("LOKI_URL", url)
        with pytest.raises(aiohttp.ClientPayloadError):  # reaches the server, which cuts the connection
            await world.ask("GET", "/query/loki/api/v1/labels", acme.headers)


async def test_all_data_answers_are_kept_from_caches_and_frames(world: World, acme: Customer, session: dict[str, str]) -> None:
    targets = ["/query/loki/api/v1/labels", "/query/api/me", "/query/api/logs/search", "/query/nothing", "/query/api/logs/search?size=0"]
    for target in targets:
        headers = (await world.ask("GET", target, session)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


async def test_needed_parameter_is_asked_for(world: World, acme: Customer) -> None:
    for target in ("/query/prometheus/api/v1/query", "/query/prometheus/api/v1/query?query=", "/query/prometheus/api/v1/query?query=%20"):
        answer = await world.ask("GET", target, acme.headers)
        assert (answer.status, answer.json["error"]) == (400, "parameter query is missing")


@pytest.mark.parametrize("path", ["/query/loki/api/v1/query", "/query/loki/loki/api/v1/query", "/loki/api/v1/query", "/query/tempo/api/nothing"])
async def test_loki_and_tempo_paths_are_refused_in_a_line_of_text(world: World, acme: Customer, path: str) -> None:
    for headers in ({}, acme.headers):
        answer = await world.ask("GET", path, headers)
        assert answer.status in {400, 401, 404}
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.body.endswith(b"\n")
        assert b"{" not in answer.body


@pytest.mark.parametrize("path", ["/query/prometheus/api/v1/query", "/query/prometheus/nothing", "/query/api/logs/search?x=1", "/query/nothing"])
async def test_other_paths_are_refused_in_prometheus_json(world: World, acme: Customer, path: str) -> None:
    for headers in ({}, acme.headers):
        answer = await world.ask("GET", path, headers)
        assert answer.status in {400, 401, 404}
        assert (answer.headers["content-type"], answer.json["status"]) == ("application/json", "error")


RANGED = ("/query/prometheus/api/v1/query_range?query=up&step=60", "/query/prometheus/api/v1/query_exemplars?query=up", "/query/tempo/api/search?limit=9")


@pytest.mark.parametrize("target", RANGED)
async def test_range_of_a_read_is_bounded(world: World, acme: Customer, target: str) -> None:
    for times in ("start=1700000000&end=1702000000", "start=2023-11-14T22:13:20Z&end=2023-12-08T01:46:40.5%2B00:00", "end=1700000000", ""):
        assert (await world.ask("GET", f"{target}&{times}", acme.headers)).status == 200
    asked = len(world.asked)
    for times in (
        "start=0&end=1702000000",
        "start=1700000000",
        "start=1960-01-01T00:00:00Z",
        "start=-1.5&end=1e9",
        "start=0x1p-2&end=5",
        "start=NaN",
        "end=2026-02-30T00:00:00Z",
    ):
        answer = await world.ask("GET", f"{target}&{times}", acme.headers)
        assert answer.status == 400, times
        assert b"range" in answer.body or b"valid timestamp" in answer.body
    assert len(world.asked) == asked


@pytest.mark.parametrize(("given", "start"), [("", 1_800_000_000 - 31 * 86400), ("&end=1700000000", 1_697_321_600), ("&start=&end=1700000000", 1_697_321_600)])
async def test_exemplars_from_ever_are_those_of_the_longest_range(
    world: World, acme: Customer, monkeypatch: pytest.MonkeyPatch, given: str, start: int
) -> None:
    """Prometheus would take all that it has."""
    monkeypatch.setattr(bounds, "time", lambda: 1_800_000_000.0)
    assert (await world.ask("GET", f"/query/prometheus/api/v1/query_exemplars?query=up{given}", acme.headers)).status == 200
    assert parse_qs(world.prometheus.last.query)["start"] == [f"{start}.000"]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("since=744h", 200),
        ("since=4w3d", 200),
        ("since=1h30m", 200),
        ("since=745h", 400),
        ("since=1y", 400),
        ("since=30d24h1m", 400),
        ("since=3600", 400),
        ("since=1.5h", 400),
        ("since=-1h", 400),
        # A start counts more, and is in nanoseconds where it has over ten digits.
        ("since=1y&start=1700000000&end=1700003600", 200),
        ("start=1700000000000000000&end=1700003600000000000", 200),
        ("start=1600000000000000000&end=1700003600000000000", 400),
        ("start=1600000000000000000", 400),
        ("start=1600000000&end=1700003600000000000", 400),
    ],
)
async def test_range_of_tempos_metrics_is_bounded(world: World, acme: Customer, given: str, status: int) -> None:
    for path in ("query", "query_range"):
        assert (await world.ask("GET", f"/query/tempo/api/metrics/{path}?q=x&{given}", acme.headers)).status == status
    assert len(world.tempo.asked) == (2 if status == 200 else 0)


async def test_lists_of_names_have_no_longest_range(world: World, acme: Customer) -> None:
    """promtool asks for 9,999 hours."""
    for target in ("/query/prometheus/api/v1/labels?start=1", "/query/prometheus/api/v1/series?match[]=up&start=1&end=9999999999"):
        assert (await world.ask("GET", target, acme.headers)).status == 200


@pytest.mark.parametrize("limit", ["1001", "-1", "1e9", "9" * 400])
async def test_traces_asked_for_are_bounded(world: World, acme: Customer, limit: str) -> None:
    assert (await world.ask("GET", f"/query/tempo/api/search?limit={limit}", acme.headers)).status == 400
    assert not world.asked


@pytest.mark.parametrize(("limit", "status"), [("5000", 200), ("10000", 200), ("10001", 400), ("x", 400)])
async def test_tags_asked_for_are_bounded_by_more_than_grafana_asks_for(world: World, acme: Customer, limit: str, status: int) -> None:
    """5,000, of its own accord."""
    for path in ("tags", "tag/service.name/values"):
        assert (await world.ask("GET", f"/query/tempo/api/v2/search/{path}?limit={limit}", acme.headers)).status == status


async def test_grafanas_wish_for_categorized_labels_reaches_loki_and_no_other_flag_does(world: World, acme: Customer) -> None:
    for flags, passed in (("categorize-labels", "categorize-labels"), ("other", None)):
        await world.ask("GET", "/query/loki/api/v1/query?query=x", {**acme.headers, "x-loki-response-encoding-flags": flags})
        assert world.loki.last.headers.get("x-loki-response-encoding-flags") == passed


async def test_metadata_is_of_the_tenants_own_names(world: World, acme: Customer) -> None:
    world.prometheus.answer = (200, {"content-type": "application/json"}, b'{"status":"success","data":["up","requests_total","seconds_bucket"]}')
    answer = await world.ask("GET", "/query/prometheus/api/v1/metadata?limit=3", acme.headers)
    types = {name: entries[0]["type"] for name, entries in answer.json["data"].items()}
    assert types == {"up": "unknown", "requests_total": "counter", "seconds_bucket": "histogram"}
    asked = world.prometheus.last
    assert (asked.path, asked.query) == ("/api/v1/label/__name__/values", "limit=3")
    assert asked.headers.getall("x-obstack-tenant") == [acme.tenant_id]


async def test_metadata_of_one_metric_is_asked_for_as_a_name_and_nothing_else(world: World, acme: Customer) -> None:
    await world.ask("GET", '/query/prometheus/api/v1/metadata?metric=up"}or{x="', acme.headers)
    assert unquote_plus(world.prometheus.last.query) == 'limit=10000&match[]={__name__="up\\"}or{x=\\""}'


async def test_metadata_that_cant_be_had_is_no_empty_list(world: World, acme: Customer) -> None:
    for told, body, status in ((400, b'{"status":"error"}', 400), (502, b"", 503), (200, b"x" * 5_000_000, 503)):
        world.prometheus.answer = (told, {}, body)
        assert (await world.ask("GET", "/query/prometheus/api/v1/metadata", acme.headers)).status == status
        assert main.function._memory.held == 0
    assert (await world.ask("GET", "/query/prometheus/api/v1/metadata?limit=x", acme.headers)).status == 400


async def test_too_much_at_the_same_time_is_no_trouble_of_a_backend(world: World, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main.function._memory, "limit", 10)
    away = growth("obstack_query_requests_total", backend="prometheus", status="unavailable")
    answer = await world.ask("GET", "/query/prometheus/api/v1/metadata", acme.headers)
    assert (answer.status, answer.json["error"], away()) == (503, "too much at the same time", 0)


def test_rows_name_each_read_once() -> None:
    rows = [(row.backend, row.path) for row in ALLOWED]
    assert len(rows) == len(set(rows))
    assert {row.backend for row in ALLOWED} == set(Backend)


async def test_each_user_reads_his_own_tenant(world: World, anna: User, gus: User) -> None:
    for user in (anna, gus):
        await world.ask("GET", "/query/loki/api/v1/labels", {"cookie": (await world.log_in(user.email)).cookie})
        assert world.loki.last.headers["x-scope-orgid"] == user.tenant_id


def silence(first: bytes = b"", *, hang_up: bool = False) -> Any:
    """A server that says only `first`."""

    @asynccontextmanager
    async def serving() -> Any:
        done = asyncio.Event()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(first)
            await writer.drain()
            if not hang_up:
                await done.wait()
            writer.close()

        listening = await asyncio.start_server(take, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        finally:
            done.set()
            listening.close()

    return serving()
