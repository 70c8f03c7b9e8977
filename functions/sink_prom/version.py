"""A remote_write 2.0 request as one of 1.0, for receivers that know no other.

Samples, histograms and exemplars keep their bits (they are copied as bytes; a field that 1.0 doesn't know, the start timestamp, goes along as an unknown one).
Metadata are left out: those of 1.0 belong to a metric's name alone, and so to no tenant.
Sources: remote_write specification 1.0 and 2.0, § Protobuf Message.
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from shared.contract import Reason
from shared.errors import Never


def as_1(request: bytes) -> bytes:
    """The WriteRequest. Raises Never when it can't be read, or a label refers to no symbol."""
    try:
        old = Request.FromString(request)
    except DecodeError as error:
        raise Never(Reason.UNDECODABLE, f"not a {Request.DESCRIPTOR.full_name}: {error}") from None
    new, symbols = WriteRequest(), list(old.symbols)
    for series in old.timeseries:
        one = new.timeseries.add()
        _name(one.labels, series.labels_refs, symbols)
        for sample in series.samples:
            one.samples.add().MergeFromString(sample.SerializeToString())
        for histogram in series.histograms:
            one.histograms.add().MergeFromString(histogram.SerializeToString())
        for exemplar in series.exemplars:
            copy = one.exemplars.add(value=exemplar.value, timestamp=exemplar.timestamp)
            _name(copy.labels, exemplar.labels_refs, symbols)
    return bytes(new.SerializeToString())


def _name(labels: Any, refs: Sequence[int], symbols: list[str]) -> None:
    try:
        for name, value in zip(refs[::2], refs[1::2], strict=True):
            labels.add(name=symbols[name], value=symbols[value])
    except (IndexError, ValueError):
        raise Never(Reason.INVALID, "label references must come in pairs, each below the number of symbols") from None
