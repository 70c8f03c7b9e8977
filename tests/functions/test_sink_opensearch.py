"""sink_opensearch through its ASGI app: documents, bulk requests, and each of OpenSearch's answers."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from starlette.testclient import TestClient

from functions.sink_opensearch import answers, bulk, documents, identity, main, request, template, values
from functions.sink_opensearch.answers import ITEMS, REQUESTS
from shared.contract import NOBODY, EventType, Period
from shared.envelope import Record
from shared.telemetry import metrics
from tests import batches, waiting
from tests.backends import Asked, HttpBackend, Says, bulk_actions, bulk_items
from tests.edges import Broker
from tests.told import growth

TENANT = "018f2f7e-0000-7000-8000-000000000001"
OTHER = "018f2f7e-0000-7000-8000-000000000002"
AT = 1_795_529_314_123_456_789
"""2026-11-24T14:08:34.123456789Z."""


class Items:
    """OpenSearch: takes the template, answers each document with `status`; `requests` first answer a whole bulk request."""

    def __init__(self) -> None:
        self.status = (201, "")
        self.bad: dict[str, tuple[int, str]] = {}
        self.requests: list[Says] = []

    def __call__(self, asked: Asked) -> Says:
        if not asked.path.startswith("/_bulk"):
            return Says(200, '{"acknowledged":true}', {"content-type": "application/json"})
        if self.requests:
            return self.requests.pop(0)
        return bulk_items(asked, lambda _, source: self.bad.get(source["body"], self.status))


@pytest.fixture
def items(backend: HttpBackend) -> Items:
    backend.answer = items = Items()
    return items


@pytest.fixture
def client(broker: Broker, backend: HttpBackend, items: Items, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("OPENSEARCH_URL", backend.url)
    monkeypatch.setattr(bulk, "PAUSES", (0.0, 0.0))
    with TestClient(main.app) as client:
        yield client


def deliver(client: TestClient, record: Record) -> int:
    return int(client.post("/", content=record.value, headers=batches.headers(record)).status_code)


def of(value: bytes, **changes: Any) -> Record:
    return batches.record(EventType.LOGS, value, TENANT, **changes)


def document(log: Any, **resource: str) -> dict[str, Any]:
    """The document of one log record."""
    batch = ExportLogsServiceRequest()
    one = batch.resource_logs.add()
    for name, value in resource.items():
        one.resource.attributes.add(key=name.replace("_", ".")).value.string_value = value
    one.scope_logs.add().log_records.append(log)
    [found] = documents.documents(of(b""), batch)
    return dict(json.loads(found.source))


def a_log() -> Any:
    return ExportLogsServiceRequest().resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=AT)


# -- documents ----------------------------------------------------------------------------------------------------------------------------------------------


def test_document_has_every_field() -> None:
    """Of the record, its scope and its resource; the tenant from the event alone."""
    batch = ExportLogsServiceRequest()
    one = batch.resource_logs.add()
    given = {"service.name": "checkout", "service.namespace": "shop", "deployment.environment.name": "prod", "host.name": "h1", "tenant_id": "evil"}
    for name, value in given.items():
        one.resource.attributes.add(key=name).value.string_value = value
    scope = one.scope_logs.add()
    scope.scope.name, scope.scope.version = "lib", "1.2"
    scope.scope.attributes.add(key="a").value.string_value = "b"
    log = scope.log_records.add(time_unix_nano=AT, observed_time_unix_nano=AT + 1, severity_text="INFO", severity_number=9, flags=1, event_name="paid")
    log.body.string_value = "hello"
    log.trace_id, log.span_id = bytes(range(16)), bytes(range(8))
    log.attributes.add(key="tenant_id").value.string_value = "evil"
    log.attributes.add(key="http.status").value.int_value = 200
    record = of(b"")
    [found] = documents.documents(record, batch)
    assert found.index == f"logs-tenant-{TENANT}-2026.11.24"
    assert found.id == f"{record.id}-0"
    assert json.loads(found.source) == {
        "@timestamp": "2026-11-24T14:08:34.123456789Z",
        "observed_timestamp": "2026-11-24T14:08:34.123456790Z",
        "tenant_id": TENANT,
        "record_id": found.id,
        "body": "hello",
        "severity_text": "INFO",
        "severity_number": 9,
        "flags": 1,
        "event_name": "paid",
        "trace_id": "000102030405060708090a0b0c0d0e0f",
        "span_id": "0001020304050607",
        "service_name": "checkout",
        "service_namespace": "shop",
        "deployment_environment": "prod",
        "host_name": "h1",
        "scope": {"name": "lib", "version": "1.2", "attributes": {"a": "b"}},
        "resource": given,
        "attributes": {"tenant_id": "evil", "http.status": 200},
    }


def test_template_maps_every_field() -> None:
    """What the document has, the mapping knows; nothing is guessed."""
    mappings = json.loads(template.FILE.read_text())["template"]["mappings"]
    assert mappings["dynamic"] is False
    log = a_log()
    log.body.string_value, log.severity_text, log.event_name, log.observed_time_unix_nano = "b", "INFO", "e", AT
    log.trace_id, log.span_id = b"1" * 16, b"2" * 8
    log.attributes.add(key="a")
    found = document(log, service_name="s", service_namespace="n", deployment_environment="d", host_name="h")
    assert set(found) | {"scope"} == set(mappings["properties"])


def test_time_is_the_records_own() -> None:
    """Else when it was observed, else when it was received; never now: a redelivery must find the same index and id."""
    log = a_log()
    log.time_unix_nano, log.observed_time_unix_nano = 0, AT
    assert document(log)["@timestamp"] == "2026-11-24T14:08:34.123456789Z"
    batch = ExportLogsServiceRequest()
    batch.resource_logs.add().scope_logs.add().log_records.add()
    [found] = documents.documents(of(b"", time="2025-12-31T23:59:59.999Z"), batch)
    assert json.loads(found.source)["@timestamp"] == "2025-12-31T23:59:59.999000000Z"
    assert found.index.endswith("-2025.12.31")


def test_each_record_goes_to_its_own_day() -> None:
    """Midnight in UTC divides."""
    midnight = AT // (86_400 * 10**9) * 86_400 * 10**9
    batch = ExportLogsServiceRequest.FromString(batches.logs("a", "b", at=[midnight - 1, midnight]))
    assert [found.index[-10:] for found in documents.documents(of(b""), batch)] == ["2026.11.23", "2026.11.24"]


@pytest.mark.parametrize(
    ("period", "suffixes"),
    [
        (Period.DAY, ["2026.12.31", "2027.01.01", "2027.01.04"]),
        (Period.WEEK, ["2026.w53", "2026.w53", "2027.w01"]),
        (Period.MONTH, ["2026.12", "2027.01", "2027.01"]),
    ],
)
def test_index_is_of_the_records_period(period: Period, suffixes: list[str]) -> None:
    """Weeks are those of ISO 8601: the first days of a year may belong to the last week of the year before."""
    first = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    times = [int(first + seconds) * 10**9 for seconds in (0, 1, 3 * 86_400 + 1)]
    batch = ExportLogsServiceRequest.FromString(batches.logs("a", "b", "c", at=times))
    found = documents.documents(of(b"", index_period=period), batch)
    assert [one.index for one in found] == [f"logs-tenant-{TENANT}-{suffix}" for suffix in suffixes]


def test_ids_count_through_the_batch() -> None:
    """Over all resources and scopes; a replayed part of a batch has the id that it had there, so it is never stored beside itself."""
    record = of(batches.logs("a", "b") + batches.logs("c"))
    batch = request.parse(record)
    assert [found.id for found in documents.documents(record, batch)] == [f"{record.id}-{n}" for n in range(3)]
    *_, last = documents.documents(record, batch)
    part = of(documents.alone(last), id=record.id, extensions={"part": "2"})
    assert [found.id for found in documents.documents(part, request.parse(part))] == [f"{record.id}-2"]


def any_value(value: Any) -> Any:
    """A Python value as an AnyValue."""
    found = a_log().body
    match value:
        case bool():
            found.bool_value = value
        case str():
            found.string_value = value
        case bytes():
            found.bytes_value = value
        case int():
            found.int_value = value
        case float():
            found.double_value = value
        case list():
            found.array_value.SetInParent()
            found.array_value.values.extend(map(any_value, value))
        case dict():
            found.kvlist_value.SetInParent()
            for name, item in value.items():
                found.kvlist_value.values.add(key=name).value.CopyFrom(any_value(item))
    return found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        (1, "1"),
        (2**63 - 1, "9223372036854775807"),
        (True, "true"),
        (0.5, "0.5"),
        (float("nan"), '"NaN"'),
        (float("-inf"), '"-Infinity"'),
        (b"\x00\xff", '"AP8="'),
        ([1, "a", [None]], '[1,"a",[null]]'),
        ({"a": {"b": [1]}}, '{"a":{"b":[1]}}'),
        (None, "null"),
    ],
)
def test_body_is_text(value: Any, text: str) -> None:
    """A string as it is, all else as JSON."""
    assert values.text(any_value(value)) == text


def test_absent_body_is_left_out() -> None:
    """An empty body is no word `null`."""
    assert "body" not in document(a_log())


def test_huge_body_is_kept_whole() -> None:
    """Only what is indexed as one term needs cutting."""
    log = a_log()
    log.body.string_value = "é" * 100_000
    assert document(log)["body"] == "é" * 100_000


@pytest.mark.parametrize("letter", ["x", "é", "漢", "🦀"])
def test_attributes_fit_into_a_term(letter: str) -> None:
    """Whatever the depth, keys and values: path and value together are under Lucene's 32766 bytes, and what was cut says so."""
    value: Any = letter * 40_000
    for _ in range(30):
        value = {letter * 40_000: value}
    found = values.attributes([type("Pair", (), {"key": letter * 40_000, "value": any_value(value)})])
    path = ["attributes"]
    node: Any = found
    while isinstance(node, dict):
        [(key, node)] = node.items()
        assert key.endswith(values.CUT)
        path.append(key)
    assert node.endswith(values.CUT)
    assert len((".".join(path) + "=" + node).encode()) < 32_766


