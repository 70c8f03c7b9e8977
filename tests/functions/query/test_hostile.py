"""An attacker with a good account of his own tries for another tenant's data, or for what isn't his to ask."""

import json
from urllib.parse import parse_qsl, quote, urlencode

import pytest

from functions.query import relay, routes
from shared.tenant import Tenant
from tests.conftest import Customer
from tests.edges import Database
from tests.functions.query.world import User, World
from tests.told import growth

FORM = {"content-type": "application/x-www-form-urlencoded"}
READS = [
    ("loki", "/query/loki/api/v1/labels", "x-scope-orgid"),
    ("tempo", "/query/tempo/api/search", "x-scope-orgid"),
    ("prometheus", "/query/prometheus/api/v1/labels", "x-obstack-tenant"),
]


@pytest.mark.parametrize(("backend", "target", "confined_by"), READS)
@pytest.mark.parametrize(
    "spelling", ["X-Scope-OrgID", "x-scope-orgid", "X_SCOPE_ORGID", "X-Scope-Orgid ", "X-Obstack-Tenant", "x-obstack-tenant", "Tenant-Id", "__tenant_id__"]
)
async def test_smuggled_tenant_headers_never_arrive(
    world: World, acme: Customer, globex: Customer, backend: str, target: str, confined_by: str, spelling: str
) -> None:
    for value in (globex.tenant_id, f"{acme.tenant_id}|{globex.tenant_id}", "*", ""):
        pairs = [*acme.headers.items(), (spelling, value), (spelling, value)]
        assert (await world.ask("GET", target, pairs)).status == 200
        asked = getattr(world, backend).last
        assert asked.headers.getall(confined_by) == [acme.tenant_id]
        assert globex.tenant_id not in str(asked.headers)


@pytest.mark.parametrize("route", [route for route in routes.ALLOWED if route is not routes.METADATA], ids=lambda route: f"{route.backend}{route.path}")
async def test_every_read_goes_out_as_one_tenant(world: World, acme: Customer, globex: Customer, route: routes.Route) -> None:
    """Whatever its row is: the reader's tenant once, nothing of another's but in a parameter's value, and no parameter that the row doesn't name."""
    path = f"/query/{route.backend}" + route.path.replace("{label}", "job").replace("{tag}", "job").replace("{trace}", "abc")
    named = sorted(route.parameters - {"start", "end", "since", "time", "limit"})
    given = urlencode([*((name, globex.tenant_id) for name in named), ("tenant_id", globex.tenant_id)])
    smuggled = [(name, globex.tenant_id) for name in ("X-Scope-OrgID", "X-Obstack-Tenant", "X-Scope-OrgID", "Ce-Tenantid", "X-Forwarded-Host", "Cookie")]
    for method in route.methods:
        headers = [*acme.headers.items(), *smuggled, *(FORM.items() if method == "POST" else ())]
        answer = await world.ask(method, path if method == "POST" else f"{path}?{given}", headers, given.encode() if method == "POST" else b"")
        asked = getattr(world, route.backend).last
        assert (answer.status, asked.method) == (200, method)
        assert asked.headers.getall(routes.CONFINED_BY[route.backend]) == [acme.tenant_id]
        assert globex.tenant_id not in str(asked.headers) + asked.path
        assert {name for name, _ in parse_qsl(asked.query or asked.body.decode())} <= route.parameters


async def test_connection_header_cant_drop_the_tenant(world: World, acme: Customer) -> None:
    await world.ask("GET", "/query/loki/api/v1/labels", {**acme.headers, "connection": "x-scope-orgid, close"})
    assert world.loki.last.headers["x-scope-orgid"] == acme.tenant_id
    assert "x-scope-orgid" not in world.loki.last.headers.get("connection", "")


@pytest.mark.parametrize(
    "tenant_id",
    [
        "a|b",
        "*",
        "",
        "acme",
        "88888888-8888-4888-8888-888888888888|99999999-9999-4999-8999-999999999999",
        "88888888888848888888888888888888",
        "../x",
        "A8888888-8888-4888-8888-888888888888",
    ],
)
async def test_tenant_id_that_is_no_canonical_uuid_goes_nowhere(
    world: World, acme: Customer, database: Database, monkeypatch: pytest.MonkeyPatch, tenant_id: str
) -> None:
    """Even if the database held one."""
    monkeypatch.setattr("shared.auth.Authenticator.tenant", lambda *_: _coroutine(Tenant(tenant_id, "t", frozenset())))
    for target in ("/query/loki/api/v1/labels", "/query/tempo/api/search", "/query/prometheus/api/v1/labels", "/query/api/logs/search"):
        assert (await world.ask("GET", target, acme.headers)).status == 503
    assert not world.asked
    with pytest.raises(ValueError, match="UUID"):
        relay.tenant_uuid(tenant_id)


