"""Full text: the request that is built, the page that is made of the answer."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from starlette.types import Message

from functions.query import answers, main, opensearch, search_request, times
from shared.errors import Refused
from tests.conftest import Customer
from tests.functions.query.world import World, serve
from tests.told import growth
from tests.waiting import until

SEARCH = "/query/api/logs/search"
JSON = {"content-type": "application/json"}
NOW = 1_800_000_000_123_456_789
DOCUMENT = {
    "@timestamp": "2026-11-24T14:00:00.123456789Z",
    "tenant_id": "t",
    "record_id": "r-1",
    "body": "<script>alert(1)</script>",
    "severity_text": "ERROR",
    "severity_number": 17,
    "service_name": "checkout",
    "trace_id": "ab" * 16,
    "span_id": "cd" * 8,
    "attributes": {"a": 1},
    "resource": {"service.name": "checkout"},
}


def reply(*sources: dict[str, Any], total: int | None = None, relation: str = "eq") -> tuple[int, dict[str, str], bytes]:
    hits = [{"_source": source, "sort": [1_800_000_000_000_000_000 + n, f"r-{n}"]} for n, source in enumerate(sources)]
    return 200, JSON, json.dumps({"hits": {"total": {"value": len(hits) if total is None else total, "relation": relation}, "hits": hits}}).encode()


async def test_hits_are_told_in_our_words(world: World, acme: Customer) -> None:
    world.opensearch.answer = reply(DOCUMENT)
    answer = await world.ask("GET", f"{SEARCH}?q=alert", acme.headers)
    assert answer.json == {
        "total": 1,
        "total_exact": True,
        "hits": [
            {
                "timestamp": "2026-11-24T14:00:00.123456789Z",
                "severity": "ERROR",
                "severity_number": 17,
                "service": "checkout",
                "body": "<script>alert(1)</script>",
                "trace_id": "ab" * 16,
                "span_id": "cd" * 8,
                "attributes": {"a": 1},
                "resource": {"service.name": "checkout"},
            }
        ],
        "next": None,
        "timeline": [],
    }
    assert answer.headers["content-type"] == "application/json"


async def test_record_that_says_little_is_a_hit_too(world: World, acme: Customer) -> None:
    world.opensearch.answer = reply({"@timestamp": "2026-11-24T14:00:00.000000000Z", "severity_number": 13})
    hit = (await world.ask("GET", SEARCH, acme.headers)).json["hits"][0]
    assert (hit["severity"], hit["service"], hit["body"], hit["attributes"]) == ("WARN", "", None, {})


async def test_new_tenant_has_an_empty_list(world: World, acme: Customer) -> None:
    """Without an index OpenSearch answers with no shards and, asked to, without an error."""
    assert (await world.ask("GET", SEARCH, acme.headers)).json == {"total": 0, "total_exact": True, "hits": [], "next": None, "timeline": []}
    assert {"ignore_unavailable=true", "allow_no_indices=true", "expand_wildcards=open"} < set(world.opensearch.last.query.split("&"))


async def test_next_page_goes_on_where_the_last_ended(world: World, acme: Customer) -> None:
    world.opensearch.answer = reply(DOCUMENT, DOCUMENT, total=10_000, relation="gte")
    first = (await world.ask("GET", f"{SEARCH}?size=2&timeline=10", acme.headers)).json
    assert (first["total"], first["total_exact"]) == (10_000, False)
    await world.ask("GET", f"{SEARCH}?size=2&timeline=10&cursor={first['next']}", acme.headers)
    body = json.loads(world.opensearch.last.body)
    assert body["search_after"] == [1_800_000_000_000_000_001, "r-1"]
    assert "aggs" not in body


async def test_timeline_counts_by_severity(world: World, acme: Customer) -> None:
    bucket = {"key": 1_800_000_000_000, "doc_count": 9, "warnings": {"doc_count": 2}, "errors": {"doc_count": 1}}
    world.opensearch.answer = (
        200,
        JSON,
        json.dumps({"hits": {"total": {"value": 9, "relation": "eq"}, "hits": []}, "aggregations": {"timeline": {"buckets": [bucket]}}}).encode(),
    )
    answer = await world.ask("GET", f"{SEARCH}?timeline=60&from=now-1h", acme.headers)
    assert answer.json["timeline"] == [[1_800_000_000_000, 9, 2, 1]]
    assert json.loads(world.opensearch.last.body)["aggs"]["timeline"]["date_histogram"]["fixed_interval"] in {"60000ms", "60001ms"}


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_opensearch_in_trouble_is_503(world: World, acme: Customer, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch, "STARTING_SECONDS", 0.0)
    world.opensearch.answer = (status, JSON, b'{"error":{"type":"circuit_breaking_exception","reason":"internal 10.0.0.1"},"status":500}')
    answer = await world.ask("GET", SEARCH, acme.headers)
    assert (answer.status, answer.json["error"]) == (503, "opensearch is not available")


async def test_index_that_is_being_made_is_waited_for(world: World, acme: Customer) -> None:
    world.opensearch.answer = (503, JSON, b'{"error":{"type":"search_phase_execution_exception","reason":"all shards failed","failed_shards":[]},"status":503}')
    asking = asyncio.create_task(world.ask("GET", SEARCH, acme.headers))
    await asyncio.to_thread(until, lambda: len(world.opensearch.asked) > 1, 5, "the search is put again")
    world.opensearch.answer = reply(DOCUMENT)
    assert ((answer := await asking).status, answer.json["total"]) == (200, 1)
    assert len({(asked.path, asked.query, asked.body) for asked in world.opensearch.asked}) == 1


async def test_opensearch_away_is_503(world: World, acme: Customer) -> None:
    world.opensearch.silent = True
    assert (await world.ask("GET", SEARCH, acme.headers)).json["error"] == "opensearch is not available"


async def test_opensearch_slow_is_504(world: World, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch, "SECONDS", 0.05)
    world.opensearch.gate = asyncio.Event()
    answer = await world.ask("GET", SEARCH, acme.headers)
    world.opensearch.gate.set()
    assert (answer.status, answer.json["errorType"]) == (504, "timeout")


async def test_search_refused_by_opensearch_is_400(world: World, acme: Customer) -> None:
    world.opensearch.answer = (400, JSON, b'{"error":{"type":"too_many_clauses","reason":"maxClauseCount is set to 1024"},"status":400}')
    answer = await world.ask("GET", SEARCH, acme.headers)
    assert (answer.status, answer.json["errorType"]) == (400, "bad_data")
    assert "maxClauseCount" not in answer.json["error"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": "0"}, "size"),
        ({"size": "501"}, "size"),
        ({"size": "-1"}, "size"),
        ({"size": "1e2"}, "size"),
        ({"size": "٣"}, "size"),
        ({"size": "9" * 400}, "size"),
        ({"timeline": "201"}, "timeline"),
        ({"from": "now", "to": "now-1h"}, "from lies after to"),
        ({"from": "yesterday"}, "no time"),
        ({"to": "now+1h"}, "no time"),
        ({"q": "x" * 1001}, "characters"),
        ({"service": "x" * 1025}, "characters"),
        ({"severity": "warning"}, "severity must be one of trace, debug, info, warn, error, fatal"),
        ({"sort": "body"}, "sort"),
        ({"highlight": "yes"}, "highlight"),
        ({"facets": "{}"}, "facets"),
        ({"from": "now-32d"}, "over 31 days"),
        ({"index": "logs-*"}, "unknown parameter"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"cursor": base64.urlsafe_b64encode(b'{"a":1}').decode()}, "cursor"),
        ({"cursor": base64.urlsafe_b64encode(b"[1]").decode()}, "cursor"),
        ({"cursor": base64.urlsafe_b64encode(b'[1,{"script":"x"}]').decode()}, "cursor"),
        ({"cursor": base64.urlsafe_b64encode(b"[true,null]").decode()}, "cursor"),
    ],
)
def test_what_cant_be_read_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        search_request.read(list(given.items()), 31)
    assert refused.value.status == 400


TENANT = "88888888-8888-4888-8888-888888888888"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The body for these parameters, at NOW."""
    monkeypatch.setattr(search_request, "time_ns", lambda: NOW)

    def build(**given: str) -> Any:
        return search_request.body(search_request.read([(name.rstrip("_"), value) for name, value in given.items()], 31), TENANT)

    return build


