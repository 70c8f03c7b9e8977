"""`localdev.fuzz`: what it complains about, where it may send, and that it says so."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from starlette.testclient import TestClient

from functions.ingest_prom import main as ingest_prom
from localdev.fuzz import otlp_grpc, remote_write
from localdev.fuzz.__main__ import main
from localdev.fuzz.http import Answer, Attempt
from localdev.fuzz.otlp_http import JSON, PROTOBUF, judge
from localdev.fuzz.remote_write import TYPE_1, TYPE_2, WRITTEN
from tests.conftest import Customer
from tests.edges import Broker, Database
from tests.functions.test_ingest_otlp_grpc import served
from tests.fuzz.world import World

STATUS = Status(message="no").SerializeToString()
BINARY = {"content-type": PROTOBUF}
TEXT = {"content-type": JSON}


@pytest.mark.parametrize(
    ("kind", "answer", "complaint"),
    [
        (PROTOBUF, Answer(200, BINARY, b""), None),
        (JSON, Answer(200, TEXT, b"{}"), None),
        (f"{JSON}; charset=utf-8", Answer(400, TEXT, b'{"message":"no"}'), None),
        ("text/plain", Answer(415, BINARY, STATUS), None),
        (PROTOBUF, Answer(503, BINARY | {"retry-after": "2"}, STATUS), None),
        (PROTOBUF, Answer(503, BINARY, STATUS), "without Retry-After"),
        (PROTOBUF, Answer(429, BINARY, STATUS), "without Retry-After"),
        (PROTOBUF, Answer(500, BINARY, STATUS), "must be 503, not 500"),
        (PROTOBUF, Answer(400, {"content-type": "text/plain"}, b"no"), "400 as text/plain"),
        (JSON, Answer(200, {"content-type": f"{JSON}; charset=utf-8"}, b"{}"), "charset"),
        (PROTOBUF, Answer(400, BINARY, b"text"), "no Status"),
        (JSON, Answer(200, TEXT, b""), "no ExportLogsServiceResponse"),
        (PROTOBUF, Answer(400, BINARY, b""), "without a message"),
    ],
)
def test_judgement(kind: str, answer: Answer, complaint: str | None) -> None:
    said = judge(Attempt("POST", "/v1/logs", [("Content-Type", kind)], b""), answer)
    assert said is None if complaint is None else complaint in str(said)


TEXT_PLAIN = {"content-type": "text/plain"}
COUNTED = dict.fromkeys(WRITTEN, "0")


@pytest.mark.parametrize(
    ("kind", "answer", "complaint"),
    [
        (TYPE_1, Answer(204, {}, b""), None),
        (TYPE_2, Answer(204, COUNTED, b""), None),
        (TYPE_2, Answer(400, COUNTED | TEXT_PLAIN, b"no"), None),
        (TYPE_1, Answer(503, TEXT_PLAIN | {"retry-after": "2"}, b"no"), None),
        (TYPE_1, Answer(503, TEXT_PLAIN, b"no"), "without Retry-After"),
        (TYPE_1, Answer(500, TEXT_PLAIN, b"no"), "must be 503"),
        (TYPE_1, Answer(200, {}, b""), "success is 204"),
        (TYPE_1, Answer(204, {}, b"x"), "204 with a body"),
        (TYPE_1, Answer(400, TEXT_PLAIN, b""), "400 with a body of 0"),
        (TYPE_2, Answer(204, {}, b""), "doesn't say"),
        (TYPE_2, Answer(401, COUNTED | {WRITTEN[1]: "-1"}, b"no"), "doesn't say"),
        (TYPE_1, Answer(204, COUNTED, b""), "of 1.0 says"),
    ],
)
def test_judgement_of_remote_write(kind: str, answer: Answer, complaint: str | None) -> None:
    said = remote_write.judge(Attempt("POST", "/v1/write", [("content-type", kind)], b""), answer)
    assert said is None if complaint is None else complaint in str(said)


def details(code: int, *more: Any, message: str = "no") -> bytes:
    status = Status(code=code, message=message)
    for one in more:
        status.details.add().Pack(one)
    return bytes(status.SerializeToString())


LOGS = otlp_grpc.SERVICES["logs"]


@pytest.mark.parametrize(
    ("method", "answer", "complaint"),
    [
        (LOGS, otlp_grpc.Answer("OK"), None),
        (LOGS, otlp_grpc.Answer("INVALID_ARGUMENT", details=details(3)), None),
        (LOGS, otlp_grpc.Answer("UNAVAILABLE", details=details(14, RetryInfo())), None),
        ("/x", otlp_grpc.Answer("UNIMPLEMENTED"), None),
        (LOGS, otlp_grpc.Answer("INTERNAL"), "for good at INTERNAL"),
        (LOGS, otlp_grpc.Answer("UNKNOWN", details=details(2)), "for good at UNKNOWN"),
        (LOGS, otlp_grpc.Answer("UNAVAILABLE", details=details(14)), "without RetryInfo"),
        (LOGS, otlp_grpc.Answer("INVALID_ARGUMENT"), "with the details of 0"),
        (LOGS, otlp_grpc.Answer("INVALID_ARGUMENT", details=details(3, message="")), "with the details of 3 ''"),
        (LOGS, otlp_grpc.Answer("INVALID_ARGUMENT", details=b"x"), "no Status"),
        (LOGS, otlp_grpc.Answer("OK", b"x"), "no ExportLogsServiceResponse"),
        (LOGS, otlp_grpc.Answer("UNIMPLEMENTED"), "UNIMPLEMENTED"),
        (LOGS, otlp_grpc.Answer("DEADLINE_EXCEEDED"), "no answer"),
        ("/x", otlp_grpc.Answer("OK"), "OK from /x"),
    ],
)
def test_judgement_of_grpc(method: str, answer: otlp_grpc.Answer, complaint: str | None) -> None:
    said = otlp_grpc.judge(otlp_grpc.Attempt(method, (), b""), answer)
    assert said is None if complaint is None else complaint in str(said)


async def test_its_calls_are_judged_well(broker: Broker, database: Database, acme: Customer) -> None:
    source, statuses = Random(11), set()  # noqa: S311
    async with served() as channel:
        for _ in range(300):
            attempt = otlp_grpc.attempt(source, acme.token)
            answer = await otlp_grpc.call(channel, attempt)
            statuses.add(answer.status)
            assert otlp_grpc.judge(attempt, answer) is None, attempt
    assert statuses >= {"OK", "INVALID_ARGUMENT", "UNAUTHENTICATED", "UNIMPLEMENTED"}


def test_its_write_requests_are_judged_well(broker: Broker, database: Database, acme: Customer) -> None:
    source, statuses = Random(11), set()  # noqa: S311
    with TestClient(ingest_prom.app) as client:
        world = World(client, broker, acme)
        for _ in range(500):
            attempt = remote_write.attempt(source, acme.token)
            answer = world.send(attempt)
            statuses.add(answer.status)
            assert remote_write.judge(attempt, answer) is None, attempt
    assert {204, 400, 401, 404, 405, 413, 415} >= statuses >= {204, 400, 404, 405, 415}


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "./task fuzz -- ingest_prom" in capsys.readouterr().out


def test_without_a_stack_it_says_what_starts_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path))
    with pytest.raises(SystemExit, match="task up"):
        main(["ingest_prom"])


@pytest.mark.parametrize("url", ["http://192.0.2.1:80", "http://127.0.0.1:1"])
def test_only_what_listens_here_is_sent_to(url: str) -> None:
    with pytest.raises(SystemExit):
        main(["ingest_otlp", "--url", url, "--token", "x", "--requests", "1"])


@pytest.fixture
def broken_server() -> Iterator[str]:
    class Broken(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(500)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_run_tells_what_was_wrong(broken_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest_otlp", "--url", broken_server, "--token", "x", "--requests", "40", "--workers", "2"]) == 1
    said = capsys.readouterr().out
    assert "40 requests" in said
    assert "must be 503, not 500" in said
    assert "memory in MB" in said