async def _coroutine(tenant: Tenant) -> Tenant:
    return tenant


NOWHERE = [
    "/query/loki/api/v1/push",
    "/query/loki/api/v1/delete",
    "/query/loki/api/v1/rules",
    "/query/loki/config",
    "/query/loki/ready",
    "/query/loki/loki/loki/api/v1/labels",
    "/query/loki/otlp/v1/logs",
    "/query/prometheus/api/v1/targets",
    "/query/prometheus/api/v1/read",
    "/query/prometheus/api/v1/write",
    "/query/prometheus/api/v1/admin/tsdb/snapshot",
    "/query/prometheus/api/v1/status/config",
    "/query/prometheus/api/v1/status/tsdb",
    "/query/prometheus/federate",
    "/query/prometheus/metrics",
    "/query/tempo/api/status",
    "/query/tempo/flush",
    "/query/tempo/metrics",
    "/query/tempo/api/traces/",
    "/query/tempo/api/traces/xyz",
    "/query/tempo/api/traces/0123456789abcdef0123456789abcdef0",
    "/query/tempo/api/traces/a|b",
    "/query/tempo/api/traces/..",
    "/query/tempo/api/traces/%2e%2e",
    "/query/tempo/api/traces/%2e%2e%2fstatus",
    "/query/tempo/api/traces/abc/../../status",
    "/query/tempo/api/search/tag/../values",
    "/query/tempo/api/search/tag/a%2fb/values",
    "/query/loki/api/v1/labels/",
    "/query/loki/api/v1//labels",
    "/query/loki//api/v1/labels",
    "//query/loki/api/v1/labels",
    "/query/loki/api/v1/../v1/labels",
    "/query/loki/api/v1/./labels",
    "/query/loki/%2e%2e/loki/api/v1/labels",
    "/query/loki/api%2fv1/labels",
    "/query/loki/api/v1/labels;x=1",
    "/query/loki/api/v1/labels%00",
    "/query/loki/api/v1/labels%0d%0aX-Scope-OrgID:x",
    "/query/loki/api/v1/label/a%2Fb/values",
    "/query/loki/api/v1/label/../values",
    "/query/loki/api/v1/label/a;b/values",
    "/query/loki/api/v1/LABELS",
    "/query/loki/api/v1/labels\n",
    "/query/loki\\api\\v1\\labels",
    "/query/prometheus/api/v1/label/__name__/values/../../../admin",
    "/query/prometheus/api/v1/label/é/values",
    "/query/opensearch/_search",
    "/query/api/logs/_search",
    "/query/api/logs/search/",
    "/query/api/users",
    "/query/page/../main.py",
    "/query/page/%2e%2e/main.py",
    "/query/page/",
    "/query/page/page.js/x",
    "/query//",
    "/query/healthz",
]


@pytest.mark.parametrize("target", NOWHERE)
async def test_what_is_not_listed_is_404(world: World, acme: Customer, target: str) -> None:
    for method in ("GET", "POST"):
        answer = await world.ask(method, target, {**acme.headers, **FORM}, b"query=up" if method == "POST" else b"")
        assert answer.status == 404
    assert not world.asked


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_other_methods_are_404(world: World, acme: Customer, method: str) -> None:
    for target in (
        "/query/loki/api/v1/labels",
        "/query/prometheus/api/v1/query?query=up",
        "/query/tempo/api/search",
        "/query/api/logs/search",
        "/query/api/login",
    ):
        assert (await world.ask(method, target, acme.headers)).status == 404
    assert not world.asked


@pytest.mark.parametrize(
    "target", ["/query/tempo/api/search", "/query/prometheus/api/v1/label/job/values", "/query/loki/api/v1/label/job/values", "/query/api/logs/search"]
)
async def test_get_only_reads_take_no_post(world: World, acme: Customer, target: str) -> None:
    assert (await world.ask("POST", target, {**acme.headers, **FORM}, b"query=up")).status == 404
    assert not world.asked


# --- parameters ---


