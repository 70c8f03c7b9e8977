"""A batch larger than a record of the broker → batches that fit, cut at the borders of resources, scopes, metrics and single records. Pure.

Each part keeps the resource, scope, metric and series of what is in it, and unknown fields; records stay in order, and numbers keep their bits. What doesn't
fit into a part of its own is left out and told. All parts together are at most a few times the batch: what parts repeat may fill half of a part, not more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from shared.contract import Reason
from shared.errors import Refused


@dataclass(slots=True)
class Split:
    """The parts, and how many records (log records, spans, data points; samples, histograms, exemplars, metadata) are in none, being too large."""

    parts: list[bytes]
    rejected: int = 0
    first_index: int = -1
    """Place in the batch of the first log record, span, metric or series of which something was left out; -1 if that was none of them."""


def split(request: type[Message], value: bytes, limit: int) -> Split:
    """Cut `value`, an encoded `request`, into parts of at most `limit` bytes; itself if it fits. Raises Refused when it can't be read."""
    if len(value) <= limit:
        return Split([value])
    try:
        message: Any = request.FromString(value)
    except DecodeError as error:
        raise Refused(Reason.UNDECODABLE, f"the batch is not a protobuf {request.DESCRIPTOR.full_name}: {error}") from None
    found = Split([])
    if request is Request and _size_of_symbols(message.symbols) > limit // _TABLE:
        _split_tables(message, limit, found)
    else:
        _Cutter(message, _KINDS[request], limit, found).cut(message)
    return found


@dataclass(frozen=True, slots=True)
class _Kind:
    """What lies below a message, by (dotted) field name. `unit`: what `first_index` counts."""

    below: Mapping[str, "_Kind"] = field(default_factory=dict)
    unit: bool = False


