"""OTLP/HTTP: what is sent, and whether the answer is one that a client can read.

Judged: no 5xx but a 503 with Retry-After, every body parses as what status and media type say.
"""

import gzip
import random
import sys
import zlib
from collections.abc import Callable

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2  # noqa: F401 json_format reads a Status with these in it only if they are known
from google.rpc.status_pb2 import Status

from localdev.fuzz import http
from localdev.fuzz.http import Answer, Attempt, misdirected
from localdev.fuzz.mutations import HEADERS, damaged
from localdev.fuzz.otlp import RESPONSES, json_body, protobuf_body

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PROTOBUF, JSON = "application/x-protobuf", "application/json"
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
PATHS = ["/v1/profiles", "/", "/v1/logs/", "/ingest/otlp/v1/logs", "/%00", "/v1/" + "x" * 2000, "//v1/logs"]
NOISE = {
    **HEADERS,
    "content-type": ["", "text/plain", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json,application/x-protobuf", ";", "\xff"],
    "content-encoding": ["", "identity", "br", "gzip, gzip", "x-gzip", "GZIP", "zstd", "snappy", "deflate", ",", "\xe9"],
}


def attempt(source: random.Random, token: str) -> Attempt:
    """The next request: mostly nearly right, so that it gets far."""
    signal = source.choice(["logs", "metrics", "traces"])
    is_json = source.random() < 0.4
    body = (json_body if is_json else protobuf_body)(source, signal)
    headers = [("content-type", JSON if is_json else PROTOBUF), ("authorization", f"Bearer {token}")]
    path = f"/v1/{signal}"
    if source.random() < 0.4:
        body = damaged(source, body)
    if source.random() < 0.4:
        encoding = source.choice(list(PACK))
        body = PACK[encoding](body)
        headers.append(("content-encoding", encoding))
        if source.random() < 0.3:
            body = damaged(source, body)
    return misdirected(source, Attempt("POST", path, headers, body, source.random() < 0.3), PATHS, NOISE)


def judge(attempt: Attempt, answer: Answer) -> str | None:
    """What is wrong with the answer; None: nothing."""
    if complaint := http.judge(answer):
        return complaint
    if answer.headers.get("content-type") != media_type(attempt):
        return f"{answer.status} as {answer.headers.get('content-type')} to {media_type(attempt)}"
    return None if attempt.method == "HEAD" else _judge_body(attempt, answer)


def media_type(attempt: Attempt) -> str:
    """The media type that the answer has to have."""
    named = next((value for name, value in attempt.headers if name.lower() == "content-type"), "")
    return JSON if named.partition(";")[0].strip().lower() == JSON else PROTOBUF


def _judge_body(attempt: Attempt, answer: Answer) -> str | None:
    message = RESPONSES.get(attempt.path.rpartition("/")[2]) if answer.status == 200 else Status
    if message is None:
        return f"200 from {attempt.path}"
    try:
        said = json_format.Parse(answer.body.decode(), message()) if media_type(attempt) == JSON else message.FromString(answer.body)
    except (json_format.ParseError, DecodeError, UnicodeDecodeError) as error:
        return f"{answer.status}'s body is no {message.__name__}: {error}"
    return "an error without a message" if answer.status != 200 and not said.message else None
