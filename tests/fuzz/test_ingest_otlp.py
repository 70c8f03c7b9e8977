"""ingest_otlp's ASGI app under any body, encoding and header: no 5xx but a deliberate 503, and every answer can be read by who asked."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from functions.ingest_otlp import main
from localdev.fuzz import otlp_http
from localdev.fuzz.http import Attempt
from localdev.fuzz.otlp_http import JSON, PACK, PROTOBUF, judge
from tests.conftest import Customer
from tests.edges import Broker, Database
from tests.fuzz.otlp import REQUESTS, messages, to_json
from tests.fuzz.world import World

HEADER_TEXT = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=30)
TYPES = st.sampled_from([PROTOBUF, JSON, "application/json; charset=utf-8", "APPLICATION/JSON", "text/plain", ""]) | HEADER_TEXT
ENCODINGS = st.sampled_from(["", "identity", "gzip", "x-gzip", "GZIP", "zstd", "deflate", "br", "snappy", "gzip, gzip", "identity,gzip"]) | HEADER_TEXT
OTHER_NAMES = ["content-length", "traceparent", "x-scope-orgid", "x-obstack-auth-token", "x-obstack-tenant", "ce-tenantid", "transfer-encoding", "content-type"]
OTHERS = st.lists(
    st.tuples(st.sampled_from([*OTHER_NAMES, "content-encoding", "authorization", "accept", "x"]), HEADER_TEXT | st.integers().map(str)), max_size=3
)


@pytest.fixture
def world(broker: Broker, database: Database, acme: Customer, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """One for all examples of a test."""
    monkeypatch.setattr("shared.intake.MAX_BODY_BYTES", 20_000)
    with TestClient(main.app) as client:
        yield World(client, broker, acme)


PATHS = st.sampled_from(["/v1/logs", "/v1/metrics", "/v1/traces", "/ingest/otlp/v1/logs"])


@given(
    path=PATHS,
    method=st.sampled_from(["POST"] * 8 + ["GET", "PUT", "OPTIONS"]),
    kind=TYPES,
    encoding=ENCODINGS,
    others=OTHERS,
    body=st.binary(),
    chunked=st.booleans(),
)
def test_any_request_is_answered(world: World, path: str, method: str, kind: str, encoding: str, others: list[Any], body: bytes, chunked: bool) -> None:
    headers = [("content-type", kind), ("content-encoding", encoding), *world.customer.headers.items(), *others]
    attempt = Attempt(method, path, headers, body, chunked)
    assert judge(attempt, world.send(attempt)) is None


@given(data=st.data(), signal=st.sampled_from(sorted(REQUESTS)), encoding=st.sampled_from(["", *PACK]), chunked=st.booleans())
def test_any_message_has_the_same_outcome_in_both_forms(world: World, data: st.DataObject, signal: str, encoding: str, chunked: bool) -> None:
    twin = data.draw(messages(REQUESTS[signal]))
    outcomes = []
    for kind, value in ((PROTOBUF, twin.SerializeToString()), (JSON, to_json(twin, data.draw(st.randoms(use_true_random=False))))):
        headers = [("content-type", kind), *world.customer.headers.items()] + ([("content-encoding", encoding)] if encoding else [])
        attempt = Attempt("POST", f"/v1/{signal}", headers, PACK[encoding](value) if encoding else value, chunked)
        answer = world.send(attempt)
        assert judge(attempt, answer) is None
        # A log record without a time gets the time of receipt, and that differs.
        mended = signal == "logs" and any(
            not (r.time_unix_nano or r.observed_time_unix_nano) for q in twin.resource_logs for s in q.scope_logs for r in s.log_records
        )
        outcomes.append((answer.status, [] if mended else [message.value for message in world.broker.messages]))
    assert outcomes[0] == outcomes[1] or {status for status, _ in outcomes} == {200, 413}


@given(data=st.data(), signal=st.sampled_from(sorted(REQUESTS)))
def test_upload_that_ends_early_leaves_nothing(world: World, data: st.DataObject, signal: str) -> None:
    body = data.draw(messages(REQUESTS[signal])).SerializeToString()
    headers = [("content-type", PROTOBUF), *world.customer.headers.items()]
    answer = world.send(Attempt("POST", f"/v1/{signal}", headers, body, chunked=True), cut=True)
    assert answer.status == 400
    assert world.broker.messages == []
    if body:
        short = Attempt("POST", f"/v1/{signal}", [*headers, ("content-length", str(len(body) + 1))], body)
        assert world.send(short).status == 400
        assert world.broker.messages == []


def test_the_tools_own_requests_are_judged_well(world: World) -> None:
    """`localdev.fuzz` sends the same kind of requests to a running function, in large numbers."""
    source = Random(11)  # noqa: S311
    statuses = set()
    for _ in range(500):
        attempt = otlp_http.attempt(source, world.customer.token)
        answer = world.send(attempt)
        statuses.add(answer.status)
        assert judge(attempt, answer) is None, attempt
    assert {200, 400, 401, 404, 405, 413, 415} >= statuses >= {200, 400, 404, 405, 415}
