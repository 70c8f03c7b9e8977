"""Prometheus remote_write 1.0 and 2.0: bytes ↔ messages, checked and counted. Pure.

Values go through as the 64 bits they are, stale markers included.
Sources: Prometheus remote_write specification 1.0 and 2.0 (rc.4), § Protocol, § Protobuf Message.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from shared.contract import Reason
from shared.errors import Refused


@dataclass(frozen=True, slots=True)
class Counts:
    """What a request holds, and a receiver reports as written (2.0, § Required Written Response Headers)."""

    samples: int
    histograms: int
    exemplars: int


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the protocol: its message, and what must hold in it."""

    request: type[Message]
    check: Callable[[Any], None]


def parse(version: Version, value: bytes) -> Any:
    """Protobuf → valid message. Raises Refused."""
    try:
        message = version.request.FromString(value)
    except DecodeError as error:
        raise Refused(Reason.UNDECODABLE, f"the body is not a protobuf {version.request.DESCRIPTOR.full_name}: {error}") from None
    version.check(message)
    return message


def count(message: Any) -> Counts:
    """Samples, histograms and exemplars of a message of either version."""
    samples = histograms = exemplars = 0
    for series in message.timeseries:
        samples += len(series.samples)
        histograms += len(series.histograms)
        exemplars += len(series.exemplars)
    return Counts(samples, histograms, exemplars)


def _check_1(message: Any) -> None:
    if not message.timeseries and not message.metadata and message.ByteSize():
        raise Refused(Reason.INVALID, "neither series nor metadata of 1.0 in it; a 2.0 request names its message in Content-Type")
    for index, series in enumerate(message.timeseries):
        if not series.labels:
            raise Refused(Reason.INVALID, f"series {index} has no labels")


def _check_2(message: Any) -> None:
    symbols = len(message.symbols)
    if message.ByteSize() and (not symbols or message.symbols[0] != ""):
        raise Refused(Reason.INVALID, "the first symbol must be the empty string; a 1.0 request names no message or another in Content-Type")
    for index, series in enumerate(message.timeseries):
        refs = series.labels_refs
        if not refs or len(refs) % 2 or max(refs) >= symbols:
            raise Refused(Reason.INVALID, f"series {index}: label references must come in pairs, at least one, each below the number of symbols")
        if series.metadata.help_ref >= symbols or series.metadata.unit_ref >= symbols:
            raise Refused(Reason.INVALID, f"series {index}: a metadata reference is not below the number of symbols")
        for exemplar in series.exemplars:
            if len(exemplar.labels_refs) % 2 or max(exemplar.labels_refs, default=0) >= symbols:
                raise Refused(Reason.INVALID, f"series {index}: an exemplar's label references are wrong")


V1: Final = Version(WriteRequest, _check_1)
V2: Final = Version(Request, _check_2)