async def test_promql_goes_to_the_proxy_word_for_word(world: World, acme: Customer, globex: Customer) -> None:
    """The matcher is forced by prom-label-proxy's parser (tests/e2e/test_query_reads.py tries it with the real one); nothing here edits text."""
    hostile = f'up{{tenant_id="{globex.tenant_id}"}} or up{{tenant_id=~".+"}} # ; & é'
    for method in ("GET", "POST"):
        encoded = f"query={quote(hostile)}"
        target = "/query/prometheus/api/v1/query"
        await (
            world.ask("GET", f"{target}?{encoded}", acme.headers) if method == "GET" else world.ask("POST", target, {**acme.headers, **FORM}, encoded.encode())
        )
        asked = world.prometheus.last
        assert parse_qsl(asked.query or asked.body.decode()) == [("query", hostile)]
        assert asked.headers.getall("x-obstack-tenant") == [acme.tenant_id]


async def test_post_leaves_no_second_query_in_the_address(world: World, acme: Customer) -> None:
    target = "/query/prometheus/api/v1/query"
    assert (await world.ask("POST", f"{target}?time=5", {**acme.headers, **FORM}, b"query=up")).status == 200
    asked = world.prometheus.last
    assert (asked.query, sorted(parse_qsl(asked.body.decode()))) == ("", [("query", "up"), ("time", "5")])
    assert (await world.ask("POST", f"{target}?query=other", {**acme.headers, **FORM}, b"query=up")).status == 400


@pytest.mark.parametrize("query", ["query=&query=up", "query=up&query=down", "query=up&quer%79=down", "query=up&start=1&start=2"])
async def test_doubled_parameters_are_refused(world: World, acme: Customer, query: str) -> None:
    for backend in ("prometheus", "loki"):
        assert (await world.ask("GET", f"/query/{backend}/api/v1/query_range?{query}", acme.headers)).status == 400
    assert not world.asked


@pytest.mark.parametrize("query", ["query=%ff", "query=é", "query=up%00", "query=" + "&a=b" * 1500])
async def test_unreadable_parameters_are_refused(world: World, acme: Customer, query: str) -> None:
    answer = await world.ask("GET", f"/query/prometheus/api/v1/query?{query}", acme.headers)
    assert (answer.status, answer.json["errorType"]) == (400, "bad_data")
    assert not world.asked


async def test_semicolons_hide_nothing(world: World, acme: Customer) -> None:
    """Some servers split at `;`: the backend gets it encoded, in the value where we read it."""
    await world.ask("GET", "/query/prometheus/api/v1/query?query=up;match[]=x", acme.headers)
    assert world.prometheus.last.query == "query=up%3Bmatch%5B%5D%3Dx"


async def test_unknown_parameters_stay_here(world: World, acme: Customer, globex: Customer) -> None:
    extra = f"tenant_id={globex.tenant_id}&X-Scope-OrgID={globex.tenant_id}&blockStart=0&mode=all&storeMatch=x&namespace=y"
    for backend, target, _ in READS:
        await world.ask("GET", f"{target}?end=1&{extra}", acme.headers)
        assert getattr(world, backend).last.query == "end=1"


async def test_line_breaks_in_values_stay_in_their_value(world: World, acme: Customer) -> None:
    await world.ask("GET", "/query/loki/api/v1/query?query=a%0d%0aX-Scope-OrgID:%20b", acme.headers)
    assert world.loki.last.query == "query=a%0D%0AX-Scope-OrgID%3A+b"
    assert world.loki.last.headers.getall("x-scope-orgid") == [acme.tenant_id]


async def test_oversize_is_refused(world: World, acme: Customer) -> None:
    target = "/query/loki/api/v1/query"
    assert (await world.ask("GET", f"{target}?query={'x' * 70_000}", acme.headers)).status == 414
    assert (await world.ask("POST", target, {**acme.headers, **FORM}, b"query=" + b"x" * 1_100_000)).status == 413
    assert (await world.ask("POST", target, {**acme.headers, **FORM}, b"query=" + b"x" * 900_000)).status == 200


@pytest.mark.parametrize("late", ["9999999999", "9223372037", "99999999999.5", "2300-01-01T00:00:00Z", "nan"])
async def test_times_that_loki_would_count_wrong_are_refused(world: World, acme: Customer, late: str) -> None:
    """Found by tests/e2e/test_isolation.py: half a minute of Loki's work for one request, and its 500."""
    for parameter in ("start", "end"):
        answer = await world.ask("GET", f"/query/loki/api/v1/label/job/values?{parameter}={late}", acme.headers)
        assert (answer.status, late in answer.body.decode()) == (400, True)
    assert not world.asked


@pytest.mark.parametrize("time", ["0", "-1", "9223372036", "1795555282", "1795555282.5", "1795555282000000000", "2026-11-24T20:00:00.123456789Z", ""])
async def test_times_that_loki_can_count_pass(world: World, acme: Customer, time: str) -> None:
    assert (await world.ask("GET", f"/query/loki/api/v1/label/job/values?start={quote(time)}", acme.headers)).status == 200
    assert parse_qsl(world.loki.last.query, keep_blank_values=True) == [("start", time)]


