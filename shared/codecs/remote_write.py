"""Prometheus remote_write 1.0 and 2.0 at ingest: bytes → checked bytes. Pure: no I/O, clock, log or setting.

The sender's bytes go on as they came, stale markers included. Only when a series can't be taken the request is put together again, from the bytes of those
that can. Prometheus drops a 1.0 series with wrong labels and says yes, so it is refused here, where the sender still hears of it.
Sources: remote_write 1.0, § Protocol, § Labels; 2.0 (rc.4), § Protobuf Message, § Partial Write, § Invalid Samples; Prometheus' write_handler.go.
"""

import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from shared.codecs import native_histogram, repeated
from shared.codecs.prompb import remote1_pb2, remote2_pb2, slices_pb2
from shared.contract import Reason
from shared.errors import Refused

OLDEST_MS: Final = 7 * 86_400_000
NEWEST_MS: Final = 600_000
"""Samples and exemplars are taken from 7 days back, as log records are, to 10 minutes ahead, as Prometheus does."""
EXEMPLAR_CHARACTERS: Final = 128
"""Most that an exemplar's label names and values may have together (OpenMetrics, § Exemplars)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a request holds, and a receiver reports as written (2.0, § Required Written Response Headers)."""

    samples: int = 0
    histograms: int = 0
    exemplars: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.samples + other.samples, self.histograms + other.histograms, self.exemplars + other.exemplars)

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(self.samples - other.samples, self.histograms - other.histograms, self.exemplars - other.exemplars)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something can't be taken."""

    reason: Reason
    detail: str


@dataclass(slots=True)
class Checked:
    """What is left of a request: the bytes to publish (none: nothing), what is in them, how much was taken out and why the first was."""

    value: bytes
    counts: Counts = field(default_factory=Counts)
    rejected: int = 0
    """Series, and exemplars and metadata of their own."""
    first_index: int = -1
    """Place among the request's series of the first that lost something, -1 if that was none of them."""
    first: Fault | None = None

    @property
    def refusal(self) -> Refused | None:
        """The answer to a request of which something was not taken: 400, after the rest was published (2.0, § Partial Write; 1.0, § Labels)."""
        if self.first is None:
            return None
        where = "metadata" if self.first_index < 0 else f"series {self.first_index}"
        rest = "the rest was" if self.value else "nothing was"
        return Refused(self.first.reason, f"{self.rejected} not taken, {rest}; first {where}: {self.first.detail}")

    def reject(self, index: int, fault: Fault) -> None:
        """Note that something was not taken."""
        self.rejected += 1
        if self.first is None:
            self.first_index, self.first = index, fault


@dataclass(frozen=True, slots=True)
class Window:
    """The times that are taken, in ms since 1970."""

    oldest: int
    newest: int

    def fault(self, *lists: Any) -> Fault | None:
        """A sample, histogram or exemplar in these lists that is too old or too far ahead."""
        times = [one.timestamp for parts in lists for one in parts]
        if times and min(times) < self.oldest:
            return Fault(Reason.OUT_OF_WINDOW, f"time {min(times)} ms is more than 7 days back")
        if times and max(times) > self.newest:
            return Fault(Reason.OUT_OF_WINDOW, f"time {max(times)} ms is more than 10 minutes ahead")
        return None


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the protocol: its message, its series' message, the request by its outer form, and its check."""

    request: type[Message]
    series: type[Message]
    slices: type[Message]
    check: Callable[[bytes, Window], Checked]


def check(version: Version, value: bytes, now_ms: int) -> Checked:
    """Take out what can't be taken. Raises Refused when the body isn't of this version at all."""
    return version.check(value, Window(now_ms - OLDEST_MS, now_ms + NEWEST_MS))


def count(version: Version, value: bytes) -> Counts:
    """What a checked request, or a part of one, holds."""
    return _count(_end_to_end(version, version.slices.FromString(value)))


def _count(series: Any) -> Counts:
    return Counts(len(series.samples), len(series.histograms), len(series.exemplars))


def _end_to_end(version: Version, request: Any) -> Any:
    """All series as one: messages put end to end are one message with all their parts, and one list is read faster than 2,000 (protobuf, § Encoding)."""
    return version.series.FromString(b"".join(request.timeseries))