def test_resource_and_scope_dont_multiply_a_batch() -> None:
    """They are copied into each document: what is over the limit is left out of it, and the document says so."""
    batch = ExportLogsServiceRequest()
    one = batch.resource_logs.add()
    scope = one.scope_logs.add()
    scope.scope.name, scope.scope.version = "n" * 100_000, "v" * 100_000
    for number in range(120):
        one.resource.attributes.add(key=f"r{number}").value.string_value = "x" * 8000
        scope.scope.attributes.add(key=f"s{number}").value.string_value = "\x00" * 8000
    scope.scope.attributes.add(key="small").value.string_value = "v"
    one.resource.attributes.add(key="host.name").value.string_value = "h" * 900_000
    scope.log_records.add(time_unix_nano=AT).body.string_value = "hello"
    [made] = documents.documents(of(b""), batch)
    found = json.loads(made.source)
    assert len(made.source) < 2 * values.MOST_COPIED + 3 * values.MOST_TEXT + 1000
    assert (found["resource"][values.CUT], len(found["resource"])) == ("117 attributes left out", 5)
    assert found["scope"]["attributes"] == {"small": "v", values.CUT: "120 attributes left out"}
    for text in (found["host_name"], found["scope"]["name"], found["scope"]["version"]):
        assert text.endswith(values.CUT)
    assert len(orjson.dumps(found["resource"])) <= values.MOST_COPIED
    assert ExportLogsServiceRequest.FromString(documents.alone(made)) == batch  # nothing is left out of a dead letter