@pytest.mark.parametrize(
    ("said", "status", "told"),
    [
        (b"rpc error: code = Unknown desc = parse error at line 1, col 22: syntax error", 400, b"parse error at line 1, col 22: syntax error\n"),
        (b"rpc error: code = Unavailable desc = dial tcp 10.0.0.3:9095: connect: refused", 503, b"loki is not available\n"),
    ],
)
async def test_lokis_500_is_not_passed_on(world: World, acme: Customer, said: bytes, status: int, told: bytes) -> None:
    """Its volumes answer so to a query that can't be read; others may name its parts and their addresses."""
    world.loki.answer = (500, {"content-type": "text/plain"}, said)
    answer = await world.ask("GET", "/query/loki/api/v1/index/volume?query=%7B", acme.headers)
    assert (answer.status, answer.body) == (status, told)


@pytest.mark.parametrize("media_type", ["", "application/json", "multipart/form-data; boundary=x", "text/plain"])
async def test_post_bodies_are_forms(world: World, acme: Customer, media_type: str) -> None:
    answer = await world.ask("POST", "/query/prometheus/api/v1/query", {**acme.headers, "content-type": media_type}, b'{"query":"up"}')
    assert answer.status == 415
    assert not world.asked


async def test_packed_bodies_are_refused(world: World, acme: Customer) -> None:
    assert (await world.ask("POST", "/query/loki/api/v1/query", {**acme.headers, **FORM, "content-encoding": "gzip"}, b"x")).status == 415


# --- who asks ---


async def test_token_wins_over_cookie_and_never_falls_back(world: World, session: dict[str, str], anna: User, globex: Customer) -> None:
    await world.ask("GET", "/query/loki/api/v1/labels", {**session, **globex.headers})
    assert world.loki.last.headers["x-scope-orgid"] == globex.tenant_id
    for bad in ({"authorization": "Bearer nonsense"}, {"authorization": "Basic !"}, {"authorization": "Digest x"}, {"x-obstack-auth-token": "x"}):
        assert (await world.ask("GET", "/query/loki/api/v1/labels", {**session, **bad})).status == 401
    assert len(world.asked) == 1


async def test_nobody_reads_without_credentials(world: World) -> None:
    for target in ("/query/loki/api/v1/labels", "/query/tempo/api/echo", "/query/prometheus/api/v1/query?query=up", "/query/api/logs/search"):
        assert (await world.ask("GET", target)).status == 401
    assert not world.asked


async def test_query_string_that_nobody_can_read_is_no_defect_of_ours(world: World) -> None:
    """An alert counts those, and whoever has no account mustn't raise it."""
    defects = growth("obstack_unhandled_errors_total")
    for target in ("/query/api/me?\udcff", "/query/loki/api/v1/labels?\udcff"):
        assert (await world.ask("GET", target)).status == 401
    assert defects() == 0


# --- the full text search ---


@pytest.mark.parametrize(
    "query",
    [
        "index=logs-tenant-*",
        "q=a&body={}",
        "q=a&q=b",
        "ignore_unavailable=false",
        "source={}",
        "scroll=1m",
        "expand_wildcards=all",
        "from=now&from=now",
        "q=a&routing=x",
        "pit=x",
    ],
)
async def test_search_takes_its_own_parameters_only(world: World, acme: Customer, query: str) -> None:
    assert (await world.ask("GET", f"/query/api/logs/search?{query}", acme.headers)).status == 400
    assert not world.asked


@pytest.mark.parametrize(
    "words",
    [
        '"},"query":{"match_all":{}},"x":{"',
        "tenant_id:*",
        "_index:logs-tenant-*",
        "*:*",
        "_exists_:tenant_id",
        "../_search",
        "<logs-{now/d}>",
        "a OR tenant_id:(x)",
        '{"terms":{"index":"other"}}',
    ],
)
async def test_words_stay_words(world: World, acme: Customer, globex: Customer, words: str) -> None:
    await world.ask("GET", f"/query/api/logs/search?q={quote(words)}", acme.headers)
    asked = world.opensearch.last
    assert asked.path == f"/logs-tenant-{acme.tenant_id}-*/_search"
    body = json.loads(asked.body)
    assert {"term": {"tenant_id": acme.tenant_id}} in body["query"]["bool"]["filter"]
    assert body["query"]["bool"]["must"][0]["simple_query_string"]["query"] == words
    assert set(body) == {"query", "size", "sort", "track_total_hits"}
    assert globex.tenant_id not in str(asked)