def test_request_is_built_of_checked_parts(built: Callable[..., Any]) -> None:
    body = built(q="payment declined", from_="now-15m", to="now", size="500")
    assert body["size"] == 500
    assert body["query"]["bool"]["filter"] == [
        {"term": {"tenant_id": TENANT}},
        {
            "range": {
                "@timestamp": {
                    "gte": "2027-01-15T07:45:00.123456789Z",
                    "lte": "2027-01-15T08:00:00.123456789Z",
                    "format": "strict_date_optional_time_nanos",
                }
            }
        },
    ]
    asked = body["query"]["bool"]["must"][0]["simple_query_string"]
    assert asked["default_operator"] == "and"
    assert not set(asked["flags"].split("|")) & {"ALL", "FUZZY", "NEAR", "SLOP"}


def test_without_words_everything_in_the_last_day(built: Callable[..., Any]) -> None:
    body = built(q="  ")
    assert body["query"]["bool"]["must"] == []
    assert body["query"]["bool"]["filter"][1]["range"]["@timestamp"] == {"gte": "2027-01-14T08:00:00.123456789Z", "format": "strict_date_optional_time_nanos"}


def test_severity_service_and_trace_are_terms_not_words(built: Callable[..., Any]) -> None:
    body = built(severity="warn", service='a" OR *', trace_id="AB" * 16)
    assert body["query"]["bool"]["filter"][2:] == [
        {"term": {"trace_id": "ab" * 16}},
        {"range": {"severity_number": {"gte": 13}}},
        {"term": {"service_name": 'a" OR *'}},
    ]
    assert "aggs" not in body