def test_resource_is_read_once_for_all_its_scopes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope takes a few bytes of a batch, and a resource may be as large as the batch."""
    batch = ExportLogsServiceRequest()
    one = batch.resource_logs.add()
    one.resource.attributes.add(key="a").value.string_value = "b"
    for number in range(4):
        scope = one.scope_logs.add()
        if number % 2:
            scope.log_records.add(time_unix_nano=AT)
            scope.scope.name = f"{number}"
    copied, read = values.copied, []

    def counted(pairs: Any) -> orjson.Fragment:
        read.append(pairs)
        return copied(pairs)

    monkeypatch.setattr(values, "copied", counted)
    found = [json.loads(made.source) for made in documents.documents(of(b""), batch)]
    assert [(one["resource"], one["scope"]) for one in found] == [({"a": "b"}, {"name": "1"}), ({"a": "b"}, {"name": "3"})]
    assert len(read) == 1


def test_documents_are_made_chunk_by_chunk() -> None:
    """All at once they could be a thousand times as large as the batch."""
    batch = ExportLogsServiceRequest.FromString(batches.logs(*(str(number) for number in range(request.MOST_DOCUMENTS * 3))))
    made = 0

    def counted() -> Iterator[documents.Document]:
        nonlocal made
        for one in documents.documents(of(b""), batch):
            made += 1
            yield one

    first = next(request.chunks(counted()))
    assert made == len(first) + 1


def test_short_attributes_are_untouched() -> None:
    """Up to the limit nothing is cut."""
    given = {"a": "x" * 8192, "b": {"c": [1, {"d": None}]}, "e": b"\x00", "k" * 256: "漢" * 2000}
    found = values.attributes(any_value(given).kvlist_value.values)
    assert found == {**given, "e": "AA=="}


# -- requests -----------------------------------------------------------------------------------------------------------------------------------------------


def test_bulk_request_creates_each_document(client: TestClient, backend: HttpBackend) -> None:
    """After the template, which is put once; with a length, since OpenSearch takes no chunked bulk."""
    record = of(batches.logs("a", "b"))
    assert [deliver(client, one) for one in (record, of(batches.logs("c")))] == [204, 204]
    assert [re.sub(r"\?.*", "", asked.path) for asked in backend.asked] == ["/_index_template/logs-tenant", "/_bulk", "/_bulk"]
    assert backend.asked[1].headers["content-length"] == str(len(backend.asked[1].body))
    assert backend.asked[1].headers["content-type"] == "application/x-ndjson"
    assert backend.asked[1].headers["accept-encoding"] == "identity"
    assert "timeout=2500ms" in backend.asked[1].path, "OpenSearch answers for a shard that is away before we give up on all"
    actions = bulk_actions(backend.asked)
    ids = [made.id for made in documents.documents(identity.digested(record), request.parse(record))]
    assert [(action["_id"], source["record_id"], source["body"]) for action, source in actions[:2]] == [(ids[0], ids[0], "a"), (ids[1], ids[1], "b")]


def test_batch_goes_in_chunks(client: TestClient, backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded in bytes and in documents, in order."""
    monkeypatch.setattr(request, "MOST_BYTES", 1500)
    words = [f"{number:03d}" for number in range(40)]
    assert deliver(client, of(batches.logs(*words))) == 204
    bulks = [asked for asked in backend.asked if asked.path.startswith("/_bulk")]
    assert len(bulks) > 5
    assert all(len(asked.body) <= 1500 for asked in bulks)
    assert [source["body"] for _, source in bulk_actions(backend.asked)] == words
    monkeypatch.setattr(request, "MOST_DOCUMENTS", 7)
    monkeypatch.setattr(request, "MOST_BYTES", 10**6)
    found = list(request.chunks(documents.documents(of(b""), ExportLogsServiceRequest.FromString(batches.logs(*words)))))
    assert [len(chunk) for chunk in found] == [7, 7, 7, 7, 7, 5]