def _cut(kind: type[Message], value: bytes) -> Any:
    try:
        return kind.FromString(value)
    except DecodeError as error:
        raise _undecodable(kind, error) from None


def _undecodable(kind: type[Message], error: object) -> Refused:
    return Refused(Reason.UNDECODABLE, f"the body is not a protobuf of remote_write ({kind.DESCRIPTOR.name}): {error}")


def _labels_fault(names: Sequence[str], values: Iterable[str]) -> Fault | None:
    """What is wrong with a series' labels (1.0, § Labels; 2.0, § Series Labels). Any order: Prometheus sorts them."""
    if "__name__" not in names:
        return Fault(Reason.INVALID, "it has no __name__" if names else "it has no labels")
    if len(set(names)) != len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        return Fault(Reason.INVALID, f"label {twice[:100]!r} is there twice")
    if not all(names):
        return Fault(Reason.INVALID, "a label has no name")
    if not all(values):
        bare = next(name for name, value in zip(names, values, strict=True) if not value)
        return Fault(Reason.INVALID, f"label {bare[:100]!r} has no value")
    return None


def _histograms_fault(series: Any) -> Fault | None:
    for histogram in series.histograms:
        if wrong := native_histogram.fault(histogram):
            return Fault(Reason.INVALID, f"native histogram: {wrong}")
    return None


def _exemplar_fault(exemplar: Any, texts: list[str], window: Window) -> Fault | None:
    """What is wrong with an exemplar whose labels have these texts.

    Prometheus drops one that is too long or too far ahead, and says yes. It would keep an old one, for which there is no sample here, in a ring that all
    tenants share; and would refuse it once the series has a newer one.
    """
    if sum(map(len, texts)) > EXEMPLAR_CHARACTERS:
        return Fault(Reason.INVALID, f"an exemplar's labels have more than {EXEMPLAR_CHARACTERS} characters together")
    if fault := window.fault([exemplar]):
        return Fault(fault.reason, f"an exemplar's {fault.detail}")
    return None


_NOT_UTF8: Final = Fault(Reason.INVALID, "a label is not UTF-8")


def _without(series: Any, faults: dict[int, Fault]) -> bytes:
    """A series' bytes without the exemplars of those places; an exemplar's fault is no reason to lose samples."""
    repeated.keep(series.exemplars, [exemplar for place, exemplar in enumerate(series.exemplars) if place not in faults])
    return bytes(series.SerializeToString())


def _close_look(request: Any, checked: Checked, judged: Iterable[tuple[int, Any, Fault | None, dict[int, Fault]]]) -> Counts:
    """Take out what was judged wrong: (place, series, its fault, its exemplars' faults). What of the series was kept."""
    gone: set[int] = set()
    kept = Counts()
    for place, series, fault, exemplars in judged:
        if fault is not None:
            checked.reject(place, fault)
            gone.add(place)
            continue
        if exemplars:
            for wrong in exemplars.values():
                checked.reject(place, wrong)
            request.timeseries[place] = _without(series, exemplars)
        kept += _count(series)
    if gone:
        repeated.keep(request.timeseries, [one for place, one in enumerate(request.timeseries) if place not in gone])
    return kept


# -- 1.0 --------------------------------------------------------------------------------------------------------------------------------------------------


def _check_1(value: bytes, window: Window) -> Checked:
    request = _cut(slices_pb2.WriteRequest, value)
    if value and not request.timeseries and not request.metadata:
        raise Refused(Reason.INVALID, "neither series nor metadata of 1.0 in it; a 2.0 request names its message in Content-Type")
    checked = Checked(value)
    series = request.timeseries[:]
    unknown, samples = _unknown_1(series, window)
    checked.counts = Counts(samples) + _close_look(request, checked, _judge_1(series, unknown, window))
    _check_metadata(request, checked)
    if checked.rejected:
        checked.value = request.SerializeToString() if request.timeseries or request.metadata else b""
    return checked