def test_oldest_first_is_the_same_order_backwards(built: Callable[..., Any]) -> None:
    for sort, order in (("newest", "desc"), ("oldest", "asc")):
        assert [next(iter(field.values()))["order"] for field in built(sort=sort)["sort"]] == [order, order]


def test_facets_count_what_severity_and_service_leave_out_but_hits_and_timeline_dont(built: Callable[..., Any]) -> None:
    body = built(severity="error", service="checkout", facets="1", timeline="10")
    chosen = {"bool": {"filter": [{"range": {"severity_number": {"gte": 17}}}, {"term": {"service_name": "checkout"}}]}}
    assert len(body["query"]["bool"]["filter"]) == 2
    assert body["post_filter"] == body["aggs"]["chosen"]["filter"] == chosen
    assert set(body["aggs"]) == {"chosen", "services", "severities"}
    assert set(body["aggs"]["chosen"]["aggs"]) == {"timeline"}


async def test_facets_are_told(world: World, acme: Customer) -> None:
    severities = {"info": {"doc_count": 5, "from": 9.0, "to": 13.0}, "error": {"doc_count": 2}}
    aggregations = {"services": {"buckets": [{"key": "checkout", "doc_count": 7}]}, "severities": {"buckets": severities}, "chosen": {"doc_count": 1}}
    world.opensearch.answer = (200, JSON, json.dumps({"hits": {"total": {"value": 9, "relation": "eq"}, "hits": []}, "aggregations": aggregations}).encode())
    answer = (await world.ask("GET", f"{SEARCH}?facets=1", acme.headers)).json
    assert answer["services"] == [["checkout", 7]]
    assert answer["severities"] == {"trace": 0, "debug": 0, "info": 5, "warn": 0, "error": 2, "fatal": 0}


@pytest.mark.parametrize(
    ("body", "marked", "parts"),
    [
        ("a <b> lost", "a <b> MlostM", [["a <b> ", False], ["lost", True]]),
        ("lost", "MlostM", [["lost", True]]),
        ("lost and lost", "MlostM and MlostM", [["lost", True], [" and ", False], ["lost", True]]),
        ("only the trace matched", None, [["only the trace matched", False]]),
        ("lost, and so on", "MlostM, and", [["lost", True], [", and", False], [" so on", False]]),
        # OpenSearch takes the spaces before the first word away
        ("  lost it", "MlostM it", [["  ", False], ["lost", True], [" it", False]]),
        ("\n\tit is lost, and so on", "it is MlostM, and", [["\n\t", False], ["it is ", False], ["lost", True], [", and", False], [" so on", False]]),
        ("another text than was marked", "MlostM", [["another text than was marked", False]]),
        (None, None, []),
    ],
)
async def test_highlight_is_the_body_in_parts(
    world: World, acme: Customer, monkeypatch: pytest.MonkeyPatch, body: str | None, marked: str | None, parts: list[Any]
) -> None:
    monkeypatch.setattr(search_request, "token_hex", lambda _: "\ue000mark")
    hit = {"_source": {**DOCUMENT, "body": body}, "sort": [1, "r"]}
    if marked:
        hit["highlight"] = {"body": [marked.replace("M", "\ue000mark")]}
    world.opensearch.answer = (200, JSON, json.dumps({"hits": {"total": {"value": 1, "relation": "eq"}, "hits": [hit]}}).encode())
    answer = await world.ask("GET", f"{SEARCH}?q=lost&highlight=1", acme.headers)
    assert answer.json["hits"][0]["highlight"] == parts
    assert answer.json["hits"][0]["body"] == body


async def test_marks_cant_be_foreseen(world: World, acme: Customer) -> None:
    """Whoever knew them could write them into a record."""
    marks = set()
    for _ in range(3):
        await world.ask("GET", f"{SEARCH}?q=x&highlight=1", acme.headers)
        marks.add(json.loads(world.opensearch.last.body)["highlight"]["pre_tags"][0])
    assert len(marks) == 3