def test_empty_batch_asks_nothing(client: TestClient, backend: HttpBackend) -> None:
    """Nothing to store is stored."""
    assert deliver(client, of(b"")) == 204
    assert not backend.asked


def test_unreadable_batch_is_a_dead_letter(client: TestClient, broker: Broker) -> None:
    """Whole: there are no neighbours to be told from it."""
    assert deliver(client, of(b"\xff\xff")) == 204
    assert [(letter.value, letter.headers["ce_reason"]) for letter in broker.messages] == [(b"\xff\xff", "undecodable")]


def test_event_of_another_kind_is_refused(client: TestClient, backend: HttpBackend) -> None:
    """A trigger on the wrong topic shows at once."""
    record = batches.record(EventType.METRICS, batches.metrics("m"))
    assert deliver(client, record) == 400
    assert not backend.asked


# -- answers ------------------------------------------------------------------------------------------------------------------------------------------------

ITEM_ROWS = [
    (201, "", 204, None),
    (200, "", 204, None),
    (409, "version_conflict_engine_exception: [x]: version conflict, document already exists", 204, None),
    (400, "mapper_parsing_exception: failed to parse field [@timestamp]", 204, "invalid"),
    (400, "document_parsing_exception: failed to parse", 204, "invalid"),
    (400, "illegal_argument_exception: Document contains at least one immense term in field", 204, "too_large"),
    (400, "illegal_argument_exception: x", 204, "invalid"),
    (400, "validation_exception: this action would add [1] total shards, but this cluster currently has [1]/[1]", 503, None),
    (400, "index_closed_exception: closed", 503, None),
    (400, "invalid_index_name_exception: Invalid index name [X], must be lowercase", 503, None),
    (400, "something_exception: nobody has heard of", 503, None),
    (413, "", 204, "too_large"),
    (429, "rejected_execution_exception: queue full", 503, None),
    (500, "", 503, None),
    (503, "unavailable_shards_exception: x", 503, None),
    (403, "cluster_block_exception: index blocked", 503, None),
    (404, "index_not_found_exception: no such index", 503, None),
    (401, "", 503, None),
    (302, "an answer that is in no row", 503, None),
]