_SAMPLE: Final = b"\x12\x10\x09"
_ZERO: Final = b"\x12\x07"
"""How the bytes of a series' one sample begin: field 2, 16 bytes, a value of 8; or 7 bytes without a value, which is a value of 0."""
_TIME: Final = b"\x10"
"""How its last 7 bytes begin: the time, in the 6 bytes that it takes from 1971 to 2109."""
_SIX_BYTES: Final = 1 << 35


class _Labels:
    """Label sets that were found good (of 2.0: all of a request), by the hash of their bytes.

    A sender repeats its series every few seconds, and to check a label again costs the most.
    Two generations bound it: what isn't met again while one fills is forgotten.
    """

    SIZE: Final = 1 << 17

    def __init__(self) -> None:
        self._young: set[int] = set()
        self._old: set[int] = set()

    def unknown(self, hashes: set[int]) -> set[int]:
        """Those not met before."""
        missing = hashes - self._young
        if missing and (met := missing & self._old):
            self.learn(met)
            missing -= met
        return missing

    def learn(self, hashes: set[int]) -> None:
        """These are good. Of more than fit at a time, as a request of many small series may bring, some are."""
        if len(self._young) + len(hashes) > self.SIZE:
            self._old, self._young = self._young, set()
        self._young.update(islice(hashes, self.SIZE))


_LABELS: Final = _Labels()


class _Names(dict[bytes, str]):
    """A label's bytes → a character for its name, NUL when anything about the label is wrong. For one request: most labels are in many of its series."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"__name__": _NAME_NUMBER}

    def __missing__(self, label: bytes) -> str:
        try:
            found = remote1_pb2.Label.FromString(label)
        except DecodeError:
            number = 0
        else:
            number = self._numbers.setdefault(found.name, len(self._numbers) + _NAME_NUMBER) if found.name and found.value else 0
        self[label] = character = chr(number if number <= sys.maxunicode else 0)
        return character


_NAME_NUMBER: Final = 2
_EDGE_LABEL: Final = bytes(range(0xFF, 0xE7, -1))
_EDGE_1: Final = b"\x0a\x18" + _EDGE_LABEL
"""A label to put between series, so that all labels are read at once. It is not UTF-8, so no good label holds these bytes; and many, to be soon looked for."""


def _are_labels(heads: Sequence[bytes]) -> bool:
    """Whether each of these bytes is a good series' labels and nothing else: any good sample after them makes a good series."""
    together = _EDGE_1.join(heads)
    # Nowhere but between them: a label that reached beyond its series would swallow one.
    if together.count(_EDGE_1) != len(heads) - 1:
        return False
    try:
        read: Any = slices_pb2.TimeSeries.FromString(together)
    except DecodeError:
        return False
    read.DiscardUnknownFields()
    if read.ByteSize() != len(together):
        return False
    names = _Names()
    names[_EDGE_LABEL] = edge = chr(1)
    rows = "".join(map(names.__getitem__, read.labels)).split(edge)
    return len(rows) == len(heads) and all(map(_is_row, set(rows)))


def _is_row(row: str) -> bool:
    """Whether names, one character each, are there once each, the metric's among them, and none is wrong."""
    return chr(_NAME_NUMBER) in row and "\0" not in row and len(set(row)) == len(row)


def _unknown_1(series: list[bytes], window: Window) -> tuple[Sequence[int], int]:
    """Places of the series that are not, at a glance, good labels and good samples; and how many samples the others have.

    Bytes of labels known to be good, and bytes that are samples whatever stands before them, are a good series: nothing else needs to be read.
    """
    heads = [one[:-18] if one[-18:-15] == _SAMPLE else one[:-9] if one[-9:-7] == _ZERO else one for one in series]
    times = b"".join([one[-7:] for one, head in zip(series, heads, strict=True) if head is not one])
    if not _are_times(times, 7, window):
        return range(len(series)), 0
    hashes = list(map(hash, heads))
    missing = _LABELS.unknown(set(hashes))
    samples = len(times) // 7
    if not missing:
        return (), samples
    places = [place for place, one in enumerate(hashes) if one in missing]
    samples -= sum(heads[place] is not series[place] for place in places)
    unknown, more = _unknown_longer(series, places, window)
    return unknown, samples + more