async def test_page_of_records_too_large_to_be_held_has_fewer(world: World, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch, "MAX_BYTES", 5000)

    async def by_size(request: web.BaseRequest) -> web.Response:
        asked.append(size := json.loads(await request.read())["size"])
        return web.Response(body=reply(*[{**DOCUMENT, "body": "x" * 1000}] * size)[2])

    asked: list[int] = []
    monkeypatch.setattr(world.opensearch, "handle", by_size)
    async with serve(world.opensearch) as server:
        await main.function.close()
        monkeypatch.setenv("OPENSEARCH_URL", server.url)
        found = (await world.ask("GET", f"{SEARCH}?size=24", acme.headers)).json
        assert (asked, len(found["hits"]), found["next"] is None) == ([24, 3], 3, False)
        monkeypatch.setattr(opensearch, "MAX_BYTES", 500)
        answer = await world.ask("GET", SEARCH, acme.headers)
        assert (answer.status, answer.json["error"]) == (400, "the next record is over 500 bytes")


@pytest.mark.parametrize("ends", ["is taken", "is left"])
async def test_page_counts_until_its_reader_has_it_or_is_gone(world: World, acme: Customer, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    """The server is handed no more of it at a time than a slice, and the reader's place stays taken."""
    await main.function.close()
    monkeypatch.setenv("READS_PER_TENANT", "1")
    world.opensearch.answer = reply(*[{**DOCUMENT, "body": "x" * 30_000}] * 20)
    begun, taking, sizes = asyncio.Event(), asyncio.Event(), []

    async def slowly(message: Message) -> None:
        if message["type"] == "http.response.body":
            sizes.append(len(message["body"]))
            begun.set()
            await taking.wait()

    reading = asyncio.create_task(world.ask("GET", SEARCH, acme.headers, sent=slowly))
    await begun.wait()
    assert main.function._memory.held > 20 * 30_000
    assert (await world.ask("GET", SEARCH, acme.headers)).status == 429
    if ends == "is taken":
        taking.set()
        assert len((await reading).json["hits"]) == 20
    else:
        reading.cancel()
        await asyncio.wait([reading])
    assert max(sizes) <= answers.SLICE_BYTES
    assert main.function._memory.held == 0
    world.opensearch.answer = reply(DOCUMENT)
    assert (await world.ask("GET", SEARCH, acme.headers)).status == 200


async def test_too_much_at_the_same_time_is_no_trouble_of_opensearch(world: World, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main.function._memory, "limit", 10)
    away = growth("obstack_query_requests_total", backend="opensearch", status="unavailable")
    answer = await world.ask("GET", SEARCH, acme.headers)
    assert (answer.status, answer.json["error"], away()) == (503, "too much at the same time", 0)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("now", NOW),
        ("now-90s", NOW - 90 * 10**9),
        ("now-2w", NOW - 1_209_600 * 10**9),
        ("now-999999w", 0),
        ("1795529812", 1_795_529_812 * 10**9),
        ("1795529812345", 1_795_529_812_345 * 10**6),
        ("1795529812345678", 1_795_529_812_345_678 * 10**3),
        ("1795529812345678901", 1_795_529_812_345_678_901),
        ("2026-01-31", 1_769_817_600 * 10**9),
        ("2026-01-31T12:00:00Z", 1_769_860_800 * 10**9),
        ("2026-01-31T12:00:00.000000001Z", 1_769_860_800 * 10**9 + 1),
        ("2026-01-31T12:00:00.5+01:00", 1_769_857_200 * 10**9 + 500_000_000),
        ("2026-01-31 12:00", 1_769_860_800 * 10**9),
    ],
)
def test_times_are_read(text: str, nanoseconds: int) -> None:
    assert times.parse(text, NOW) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now-",
        "now-1",
        "now-1y",
        "now/d",
        "NOW",
        "12",
        "-5",
        "1" * 20,
        "9" * 19 + "9",
        "2026-13-01",
        "2026-02-30T00:00:00Z",
        "2026-01-31T25:00:00Z",
        "1969-12-31T00:00:00Z",
        "9999-01-01",
        "2026-01-31T12:00:00+99:00",
        "٢٠٢٦-01-31",
        "2026-01-31||/d",
        "now\n",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        times.parse(text, NOW)


def test_times_are_written_with_nine_digits() -> None:
    assert times.rfc3339(NOW) == "2027-01-15T08:00:00.123456789Z"
    assert times.parse(times.rfc3339(NOW), 0) == NOW