@pytest.mark.parametrize(("status", "error", "answered", "reason"), ITEM_ROWS)
def test_each_item_has_its_outcome(client: TestClient, items: Items, broker: Broker, status: int, error: str, answered: int, reason: str | None) -> None:
    """A single document, and each answer of the table: done, later, or a dead letter with a reason."""
    items.status = (status, error)
    assert deliver(client, of(batches.logs("a"))) == answered
    assert [letter.headers["ce_reason"] for letter in broker.messages] == ([reason] if reason else [])


REQUEST_ROWS = [(200, 204), (413, 204), (429, 503), (500, 503), (503, 503), (400, 503), (401, 503), (403, 503), (404, 503), (302, 503)]


@pytest.mark.parametrize(("status", "answered"), REQUEST_ROWS)
def test_each_request_has_its_outcome(client: TestClient, items: Items, broker: Broker, status: int, answered: int) -> None:
    """A whole bulk request, and each answer of the table."""
    if status != 200:
        items.requests = [Says(status, '{"error":"x"}', {"content-type": "application/json"})] * 10
    assert deliver(client, of(batches.logs("a"))) == answered
    assert [letter.headers["ce_reason"] for letter in broker.messages] == (["too_large"] if status == 413 else [])


def test_each_row_is_tried() -> None:
    """The rows above reach every row of both answer tables; being away is tried by the contract of all sinks."""
    reached = [next(row for row in ITEMS if status in row.codes and row.words in error) for status, error, _, _ in ITEM_ROWS if status != 302]
    assert [row for row in ITEMS if row not in reached] == []
    tried = [next(row for row in REQUESTS if status in row.codes) for status, _ in REQUEST_ROWS if status != 302]
    assert [row for row in REQUESTS if row not in tried] == [row for row in REQUESTS if "N/A" in row.codes]


def test_only_busy_documents_are_sent_again(client: TestClient, backend: HttpBackend, items: Items) -> None:
    """Those that are stored stay out of the repetition."""
    items.bad, retries = {"b": (429, "rejected_execution_exception: queue full")}, growth("obstack_backend_retries_total", reason="busy")

    def answer(asked: Asked) -> Says:
        says = items(asked)
        if b'"b"' in asked.body:
            items.bad = {}
        return says

    backend.answer = answer
    assert deliver(client, of(batches.logs("a", "b", "c"))) == 204
    assert [source["body"] for _, source in bulk_actions(backend.asked)] == ["a", "b", "c", "b"]
    assert retries() == 1


def test_refused_record_is_alone_in_the_dead_letters(client: TestClient, items: Items, broker: Broker) -> None:
    """With its own resource and scope around it."""
    items.bad = {"bad": (400, "mapper_parsing_exception: failed to parse field [@timestamp]")}
    assert deliver(client, of(batches.logs("a", service="one") + batches.logs("b", "bad", "c", service="two"))) == 204
    [letter] = broker.messages
    assert batches.words(EventType.LOGS, letter.value) == ["bad"]
    assert len(letter.headers["ce_digest"]) == 32
    [resource] = ExportLogsServiceRequest.FromString(letter.value).resource_logs
    assert resource.resource.attributes[0].value.string_value == "two"
    assert resource.scope_logs[0].scope.name == "tests"


def test_unnamed_refusal_is_believed_after_a_probe(client: TestClient, backend: HttpBackend, items: Items, broker: Broker) -> None:
    """An unknown 400 is the record's fault once a document that is surely good gets through after it, in nobody's index."""
    items.bad = {"bad": (400, "something_exception: nobody has heard of")}
    assert deliver(client, of(batches.logs("bad"))) == 204
    assert [batches.words(EventType.LOGS, letter.value) for letter in broker.messages] == [["bad"]]
    action, source = bulk_actions(backend.asked)[-1]
    assert action["_index"].startswith(f"logs-tenant-{NOBODY}-")
    assert source["tenant_id"] == NOBODY


def test_unnamed_refusal_is_not_believed_without_a_probe(client: TestClient, items: Items, broker: Broker) -> None:
    """Though a neighbour was stored before it: OpenSearch may have gone wrong since."""
    items.status = (400, "something_exception: nobody has heard of")
    items.bad = {"a": (201, "")}
    assert deliver(client, of(batches.logs("a", "b"))) == 503
    items.status = (201, "")
    assert deliver(client, of(batches.logs("a", "b"))) == 204
    assert not broker.messages