def _unknown_longer(series: list[bytes], places: list[int], window: Window) -> tuple[list[int], int]:
    """The same of some of the series, by a longer glance: at all samples of each, and at labels not met before."""
    peeled = [_peel(series[place]) for place in places]
    sampled = {hash(head): head for head, times in peeled if times}
    new = _LABELS.unknown(set(sampled))
    all_good = not new or _are_labels([sampled[key] for key in new])
    wrong = set() if all_good else {key for key in new if not _are_labels([sampled[key]])}
    _LABELS.learn(new - wrong)
    unknown, times = [], []
    for place, (head, found) in zip(places, peeled, strict=True):
        if found and hash(head) not in wrong:
            times += found
        else:
            unknown.append(place)
    return (unknown, len(times)) if _are_times(b"".join(times), 7, window) else (places, 0)


def _peel(one: bytes) -> tuple[bytes, list[bytes]]:
    """A series' bytes without the samples at their end, and the times of those."""
    end, times = len(one), []
    while end > 18:
        if one[end - 18 : end - 15] == _SAMPLE:
            start = end - 18
        elif one[end - 9 : end - 7] == _ZERO:
            start = end - 9
        else:
            break
        times.append(one[end - 7 : end])
        end = start
    return one[:end], times


def _are_times(records: bytes, size: int, window: Window) -> bool:
    """Whether every record of `size` bytes, 7 of them its time's, ends in a time in the window.

    A time that reached beyond its own 7 bytes would have the next field's first byte for its highest bits, and be far ahead; a shorter one would be of 1970.
    """
    if not records:
        return True
    if window.oldest < _SIX_BYTES or records[size - 7 :: size] != _TIME * (len(records) // size):
        return False
    try:
        found = set(slices_pb2.Samples.FromString(records).timestamps[:])
    except DecodeError:
        return False
    return window.oldest <= min(found) and max(found) <= window.newest


def _judge_1(series: list[bytes], places: Iterable[int], window: Window) -> Iterator[tuple[int, Any, Fault | None, dict[int, Fault]]]:
    for place in places:
        try:
            one = remote1_pb2.TimeSeries.FromString(series[place])
        except DecodeError as error:
            if not _is_well_formed(series[place]):
                raise _undecodable(remote1_pb2.WriteRequest, error) from None
            yield place, None, _NOT_UTF8, {}
            continue
        labels = one.labels[:]
        fault = _labels_fault([label.name for label in labels], [label.value for label in labels])
        yield place, one, fault or window.fault(one.samples, one.histograms) or _histograms_fault(one), _exemplar_faults_1(one, window)


def _exemplar_faults_1(series: Any, window: Window) -> dict[int, Fault]:
    faults = {}
    for place, exemplar in enumerate(series.exemplars):
        texts = [text for label in exemplar.labels for text in (label.name, label.value)]
        if fault := _exemplar_fault(exemplar, texts, window):
            faults[place] = fault
    return faults


def _is_well_formed(one: bytes) -> bool:
    """Whether a series can be read but for its texts."""
    try:
        for label in slices_pb2.TimeSeries.FromString(one).labels:
            slices_pb2.Label.FromString(label)
    except DecodeError:
        return False
    return True


def _check_metadata(request: Any, checked: Checked) -> None:
    """Metadata that can't be read, for texts that are not UTF-8, would make the whole request unreadable."""
    good = [one for one in request.metadata if _is_metadata(one)]
    if bad := len(request.metadata) - len(good):
        repeated.keep(request.metadata, good)
        for _ in range(bad):
            checked.reject(-1, Fault(Reason.INVALID, "its texts are not UTF-8"))


def _is_metadata(one: bytes) -> bool:
    try:
        remote1_pb2.MetricMetadata.FromString(one)
    except DecodeError:
        return False
    return True


# -- 2.0 --------------------------------------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Symbols:
    """The texts that a request refers to by their places; those that are not UTF-8 are blank, and their places known."""

    texts: list[str]
    broken: set[int] = field(default_factory=set)

    def have(self, refs: Sequence[int]) -> bool:
        """Whether all these are places in the table, of readable texts."""
        return max(refs, default=0) < len(self.texts) and self.broken.isdisjoint(refs)


def _check_2(value: bytes, window: Window) -> Checked:
    request = _cut(slices_pb2.Request, value)
    if value and (not request.symbols or request.symbols[0]):
        raise Refused(Reason.INVALID, "the first symbol must be the empty string; a 1.0 request names no message or another in Content-Type")
    checked = Checked(value)
    try:
        # Nothing else is asked of the message, so that its memory can be used again at once: fresh memory costs a quarter of the whole check.
        symbols = _Symbols(remote2_pb2.Request.FromString(value).symbols[:])
    except DecodeError:
        symbols = _mended(request)
        checked.counts = _close_look(request, checked, _judge_2(request, range(len(request.timeseries)), symbols, window))
        checked.value = request.SerializeToString()
    else:
        unknown, samples = _unknown_2(request.timeseries[:], symbols.texts, window)
        checked.counts = Counts(samples) + _close_look(request, checked, _judge_2(request, unknown, symbols, window))
        if checked.rejected:
            checked.value = request.SerializeToString()
    if checked.rejected and not request.timeseries:
        checked.value = b""
    return checked


def _mended(request: Any) -> _Symbols:
    """The symbols; those that are not UTF-8 are made blank in the request too, which could not be read with them."""
    symbols = _Symbols([])
    for place, one in enumerate(request.symbols):
        try:
            symbols.texts.append(one.decode())
        except UnicodeDecodeError:
            symbols.texts.append("")
            symbols.broken.add(place)
    for place in symbols.broken:
        request.symbols[place] = b""
    return symbols


_EDGE_2: Final = b"\x0a\x02\x00\x01\x12\x00\x1a\x00\x22\x00"
"""A series to put between series, so that all are read at once: a label with the name 0, which is blank, and a sample, histogram and exemplar of nothing.

No good label has that name, and no sample of a time in the window is nothing: where these are found a series ends.
"""


def _unknown_2(series: list[bytes], symbols: list[str], window: Window) -> tuple[Sequence[int], int]:
    """Places of the series that are not, at a glance, good labels and good samples; and how many samples the others have. Each must be well-formed."""
    every, edges = range(len(series)), len(series) - 1
    whole: Any = slices_pb2.Series.FromString(_EDGE_2.join(series))
    samples = whole.samples[:]
    taken = list(filter(None, samples))
    if not _are_samples(taken, window):
        return every, 0
    if len(samples) == len(series) + edges and taken == samples[::2] and len(whole.histograms) == len(whole.exemplars) == edges:
        # One sample each, and neither histograms nor exemplars.
        return _unknown_labels(every, symbols, whole)
    sizes = [_sizes(parts) for parts in (samples, whole.histograms, whole.exemplars)]
    if set(map(len, sizes)) != {len(series)}:
        return every, 0
    unknown = {place for place, size, *others in zip(every, *sizes, strict=True) if not size or any(others)}
    unknown.update(_unknown_labels(every, symbols, whole)[0])
    return sorted(unknown), sum(size for place, size in enumerate(sizes[0]) if place not in unknown)


def _unknown_labels(every: range, symbols: list[str], whole: Any) -> tuple[Sequence[int], int]:
    """Places of the series that are not, at a glance, of good labels and metadata; and how many others there are."""
    # A sender that repeats its series, in their order, repeats its symbols too: all but the samples is what it was.
    whole.ClearField("samples")
    key = {hash((tuple(symbols), whole.SerializeToString()))}
    if not _LABELS.unknown(key):
        return (), len(every)
    names = _names_2(whole.labels_refs[:], len(every), len(symbols))
    good = _good_names(set(names), symbols)
    if not good or not _are_described(whole.metadata[:], len(symbols)):
        return every, 0
    if good.issuperset(names):
        _LABELS.learn(key)
        return (), len(every)
    unknown = [place for place in every if names[place] not in good]
    return unknown, len(every) - len(unknown)


def _sizes(parts: Iterable[bytes]) -> list[int]:
    """How many parts each series has, by the edges between them."""
    return list(map(len, bytes(map(bool, parts)).split(b"\0")))


def _names_2(refs: list[int], count: int, size: int) -> list[str]:
    """Each series' label names, one character each: its place in the table. None if any has not as many values, of the table and not blank, as names."""
    values = set(refs[1::2])
    # An edge whose 0 is no value has an even number of references before it.
    if not count or len(refs) % 2 or 0 in values or max(values, default=0) >= size:
        return []
    try:
        names = array("I", refs[::2]).tobytes().decode(_UTF_32, "surrogatepass").split("\0")
    except UnicodeDecodeError:
        return []
    return names if len(names) == count else []


_UTF_32: Final = f"utf-32-{sys.byteorder[0]}e"


def _good_names(rows: set[str], symbols: list[str]) -> set[str]:
    """The rows of label names that are right. Few rows are many series' names."""
    # Only where no text has two places, different places are different names, and place 0 alone is blank.
    if "__name__" not in symbols or len(set(symbols)) != len(symbols):
        return set()
    name, size = chr(symbols.index("__name__")), len(symbols)
    return {row for row in rows if name in row and ord(max(row)) < size and len(set(row)) == len(row)}


def _are_described(metadata: Iterable[bytes], size: int) -> bool:
    """Whether metadata refer to symbols in the table."""
    try:
        refs = slices_pb2.Metadata.FromString(b"".join(set(metadata)))
    except DecodeError:
        return False
    return max(refs.help_refs, default=0) < size and max(refs.unit_refs, default=0) < size


def _are_samples(samples: list[bytes], window: Window) -> bool:
    """Whether the times of these samples are in the window."""
    if set(map(len, samples)) <= {7, 16}:
        # Values of 0 are not written. As nobody asks for the values, some other is put there, and all are of one form: field 1, 8 bytes, field 2, 6 bytes.
        records = b"".join([one.rjust(16, _VALUE) for one in samples])
        if records[::16] == _VALUE * len(samples) and _are_times(records, 16, window):
            return True
    times = [remote2_pb2.Sample.FromString(one).timestamp for one in samples]
    return not times or (min(times) >= window.oldest and max(times) <= window.newest)


_VALUE: Final = b"\x09"
"""How a sample's value begins."""


def _judge_2(request: Any, places: Iterable[int], symbols: _Symbols, window: Window) -> Iterator[tuple[int, Any, Fault | None, dict[int, Fault]]]:
    for place in places:
        try:
            one = remote2_pb2.TimeSeries.FromString(request.timeseries[place])
        except DecodeError as error:
            raise _undecodable(remote2_pb2.Request, error) from None
        yield place, one, _fault_2(one, symbols, window), _exemplar_faults_2(one, symbols, window)


def _fault_2(series: Any, symbols: _Symbols, window: Window) -> Fault | None:
    refs = series.labels_refs[:]
    if len(refs) % 2 or not symbols.have(refs):
        return Fault(Reason.INVALID, "label references must come in pairs, each to a symbol that is there, and is UTF-8")
    if not symbols.have((series.metadata.help_ref, series.metadata.unit_ref)):
        return Fault(Reason.INVALID, "a metadata reference must be to a symbol that is there, and is UTF-8")
    if bool(series.samples) == bool(series.histograms):
        return Fault(Reason.INVALID, "it has both samples and histograms" if series.samples else "it has neither samples nor histograms")
    names, values = ([symbols.texts[ref] for ref in half] for half in (refs[::2], refs[1::2]))
    return _labels_fault(names, values) or window.fault(series.samples, series.histograms) or _histograms_fault(series)


_EXEMPLAR_REFS: Final = Fault(Reason.INVALID, "an exemplar's label references must come in pairs, each to a symbol that is there, and is UTF-8")


def _exemplar_faults_2(series: Any, symbols: _Symbols, window: Window) -> dict[int, Fault]:
    faults = {}
    for place, exemplar in enumerate(series.exemplars):
        refs = exemplar.labels_refs[:]
        if len(refs) % 2 or not symbols.have(refs):
            faults[place] = _EXEMPLAR_REFS
        elif fault := _exemplar_fault(exemplar, [symbols.texts[ref] for ref in refs], window):
            faults[place] = fault
    return faults


V1: Final = Version(remote1_pb2.WriteRequest, remote1_pb2.TimeSeries, slices_pb2.WriteRequest, _check_1)
V2: Final = Version(remote2_pb2.Request, remote2_pb2.TimeSeries, slices_pb2.Request, _check_2)
