"""Loki's answers to an OTLP push (Loki 3.7). A 400 has stored the valid entries of the same push; sending them once more adds nothing.

    done           2xx, 422                 an empty push is 422: there was nothing to store
    too large      413                      cut
    refused        400 with words we know   the entry is alone in the dead letters, with the reason
    refused?       400 with others          so too, if Loki takes a probe right after it; else held
    busy           429                      this tenant waits
    trouble        5xx                      everybody waits (breaker). Loki's own 500 comes as 503 on this path
    wrongly set up 401, 403, 404            held, and said loudly
    unknown        all others               held, and said loudly

Statuses and messages: Loki's pkg/distributor/http.go, pkg/validation/validate.go, pkg/ingester/stream.go; bodies are google.rpc.Status.
"""

from http import HTTPStatus
from typing import Final

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

from shared.contract import Reason
from shared.http1 import Answer
from shared.verdict import Means, Refusal, Row, judge

_INVALID: Final = frozenset({400})

ANSWERS: Final = (
    Row({200, 204}, Means.DONE),
    Row({422}, Means.DONE, "at least one valid stream"),
    Row({413}, Refusal(Reason.TOO_LARGE)),
    Row(_INVALID, Refusal(Reason.OUT_OF_WINDOW), "has timestamp too old"),
    Row(_INVALID, Refusal(Reason.OUT_OF_WINDOW), "has timestamp too new"),
    Row(_INVALID, Refusal(Reason.OUT_OF_WINDOW), "entry too far behind"),
    Row(_INVALID, Refusal(Reason.OUT_OF_ORDER), "entry out of order"),
    Row(_INVALID, Refusal(Reason.TOO_LARGE), "max entry size"),
    Row(_INVALID, Refusal(Reason.TOO_LARGE), "has structured metadata too large"),
    Row(_INVALID, Refusal(Reason.TOO_LARGE), "has too many structured metadata labels"),
    Row(_INVALID, Refusal(Reason.REFUSED_BY_BACKEND), "label names; limit"),
    Row(_INVALID, Refusal(Reason.REFUSED_BY_BACKEND), "has label name too long"),
    Row(_INVALID, Refusal(Reason.REFUSED_BY_BACKEND), "has label value too long"),
    Row(_INVALID, Refusal(Reason.REFUSED_BY_BACKEND), "has duplicate label name"),
    Row(_INVALID, Refusal(Reason.REFUSED_BY_BACKEND), "error parsing labels"),
    Row(_INVALID, Refusal(Reason.REFUSED_BY_BACKEND), "at least one label pair"),
    Row(_INVALID, Refusal(Reason.INVALID), "symbolizer lookup: "),
    Row(_INVALID, Refusal(Reason.INVALID), "unmarshal: "),
    # What Python's protobuf takes for an unknown field, Go's refuses: a known number with another wire type.
    Row(_INVALID, Refusal(Reason.UNDECODABLE), "proto: "),
    Row(_INVALID, Refusal(Reason.REFUSED_BY_BACKEND, named=False)),
    Row({429}, Means.BUSY),
    Row(range(500, 600), Means.TRANSIENT),
    Row({401, 403, 404}, Means.CONFIGURATION),
)


def check(answer: Answer) -> None:
    """Return when Loki has the batch. Raises Never and Later."""
    if answer.status == HTTPStatus.NO_CONTENT:  # what it nearly always says, and no words with it
        return
    judge(ANSWERS, answer.status, _message(answer), "loki", answer.retry_after)


def _message(answer: Answer) -> str:
    try:
        return str(Status.FromString(answer.body).message) or answer.text
    except DecodeError:
        return answer.text