_RECORD: Final = _Kind()
_UNIT: Final = _Kind(unit=True)
_POINTS: Final = {f"{kind}.data_points": _RECORD for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary")}
_SERIES: Final = _Kind({"exemplars": _RECORD, "samples": _RECORD, "histograms": _RECORD}, unit=True)
"""Exemplars first: 2.0 takes none that come without a sample, and so at least the first samples go with them."""

_KINDS: Final[Mapping[type[Message], _Kind]] = {
    ExportLogsServiceRequest: _Kind({"resource_logs": _Kind({"scope_logs": _Kind({"log_records": _UNIT})})}),
    ExportTraceServiceRequest: _Kind({"resource_spans": _Kind({"scope_spans": _Kind({"spans": _UNIT})})}),
    ExportMetricsServiceRequest: _Kind({"resource_metrics": _Kind({"scope_metrics": _Kind({"metrics": _Kind(_POINTS, unit=True)})})}),
    WriteRequest: _Kind({"timeseries": _SERIES, "metadata": _RECORD}),
    Request: _Kind({"timeseries": _SERIES}),
}

_AROUND: Final = 10
"""Most bytes that an item takes beside its own: a tag of one byte and a length of up to four, and the growth of its parents' lengths."""


@dataclass(slots=True)
class _Shell:
    """A message less what lies below it, to be opened again in each part that gets something of that."""

    field: str
    message: Any
    size: int


class _Cutter:
    """Fills one part after the other. An item that is still whole is moved as a whole; it is cut only when no part could hold it."""

    def __init__(self, message: Any, kind: _Kind, limit: int, found: Split, index: int = 0) -> None:
        self._kind = kind
        self._limit = limit
        self._found = found
        self._index = index
        self._root = _shell("", message, kind)
        self._path: list[_Shell] = []
        self._open: list[Any] = []
        """The part that is being filled: its root, and the shells opened in it so far."""
        self._size = 0

    def cut(self, message: Any) -> None:
        """Append the parts of the whole message."""
        if self._root.size > self._limit // 2:
            self._reject(message, self._kind)
        else:
            self._cut(message, self._kind)
        self._close()

    def _cut(self, message: Any, kind: _Kind) -> None:
        around = self._root.size + sum(shell.size for shell in self._path)
        for name, below in kind.below.items():
            for item in _list(message, name):
                size = item.ByteSize() + _AROUND
                if around + size <= self._limit:
                    self._add(name, item, size)
                    self._index += _units(item, below)
                elif below.below:
                    self._descend(name, item, below, around)
                else:
                    self._reject(item, below)

    def _descend(self, name: str, item: Any, kind: _Kind, around: int) -> None:
        shell = _shell(name, item, kind)
        if around + shell.size > self._limit // 2:
            self._reject(item, kind)
            return
        self._path.append(shell)
        self._cut(item, kind)
        self._path.pop()
        del self._open[len(self._path) + 1 :]
        self._index += kind.unit

    def _add(self, name: str, item: Any, size: int) -> None:
        depth = len(self._path)
        waiting = sum(shell.size for shell in self._path[len(self._open) - 1 :]) if len(self._open) <= depth else 0
        if self._open and self._size + waiting + size > self._limit:
            self._close()
        if len(self._open) <= depth:
            self._reopen()
        _list(self._open[-1], name).append(item)
        self._size += size

    def _reopen(self) -> None:
        if not self._open:
            self._open, self._size = [_copy(self._root.message)], self._root.size
        for shell in self._path[len(self._open) - 1 :]:
            target = _list(self._open[-1], shell.field)
            target.append(shell.message)
            self._open.append(target[-1])
            self._size += shell.size

    def _close(self) -> None:
        if self._open:
            self._found.parts.append(self._open[0].SerializeToString())
            self._open = []

    def _reject(self, item: Any, kind: _Kind) -> None:
        if records := _records(item, kind):
            self._found.rejected += records
            if self._found.first_index < 0 and (self._path or kind.unit or kind.below):
                self._found.first_index = self._index
        self._index += _units(item, kind)


def _list(message: Any, name: str) -> Any:
    return getattr(message, name) if "." not in name else reduce(getattr, name.split("."), message)


def _shell(name: str, message: Any, kind: _Kind) -> _Shell:
    empty = _copy(message)
    for below in kind.below:
        if items := _list(empty, below):
            del items[:]
    return _Shell(name, empty, empty.ByteSize() + _AROUND)


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _records(message: Any, kind: _Kind) -> int:
    if not kind.below:
        return 1
    return sum(_records(item, below) for name, below in kind.below.items() for item in _list(message, name))


def _units(message: Any, kind: _Kind) -> int:
    if kind.unit or not kind.below:
        return int(kind.unit)
    return sum(_units(item, below) for name, below in kind.below.items() for item in _list(message, name))


# -- 2.0's symbols ----------------------------------------------------------------------------------------------------------------------------------------

_TABLE: Final = 4
"""A table of symbols of up to this part of a record goes with every part as it is; a larger one is cut, each part having those that it refers to."""


def _split_tables(message: Any, limit: int, found: Split) -> None:
    """Series in order, as requests with small tables of their own, each of which is then cut as any other."""
    symbols, most = message.symbols[:], limit // _TABLE
    sizes = [len(symbol.encode()) + _AROUND for symbol in symbols]
    empty = _shell("", message, _KINDS[Request]).message
    del empty.symbols[1:]
    index, request, table, size = 0, _copy(empty), {0: 0}, 0
    for series in message.timeseries:
        refs = set(_refs(series))
        more = sum(sizes[ref] for ref in refs if ref not in table)
        if size + more > most:
            _Cutter(request, _KINDS[Request], limit, found, index).cut(request)
            index, request, table, size = index + len(request.timeseries), _copy(empty), {0: 0}, 0
            more = sum(sizes[ref] for ref in refs - {0})
        if more > most:
            _leave_out(series, found, index)
            index += 1
            continue
        for ref in sorted(ref for ref in refs if ref not in table):
            table[ref] = len(request.symbols)
            request.symbols.append(symbols[ref])
        size += more
        request.timeseries.append(_referring(series, table))
    _Cutter(request, _KINDS[Request], limit, found, index).cut(request)


def _leave_out(series: Any, found: Split, index: int) -> None:
    found.rejected += _records(series, _SERIES)
    if found.first_index < 0:
        found.first_index = index


def _size_of_symbols(symbols: Any) -> int:
    return sum(map(len, symbols)) + 5 * len(symbols)


def _refs(series: Any) -> list[int]:
    refs = [*series.labels_refs, series.metadata.help_ref, series.metadata.unit_ref]
    for exemplar in series.exemplars:
        refs += exemplar.labels_refs
    return refs


def _referring(series: Any, table: Mapping[int, int]) -> Any:
    """The series by the places that its symbols have in its own part."""
    series = _copy(series)
    series.labels_refs[:] = [table[ref] for ref in series.labels_refs]
    for exemplar in series.exemplars:
        exemplar.labels_refs[:] = [table[ref] for ref in exemplar.labels_refs]
    if series.HasField("metadata"):
        series.metadata.help_ref, series.metadata.unit_ref = table[series.metadata.help_ref], table[series.metadata.unit_ref]
    return series