def test_too_large_a_request_is_halved(client: TestClient, backend: HttpBackend, broker: Broker) -> None:
    """A proxy or node may take less than we send."""
    cuts = growth("obstack_sink_bisections_total", reason="size")

    def answer(asked: Asked) -> Says:
        return Says(413, "") if asked.path.startswith("/_bulk") and len(asked.body) > 900 else Items()(asked)

    backend.answer = answer
    words = [f"{number}" for number in range(9)]
    assert deliver(client, of(batches.logs(*words))) == 204
    assert not broker.messages
    assert [source["body"] for _, source in bulk_actions([asked for asked in backend.asked if len(asked.body) <= 900])] == words
    assert cuts() == len([asked for asked in backend.asked if asked.path.startswith("/_bulk") and len(asked.body) > 900]) > 0


def test_answer_for_another_number_of_documents_is_trouble(client: TestClient, items: Items, broker: Broker) -> None:
    """Nobody knows which of them is meant, and so none of the events that share it gets a yes."""
    for body in ('{"items":[{"create":{"status":201}}]}', "{}", '"x"', "no JSON", '{"items":[{"create":{}},{"create":null}]}', '{"items":[1,2]}'):
        items.requests = [Says(200, body, {"content-type": "application/json"})]
        assert deliver(client, of(batches.logs("a", "b"))) == 503
    assert not broker.messages


