"""`localdev.fuzz`: what it complains about, where it may send, and that it says so."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from google.rpc.status_pb2 import Status

from localdev import fuzz
from localdev.fuzz import JSON, PROTOBUF, Answer, Attempt, judge

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
        (PROTOBUF, Answer(500, BINARY, STATUS), "for good at 500"),
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


@pytest.mark.parametrize("url", ["http://192.0.2.1:80", "http://127.0.0.1:1"])
def test_only_what_listens_here_is_sent_to(url: str) -> None:
    with pytest.raises(SystemExit):
        fuzz.main(["--url", url, "--token", "x", "--requests", "1"])


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
    assert fuzz.main(["--url", broken_server, "--token", "x", "--requests", "40", "--workers", "2"]) == 1
    said = capsys.readouterr().out
    assert "40 requests" in said
    assert "for good at 500" in said
    assert "memory in MB" in said
