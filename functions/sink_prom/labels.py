"""The tenant as a label of every remote_write series: the customer's own of that name is removed, ours is put in its place in the order of names.

Nothing else changes: samples keep their bits (stale markers are NaNs with a payload), unknown fields stay.
Sources: remote_write specification 1.0, § Labels; 2.0, § Labels, § Symbols.
"""

from bisect import bisect_left
from typing import Any

from google.protobuf.message import DecodeError

from shared.codecs.prompb.remote1_pb2 import Label, WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from shared.contract import TENANT_LABEL, Reason
from shared.errors import Never

_NAME_BYTES = TENANT_LABEL.encode()


def with_tenant_1(request: bytes, tenant_id: str) -> bytes:
    """A 1.0 request, labelled. Raises Never when it can't be read."""
    message = _parse(WriteRequest, request)
    ours, claimed = Label(name=TENANT_LABEL, value=tenant_id), _NAME_BYTES in request
    for series in message.timeseries:
        labels = series.labels
        if claimed:
            _remove(labels)
        labels.insert(bisect_left(labels, TENANT_LABEL, key=_name), ours)
    return bytes(message.SerializeToString())


def with_tenant_2(request: bytes, tenant_id: str) -> bytes:
    """A 2.0 request, labelled by two more symbols. Raises Never when it can't be read, or a label refers to no symbol."""
    message = _parse(Request, request)
    symbols = list(message.symbols) or [""]
    ours = (len(symbols), len(symbols) + 1)
    for series in message.timeseries:
        series.labels_refs[:] = _place(list(series.labels_refs), symbols, ours)
    del message.symbols[:]
    message.symbols.extend((*symbols, TENANT_LABEL, tenant_id))
    return bytes(message.SerializeToString())


def _place(refs: list[int], symbols: list[str], ours: tuple[int, int]) -> list[int]:
    if len(refs) % 2 or max(refs, default=0) >= len(symbols):
        raise Never(Reason.INVALID, "a series' label references must come in pairs, each below the number of symbols")
    names = [symbols[ref] for ref in refs[::2]]
    if TENANT_LABEL in names:
        kept = [pair for pair in zip(refs[::2], refs[1::2], strict=True) if symbols[pair[0]] != TENANT_LABEL]
        refs, names = [ref for pair in kept for ref in pair], [symbols[name] for name, _ in kept]
    at = 2 * bisect_left(names, TENANT_LABEL)
    refs[at:at] = ours
    return refs


def _remove(labels: Any) -> None:
    for position in range(len(labels) - 1, -1, -1):
        if labels[position].name == TENANT_LABEL:
            del labels[position]


def _name(label: Any) -> str:
    return str(label.name)


def _parse(kind: Any, request: bytes) -> Any:
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise Never(Reason.UNDECODABLE, f"not a {kind.DESCRIPTOR.full_name}: {error}") from None