def test_long_batch_goes_on_where_it_was(client: TestClient, backend: HttpBackend, items: Items, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery ends before the trigger gives up; the next one sends the rest, and the dead of both are buried."""
    monkeypatch.setattr(request, "MOST_DOCUMENTS", 2)
    monkeypatch.setattr(main, "MOST_SECONDS", 1.0)
    items.bad = {"1": (400, "mapper_parsing_exception: x"), "5": (400, "mapper_parsing_exception: x")}

    needs = main.function._needs
    assert needs is not None
    free = threading.Event()

    def answer(asked: Asked) -> Says:
        if b'"body":"4"' in asked.body:
            free.wait(10)
        return items(asked)

    backend.answer = answer
    record = of(batches.logs(*(str(number) for number in range(7))))
    assert deliver(client, record) == 503
    free.set()
    monkeypatch.setattr(main, "MOST_SECONDS", 10.0)
    assert deliver(client, record) == 204
    assert [source["body"] for _, source in bulk_actions(backend.asked)] == ["0", "1", "2", "3", "4", "5", "4", "5", "6"]
    assert [(batches.words(EventType.LOGS, one.value), one.headers["ce_part"]) for one in broker.messages] == [(["1"], "1"), (["5"], "5")]
    # The third has nothing to go on from.
    assert deliver(client, record) == 204
    assert len(bulk_actions(backend.asked)) == 9 + 7
    assert not needs.unfinished._remembered


def test_duplicates_are_counted(client: TestClient, items: Items) -> None:
    """A redelivery shows in the metrics and nowhere else."""
    items.status = (answers.EXISTS, "version_conflict_engine_exception: x")
    before = metrics.DUPLICATES._value.get()
    assert deliver(client, of(batches.logs("a", "b"))) == 204
    assert metrics.DUPLICATES._value.get() == before + 2


def test_template_comes_again_after_a_failure(client: TestClient, backend: HttpBackend, items: Items) -> None:
    """OpenSearch may come back empty; an index without the template would guess its mapping."""
    assert deliver(client, of(batches.logs("a"))) == 204
    items.requests = [Says(503, "")]
    assert deliver(client, of(batches.logs("b"))) == 503
    assert deliver(client, of(batches.logs("b"))) == 204
    assert [asked.path for asked in backend.asked if asked.method == "PUT"] == ["/_index_template/logs-tenant"] * 2


def test_index_waits_for_its_template(client: TestClient, backend: HttpBackend) -> None:
    """No bulk request goes out while the template can't be put."""
    backend.answer = lambda _: Says(503, "")
    assert deliver(client, of(batches.logs("a"))) == 503
    assert [asked.method for asked in backend.asked] == ["PUT"]


def test_backend_in_trouble_is_left_alone_for_a_moment(client: TestClient, backend: HttpBackend) -> None:
    """After some failures the events wait with the trigger, and OpenSearch isn't asked."""
    backend.answer = lambda _: Says(503, "")
    assert {deliver(client, of(batches.logs("a"))) for _ in range(8)} == {503}
    assert len(backend.asked) == 5


def test_refused_documents_are_no_trouble_of_opensearchs(client: TestClient, backend: HttpBackend, items: Items) -> None:
    """One tenant's blocked index doesn't stop the others."""
    items.bad = {"blocked": (403, "cluster_block_exception: index blocked")}
    assert {deliver(client, of(batches.logs("blocked"))) for _ in range(8)} == {503}
    assert deliver(client, of(batches.logs("fine"))) == 204


# -- group commit -------------------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request at a time. Before `client`."""
    monkeypatch.setattr(bulk, "LANES", 1)


def shared(client: TestClient, backend: HttpBackend, *events: list[str]) -> list[int]:
    """The answers to events that come, in this order, while a first one's request is under way."""
    needs = main.function._needs
    assert needs is not None
    assert deliver(client, of(batches.logs("template"))) == 204
    backend.reached.clear()
    backend.open.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(deliver, client, of(batches.logs("first")))
        assert backend.reached.wait(10)
        rest = []
        for words in events:
            rest.append(pool.submit(deliver, client, of(batches.logs(*words))))
            waiting.until(lambda: len(needs.bulk._together._waiting[0]) == len(rest))
        backend.open.set()
        assert first.result(10) == 204
        return [one.result(10) for one in rest]


def test_events_share_a_request_and_nothing_else(one_lane: None, client: TestClient, backend: HttpBackend, items: Items, broker: Broker) -> None:
    """What comes while OpenSearch works goes together; a bad record and a blocked index concern their own events only."""
    items.bad = {"bad": (400, "mapper_parsing_exception: x"), "blocked": (403, "cluster_block_exception: x")}
    assert shared(client, backend, ["a", "bad", "b"], ["blocked"], ["c"]) == [204, 503, 204]
    bulks = [bulk_actions([asked]) for asked in backend.asked if asked.path.startswith("/_bulk")]
    assert [len(actions) for actions in bulks] == [1, 1, 5]
    assert [batches.words(EventType.LOGS, letter.value) for letter in broker.messages] == [["bad"]]


def test_event_that_spoils_a_shared_request_is_alone_with_it(one_lane: None, client: TestClient, backend: HttpBackend, items: Items, broker: Broker) -> None:
    """A bulk request that is refused as a whole, and a 4xx: each of its events goes alone, and those that can be stored are."""

    def answer(asked: Asked) -> Says:
        return Says(400, '{"error":"x"}', {"content-type": "application/json"}) if b"poison" in asked.body else items(asked)

    backend.answer, retries = answer, growth("obstack_backend_retries_total", reason="shared_refusal")
    outcomes = shared(client, backend, ["a"], ["poison"], ["b"])
    assert retries() == 1
    assert outcomes == [204, 503, 204]
    bulks = [[source["body"] for _, source in bulk_actions([asked])] for asked in backend.asked if asked.path.startswith("/_bulk")]
    assert bulks == [["template"], ["first"], ["a", "poison", "b"], ["a"], ["poison"], ["b"]]
    assert not broker.messages


def test_free_lane_is_taken_before_one_that_is_busy(client: TestClient, backend: HttpBackend, items: Items) -> None:
    """Nobody waits for a slow request while there are others to be had."""
    free = threading.Event()

    def answer(asked: Asked) -> Says:
        if b"slow" in asked.body:
            free.wait(5)
        return items(asked)

    assert deliver(client, of(batches.logs("template"))) == 204
    backend.answer = answer
    backend.reached.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(deliver, client, of(batches.logs("slow")))
        assert backend.reached.wait(10)
        assert {deliver(client, of(batches.logs("quick"))) for _ in range(2 * bulk.LANES)} == {204}
        assert not slow.done()
        free.set()
        assert slow.result(10) == 204


def test_shared_answer_for_another_number_of_documents_is_no_yes(one_lane: None, client: TestClient, backend: HttpBackend, items: Items) -> None:
    """Whose item it was that came, nobody knows."""

    def answer(asked: Asked) -> Says:
        if b'"c"' in asked.body:
            return Says(200, '{"items":[{"create":{"status":201}}]}', {"content-type": "application/json"})
        return items(asked)

    backend.answer = answer
    assert shared(client, backend, ["b"], ["c"]) == [503, 503]


@pytest.mark.parametrize("trouble", ["an item's", "a blocked item's", "the request's"])
def test_index_in_trouble_goes_alone(one_lane: None, client: TestClient, backend: HttpBackend, items: Items, trouble: str) -> None:
    """A tenant whose shard is away, whose index is blocked, or whose documents end in silence: once that was seen, nobody else waits for it, or for the
    template, until something of it is stored.
    """
    needs = main.function._needs
    assert needs is not None
    free = threading.Event()

    def answer(asked: Asked) -> Says:
        if OTHER.encode() not in asked.body or free.is_set():
            return items(asked)
        if trouble == "the request's":
            return Says(503, "")
        says = (403, "cluster_block_exception: x") if trouble == "a blocked item's" else (503, "unavailable_shards_exception: x")
        return bulk_items(asked, lambda _, source: says if source["tenant_id"] == OTHER else (201, ""))

    backend.answer = answer
    theirs = batches.record(EventType.LOGS, batches.logs("theirs"), OTHER)
    assert deliver(client, of(batches.logs("template"))) == 204
    assert deliver(client, theirs) == 503
    backend.answer = lambda asked: (free.wait(10) and None) or items(asked) if OTHER.encode() in asked.body else items(asked)
    backend.reached.clear()
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(deliver, client, theirs)
        assert backend.reached.wait(10)
        assert {deliver(client, of(batches.logs("ours"))) for _ in range(3)} == {204}
        assert not waits.done()
        free.set()
        assert waits.result(10) == 204
    assert not needs.bulk._troubled
    assert [asked.path.startswith("/_bulk") for asked in backend.asked].count(False) == (2 if trouble == "the request's" else 1)


def test_new_indices_are_made_a_few_at_a_time(client: TestClient, backend: HttpBackend, items: Items) -> None:
    """As with the first minute of a day: else OpenSearch would make them all in one request's time, and nobody's documents got through meanwhile."""
    most, now, lock = 0, 0, threading.Lock()
    enough = threading.Event()

    def answer(asked: Asked) -> Says:
        nonlocal most, now
        if not asked.path.startswith("/_bulk") or b"known" in asked.body:
            return items(asked)
        with lock:
            now += 1
            most = max(most, now)
        if now == bulk.NEW_AT_ONCE:
            enough.set()
        enough.wait(10)
        with lock:
            now -= 1
        return items(asked)

    assert deliver(client, of(batches.logs("known"))) == 204
    backend.answer = answer
    tomorrow = [of(batches.logs("new", at=AT + day * 86_400 * 10**9)) for day in range(1, 2 * bulk.NEW_AT_ONCE)]
    backend.reached.clear()
    with ThreadPoolExecutor(len(tomorrow)) as pool:
        made = [pool.submit(deliver, client, record) for record in tomorrow]
        assert backend.reached.wait(10)
        assert deliver(client, of(batches.logs("known"))) == 204
        assert {one.result(10) for one in made} == {204}
    assert most == bulk.NEW_AT_ONCE
    bulks = [bulk_actions([asked]) for asked in backend.asked if asked.path.startswith("/_bulk")]
    assert [len(actions) for actions in bulks] == [1] * (2 + len(tomorrow))


def test_index_that_could_not_be_made_is_still_a_new_one(client: TestClient, items: Items) -> None:
    """Being named in a request makes no index."""
    needs = main.function._needs
    assert needs is not None
    items.bad = {"bad": (400, "validation_exception: this action would add [1] shards")}
    assert deliver(client, of(batches.logs("a", "bad", at=[AT, AT + 86_400 * 10**9]))) == 503
    assert {name[-10:] for name in needs.bulk._known} == {"2026.11.24"}


def test_known_indices_are_not_remembered_without_end(client: TestClient, backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named by customers' data: tenant and date."""
    monkeypatch.setattr(bulk, "MOST_KNOWN", 3)
    needs = main.function._needs
    assert needs is not None
    sizes = []
    for day in range(8):
        assert deliver(client, of(batches.logs("a", at=AT + day * 86_400 * 10**9))) == 204
        sizes.append(len(needs.bulk._known))
    assert max(sizes) == 3


def test_indices_in_trouble_are_not_remembered_without_end(client: TestClient, backend: HttpBackend, items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named by customers' data: tenant and date."""
    monkeypatch.setattr(bulk, "MOST_TROUBLED", 3)
    needs = main.function._needs
    assert needs is not None
    items.status = (503, "unavailable_shards_exception: x")
    sizes = []
    for day in range(8):
        assert deliver(client, of(batches.logs("a", at=AT + day * 86_400 * 10**9))) == 503
        sizes.append(len(needs.bulk._troubled))
    assert max(sizes) == 3
