"""Prometheus' answers to OTLP and remote_write (Prometheus 3.16). Only 2.0 keeps the good part of a refused request; equal samples twice are no fault.

The OTLP endpoint answers 500 to data it can't convert, so a 500 is a refusal unless the storage is named. Statuses and messages: Prometheus'
storage/remote/write_handler.go, write_otlp_handler.go, otlptranslator; model/histogram; tsdb/head_append.go (Commit).

    done           2xx
    too large      413                           cut
    refused        400, 500 with words we know   the series is alone in the dead letters, with the reason
    trouble        500 that begins as the        everybody waits (breaker); so at 429, 502, 503, 504
                   storage's errors do
    refused?       400, 500 with others          so too, if it stands a few tries and Prometheus takes a probe right after it; else held
    wrongly set up 401, 403, 404, 405, 415       held, and said loudly; 415 to a 2.0 request: the same goes as 1.0
    unknown        all others                    held, and said loudly
"""

from typing import Final

from shared.contract import Reason
from shared.http1 import Answer
from shared.verdict import Means, Refusal, Row, judge

_REFUSED: Final = frozenset({400, 500})

WRITTEN: Final = "x-prometheus-remote-write-samples-written"

_INVALID: Final = (
    "invalid temporality and type combination",
    "unsupported metric type",
    "cannot convert exponential to native histogram",
    "unsupported exemplar value type",
    "resulted in empty name",
    "label name is empty",
    "contains only underscores",
    "resulted in invalid name",
    "histogram's observation count should",
    "histogram's observation count is negative",
    "histogram has a ",
    "histogram has an ",
    "histogram spans specify",
    "histogram custom bounds",
    "custom buckets: must",
    "histogram with exponential schema",
    "TimeSeries must contain at least one sample or histogram",
    "invalid labels for series",
    "invalid metric name or labels",
    "parsing labels for series",
    "parsing metadata for series",
    "parsing exemplar for series",
    "invalid sample",
)
"""What Prometheus says of data that it can't ever take."""

ANSWERS: Final = (
    Row({200, 204}, Means.DONE),
    Row({413}, Refusal(Reason.TOO_LARGE)),
    Row(_REFUSED, Refusal(Reason.OUT_OF_WINDOW), "too old sample"),
    Row(_REFUSED, Refusal(Reason.OUT_OF_WINDOW), "out of bounds"),
    Row(_REFUSED, Refusal(Reason.OUT_OF_ORDER), "out of order"),
    Row(_REFUSED, Refusal(Reason.OUT_OF_ORDER), "duplicate sample for timestamp"),
    *(Row(_REFUSED, Refusal(Reason.INVALID), words) for words in _INVALID),
    # What Python's protobuf takes for an unknown field, Go's refuses: a known number with another wire type.
    Row({400}, Refusal(Reason.UNDECODABLE), "proto: "),
    # A full disk among them: "write to WAL: log samples: write data/wal/00000001: no space left on device".
    *(Row({500}, Means.TRANSIENT, words, first=True) for words in ("write to WAL: ", "context canceled", "context deadline exceeded")),
    Row(_REFUSED, Refusal(Reason.REFUSED_BY_BACKEND, named=False)),
    Row({429, *range(501, 600)}, Means.TRANSIENT),
    Row({401, 403, 404, 405, 415}, Means.CONFIGURATION),
)


def check(answer: Answer) -> None:
    """Return when Prometheus has the batch. Raises Never and Later."""
    judge(ANSWERS, answer.status, answer.body.decode(errors="replace"), "prometheus", answer.retry_after)


def knows_2(answer: Answer) -> bool:
    """Whether who answers a 2.0 request so knows 2.0. Who knows only 1.0 refuses the type, or reads the request as an empty one and says yes."""
    return answer.status != 415 and (answer.status not in {200, 204} or WRITTEN in answer.headers)
