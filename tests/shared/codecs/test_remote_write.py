"""remote_write 1.0 and 2.0: what is valid goes on as it came, what isn't is taken out and named."""

import struct
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.codecs import native_histogram, remote_write
from shared.codecs.prompb import remote1_pb2, remote2_pb2
from shared.codecs.remote_write import V1, V2, Checked, Counts, Version
from shared.contract import Reason
from shared.errors import Refused

NOW = 1_790_000_000_000
STALE_BITS = bytes.fromhex("020000000000f07f")
STALE = struct.unpack("<d", STALE_BITS)[0]
VERSIONS = [V1, V2]


def request1(*names: str, samples: int = 1) -> Any:
    request = remote1_pb2.WriteRequest()
    for place, name in enumerate(names or ("up",)):
        series = request.timeseries.add()
        series.labels.add(name="__name__", value=name)
        series.labels.add(name="job", value="node")
        for sample in range(samples):
            series.samples.add(value=place, timestamp=NOW + sample)
    return request


def request2(*names: str, samples: int = 1) -> Any:
    request = remote2_pb2.Request(symbols=["", "__name__", "job", "node"])
    for place, name in enumerate(names or ("up",)):
        request.symbols.append(name)
        series = request.timeseries.add(labels_refs=[1, len(request.symbols) - 1, 2, 3])
        for sample in range(samples):
            series.samples.add(value=place, timestamp=NOW + sample)
    return request


MAKE = {V1: request1, V2: request2}


def check(version: Version, request: Any) -> Checked:
    return remote_write.check(version, request if isinstance(request, bytes) else request.SerializeToString(), NOW)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("samples", [1, 2, 10])
@pytest.mark.parametrize("again", [1, 2])
def test_valid_goes_on_as_it_came(version: Version, samples: int, again: int) -> None:
    """The very bytes, met for the first time or again."""
    value = MAKE[version]("a", "b", "c" * 200, samples=samples).SerializeToString()
    for _ in range(again):
        checked = remote_write.check(version, value, NOW)
        assert checked.value is value
        assert (checked.counts, checked.refusal) == (Counts(3 * samples), None)


@pytest.mark.parametrize("version", VERSIONS)
def test_counts_histograms_and_exemplars(version: Version) -> None:
    request = MAKE[version]("a", "b")
    request.timeseries[0].exemplars.add(value=1, timestamp=NOW)
    del request.timeseries[1].samples[:]
    request.timeseries[1].histograms.add(timestamp=NOW)
    request.timeseries[1].histograms.add(timestamp=NOW + 1)
    checked = check(version, request)
    assert (checked.counts, checked.refusal) == (Counts(1, 2, 1), None)
    assert remote_write.count(version, checked.value) == checked.counts


@pytest.mark.parametrize("version", VERSIONS)
def test_numbers_keep_their_bits_when_a_request_is_put_together_again(version: Version) -> None:
    request = MAKE[version]("a", "b", "c")
    request.timeseries[1].samples[0].timestamp = 1
    request.timeseries[2].samples[0].value = STALE
    request.timeseries[2].exemplars.add(value=STALE, timestamp=NOW)
    for _ in range(200):
        request.timeseries[0].exemplars.add(value=STALE, timestamp=NOW)
    too_long(version, request, request.timeseries[0].exemplars[7])
    checked = check(version, request)
    assert checked.value.count(STALE_BITS) == 201
    assert checked.counts == Counts(2, 0, 200)


def too_long(version: Version, request: Any, exemplar: Any) -> None:
    if version is V1:
        exemplar.labels.add(name="trace_id", value="ü" * 121)
    else:
        request.symbols.extend(["trace_id", "ü" * 121])
        exemplar.labels_refs.extend([len(request.symbols) - 2, len(request.symbols) - 1])


def set_1(series: Any, *labels: tuple[str, str]) -> None:
    del series.labels[:]
    for name, value in labels:
        series.labels.add(name=name, value=value)


BROKEN_1: dict[str, tuple[Any, str]] = {
    "no labels": (set_1, "no labels"),
    "no name": (lambda s: set_1(s, ("job", "a")), "__name__"),
    "blank __name__": (lambda s: set_1(s, ("__name__", "")), "'__name__' has no value"),
    "blank label name": (lambda s: set_1(s, ("__name__", "a"), ("", "x")), "no name"),
    "blank label value": (lambda s: set_1(s, ("__name__", "a"), ("job", "")), "'job' has no value"),
    "twice": (lambda s: set_1(s, ("__name__", "a"), ("job", "x"), ("job", "x")), "'job' is there twice"),
    "old": (lambda s: setattr(s.samples[0], "timestamp", NOW - 7 * 86_400_000 - 1), "7 days back"),
    "no time": (lambda s: s.samples[0].ClearField("timestamp"), "7 days back"),
    "before 1970": (lambda s: setattr(s.samples[0], "timestamp", -5), "7 days back"),
    "ahead": (lambda s: setattr(s.samples[0], "timestamp", NOW + 600_001), "ahead"),
    "far ahead": (lambda s: setattr(s.samples[0], "timestamp", 1 << 60), "ahead"),
    "old histogram": (lambda s: s.histograms.add(timestamp=5), "7 days back"),
    "histogram": (lambda s: s.histograms.add(timestamp=NOW, count_int=5), "count is 5"),
}
BROKEN_2: dict[str, tuple[Any, str]] = {
    "no labels": (lambda s: s.ClearField("labels_refs"), "no labels"),
    "no name": (lambda s: s.labels_refs.__delitem__(slice(0, 2)), "__name__"),
    "blank __name__": (lambda s: s.labels_refs.__setitem__(1, 0), "'__name__' has no value"),
    "blank label name": (lambda s: s.labels_refs.__setitem__(2, 0), "no name"),
    "blank label value": (lambda s: s.labels_refs.__setitem__(3, 0), "'job' has no value"),
    "twice": (lambda s: s.labels_refs.extend([2, 1]), "'job' is there twice"),
    "odd": (lambda s: s.labels_refs.append(1), "pairs"),
    "odd, a name more": (lambda s: s.labels_refs.append(4), "pairs"),
    "out of range": (lambda s: s.labels_refs.extend([1, 99]), "pairs"),
    "name out of range": (lambda s: s.labels_refs.extend([99, 1]), "pairs"),
    "value out of range": (lambda s: s.labels_refs.extend([4, 99]), "pairs"),
    "help": (lambda s: setattr(s.metadata, "help_ref", 99), "metadata"),
    "unit": (lambda s: setattr(s.metadata, "unit_ref", 99), "metadata"),
    "old": (lambda s: setattr(s.samples[0], "timestamp", NOW - 7 * 86_400_000 - 1), "7 days back"),
    "ahead": (lambda s: setattr(s.samples[0], "timestamp", NOW + 600_001), "ahead"),
    "neither": (lambda s: s.ClearField("samples"), "neither"),
    "both": (lambda s: s.histograms.add(timestamp=NOW), "both"),
}
ROWS = [*((V1, what, *row) for what, row in BROKEN_1.items()), *((V2, what, *row) for what, row in BROKEN_2.items())]


@pytest.mark.parametrize(("version", "what", "change", "says"), ROWS, ids=[f"{row[0].request.__name__}-{row[1]}" for row in ROWS])
def test_broken_series_is_taken_out_and_named(version: Version, what: str, change: Any, says: str) -> None:
    """The rest goes on byte for byte."""
    request, good = MAKE[version]("a", "b", "c"), MAKE[version]("a", "b", "c")
    check(version, good)
    change(request.timeseries[1])
    del good.timeseries[1]
    checked = check(version, request)
    assert checked.value == good.SerializeToString()
    assert (checked.rejected, checked.first_index, checked.counts) == (1, 1, Counts(2))
    assert checked.refusal is not None
    assert checked.refusal.status == 400
    assert checked.refusal.reason == (Reason.OUT_OF_WINDOW if "back" in says or "ahead" in says else Reason.INVALID)
    for word in ("1 not taken", "the rest was", "series 1", says):
        assert word in str(checked.refusal)


@pytest.mark.parametrize(("version", "what", "change", "says"), ROWS, ids=[f"{row[0].request.__name__}-{row[1]}" for row in ROWS])
def test_nothing_is_left_of_nothing_good(version: Version, what: str, change: Any, says: str) -> None:
    request = MAKE[version]("a")
    change(request.timeseries[0])
    checked = check(version, request)
    assert (checked.value, checked.counts) == (b"", Counts())
    assert "nothing was" in str(checked.refusal)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("time", [NOW - 7 * 86_400_000, NOW + 600_000])
def test_window_has_both_its_ends(version: Version, time: int) -> None:
    request = MAKE[version]("a")
    request.timeseries[0].samples[0].timestamp = time
    assert check(version, request).refusal is None


@pytest.mark.parametrize(("text", "refs", "says"), [("job", [5, 3], "twice"), ("", [5, 3], "no name"), ("", [4, 5], "no value")])
def test_2_0_text_in_two_places_is_one_text(text: str, refs: list[int], says: str) -> None:
    """The table must have each once, and is taken if it doesn't; labels are by their texts."""
    request = request2("a")
    request.symbols.append(text)
    assert check(V2, request).refusal is None
    request.timeseries[0].labels_refs.extend(refs)
    assert says in str(check(V2, request).refusal)


@pytest.mark.parametrize("version", VERSIONS)
def test_exemplar_too_long_costs_no_sample(version: Version) -> None:
    request = MAKE[version]("a", "b")
    for series in request.timeseries:
        series.exemplars.add(value=1, timestamp=NOW)
    too_long(version, request, request.timeseries[1].exemplars[0])
    checked = check(version, request)
    assert checked.counts == remote_write.count(version, checked.value) == Counts(2, 0, 1)
    assert (checked.rejected, checked.first_index) == (1, 1)
    assert "128 characters" in str(checked.refusal)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("time", "says"), [(NOW + 600_001, "ahead"), (NOW - 7 * 86_400_000 - 1, "7 days back"), (0, "7 days back")])
def test_exemplar_out_of_the_window_costs_no_sample(version: Version, time: int, says: str) -> None:
    request = MAKE[version]("a")
    for when in (NOW, time, NOW + 600_000, NOW - 7 * 86_400_000):
        request.timeseries[0].exemplars.add(value=1, timestamp=when)
    checked = check(version, request)
    assert checked.counts == remote_write.count(version, checked.value) == Counts(1, 0, 3)
    assert checked.refusal is not None
    assert checked.refusal.reason == Reason.OUT_OF_WINDOW
    assert says in str(checked.refusal)
    assert "an exemplar's time" in str(checked.refusal)


@pytest.mark.parametrize("refs", [[1], [1, 99]])
def test_exemplar_of_broken_references_costs_no_sample(refs: list[int]) -> None:
    request = request2("a")
    request.timeseries[0].exemplars.add(labels_refs=refs)
    checked = check(V2, request)
    assert checked.counts == Counts(1)
    assert "exemplar" in str(checked.refusal)


def test_1_0_exemplars_come_without_samples() -> None:
    """Prometheus sends them as series of their own."""
    request = request1("a", samples=0)
    request.timeseries[0].exemplars.add(value=1, timestamp=NOW)
    assert check(V1, request).counts == Counts(0, 0, 1)
    assert check(V1, request).refusal is None


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_may_be_in_any_order(version: Version) -> None:
    """Prometheus sorts them."""
    request = MAKE[version]("a")
    series = request.timeseries[0]
    if version is V1:
        set_1(series, ("job", "a"), ("__name__", "b"), ("Zone", "c"))
    else:
        series.labels_refs[:] = [2, 3, 1, 4]
    assert check(version, request).refusal is None


@pytest.mark.parametrize("version", VERSIONS)
def test_names_are_utf_8(version: Version) -> None:
    """And no more is asked of them, as of Prometheus 3."""
    assert check(version, MAKE[version]("größe.ms", "温度")).refusal is None


def test_1_0_series_that_is_not_utf_8_is_taken_out() -> None:
    value = request1("good", "WRONG", "other").SerializeToString().replace(b"WRONG", b"WR\xff\xfeG")
    checked = check(V1, value)
    assert (checked.rejected, checked.first_index, checked.counts) == (1, 1, Counts(2))
    assert [series.labels[0].value for series in remote1_pb2.WriteRequest.FromString(checked.value).timeseries] == ["good", "other"]


def test_2_0_symbol_that_is_not_utf_8_costs_its_series_alone() -> None:
    """Nobody could read the rest with it in the table, so it is made blank there."""
    value = request2("good", "WRONG", "other").SerializeToString().replace(b"WRONG", b"WR\xff\xfeG")
    checked = check(V2, value)
    assert (checked.rejected, checked.first_index, checked.counts) == (1, 1, Counts(2))
    left = remote2_pb2.Request.FromString(checked.value)
    assert [left.symbols[series.labels_refs[1]] for series in left.timeseries] == ["good", "other"]
    assert "UTF-8" in str(checked.refusal)


def test_metadata_alone_are_a_request() -> None:
    request = remote1_pb2.WriteRequest()
    request.metadata.add(metric_family_name="up", help="h")
    value = request.SerializeToString()
    assert remote_write.check(V1, value, NOW).value is value


def test_metadata_that_are_not_utf_8_are_taken_out() -> None:
    request = request1("a")
    for name in ("one", "WRONG", "two"):
        request.metadata.add(metric_family_name=name)
    checked = check(V1, request.SerializeToString().replace(b"WRONG", b"WR\xff\xfeG"))
    assert [one.metric_family_name for one in remote1_pb2.WriteRequest.FromString(checked.value).metadata] == ["one", "two"]
    assert (checked.rejected, checked.first_index, checked.counts) == (1, -1, Counts(1))


@pytest.mark.parametrize("version", VERSIONS)
def test_old_and_new_fields_stay(version: Version) -> None:
    """2.0 senders of before its rc.4 set field 6 of a series."""
    request = MAKE[version]("a", "b")
    request.timeseries[1].MergeFromString(b"\x30\x05")
    value = request.SerializeToString() + b"\xfa\x01\x03new"
    checked = remote_write.check(version, value, NOW)
    assert checked.value is value
    request.timeseries[0].samples[0].timestamp = 1
    checked = check(version, request.SerializeToString() + b"\xfa\x01\x03new")
    assert b"\xfa\x01\x03new" in checked.value
    assert b"\x30\x05" in checked.value


@pytest.mark.parametrize("version", VERSIONS)
def test_request_of_nothing_is_taken(version: Version) -> None:
    assert remote_write.check(version, b"", NOW) == Checked(b"")


@pytest.mark.parametrize(("version", "value"), [(V1, request2().SerializeToString()), (V2, request1().SerializeToString())])
def test_the_other_versions_request_is_no_empty_one(version: Version, value: bytes) -> None:
    """By its field numbers it would be read as one."""
    with pytest.raises(Refused, match="Content-Type"):
        remote_write.check(version, value, NOW)


def test_first_symbol_is_blank() -> None:
    request = request2("a")
    request.symbols.insert(0, "x")
    with pytest.raises(Refused, match="first symbol"):
        check(V2, request)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("value", [b"\xff\xff\xff", b"\x0a\x03\x0a\x09x", b"\x22\x00\x2a\x03\x0a\x09x"])
def test_garbage_is_refused(version: Version, value: bytes) -> None:
    with pytest.raises(Refused) as refused:
        remote_write.check(version, value, NOW)
    assert refused.value.status == 400


# -- native histograms --------------------------------------------------------------------------------------------------------------------------------------


def histogram(**fields: Any) -> dict[str, Any]:
    """A good one: three buckets of 2, 3 and 1 observations, and one at zero."""
    return {
        "count_int": 7,
        "sum": 1.5,
        "zero_count_int": 1,
        "positive_spans": [{"offset": -2, "length": 2}, {"offset": 1, "length": 1}],
        "positive_deltas": [2, 1, -2],
    } | fields


FLOATS = {"count_int": None, "zero_count_int": None, "positive_deltas": None}
CUSTOM = {"schema": -53, "count_int": 6, "zero_count_int": 0, "custom_values": [0.1, 1, 10], "positive_spans": [{"offset": 1, "length": 3}]}
HISTOGRAMS: dict[str, tuple[dict[str, Any], str]] = {
    "integer": (histogram(), ""),
    "empty": ({"timestamp": 1}, ""),
    "schema -4": (histogram(schema=-4), ""),
    "schema 8": (histogram(schema=8), ""),
    "reserved schema": (histogram(schema=20), ""),
    "schema -5": (histogram(schema=-5), "schema"),
    "schema 53": (histogram(schema=53), "schema"),
    "spans and buckets": (histogram(positive_deltas=[2, 1]), "spans name 3"),
    "negative spans and buckets": (histogram(negative_spans=[{"length": 1}]), "spans name 1"),
    "second offset": (histogram(positive_spans=[{"length": 2}, {"offset": -1, "length": 1}]), "offset is negative"),
    "below 0": (histogram(positive_deltas=[2, -3, 2]), "count is negative"),
    "negative side": (histogram(count_int=10, negative_spans=[{"offset": -1, "length": 1}], negative_deltas=[3]), ""),
    "count too small": (histogram(count_int=6), "count is 6"),
    "count too large": (histogram(count_int=8), "count is 8"),
    "NaN observed": (histogram(count_int=8, sum=float("nan")), ""),
    "NaN, count too small": (histogram(count_int=6, sum=float("nan")), "count is 6"),
    "stale": ({"sum": STALE}, ""),
    "no bounds of its own": (histogram(custom_values=[1.0]), "custom bounds"),
    "float": (histogram(**FLOATS, count_float=6.5, positive_counts=[2, 3.5, 1]), ""),
    "float spans and buckets": (histogram(**FLOATS, count_float=6.5, positive_counts=[2, 3.5]), "spans name 3"),
    "float below 0": (histogram(**FLOATS, count_float=6.5, positive_counts=[2, 3.5, -1]), "count is negative"),
    "float count below 0": ({"count_float": -1}, "count is negative"),
    "float zero count below 0": ({"count_float": 1, "zero_count_float": -1}, "count is negative"),
    "custom": (histogram(**CUSTOM), ""),
    "custom float": (histogram(**CUSTOM | FLOATS, count_float=6.5, positive_counts=[2, 3.5, 1]), ""),
    "custom falling": (histogram(**CUSTOM | {"custom_values": [1, 0.1, 10]}), "rise"),
    "custom equal": (histogram(**CUSTOM | {"custom_values": [1, 1, 10]}), "rise"),
    "custom infinite": (histogram(**CUSTOM | {"custom_values": [0.1, 1, float("inf")]}), "finite"),
    "custom NaN": (histogram(**CUSTOM | {"custom_values": [0.1, 1, float("nan")]}), "finite"),
    "custom zero count": (histogram(**CUSTOM | {"count_int": 7, "zero_count_int": 1}), "zero bucket"),
    "custom zero threshold": (histogram(**CUSTOM, zero_threshold=0.1), "zero bucket"),
    "custom negative": (histogram(**CUSTOM, negative_spans=[{"length": 1}], negative_deltas=[0]), "negative buckets"),
    "custom offset": (histogram(**CUSTOM | {"positive_spans": [{"offset": -1, "length": 3}]}), "offset is negative"),
    "custom too few bounds": (histogram(**CUSTOM | {"custom_values": [0.1, 1]}), "beyond"),
}


@pytest.mark.parametrize("kind", [remote1_pb2.Histogram, remote2_pb2.Histogram])
@pytest.mark.parametrize(("fields", "says"), HISTOGRAMS.values(), ids=HISTOGRAMS.keys())
def test_native_histograms(kind: Any, fields: dict[str, Any], says: str) -> None:
    fault = native_histogram.fault(kind(**{name: value for name, value in fields.items() if value is not None}))
    assert says in fault if says and fault else (fault or "") == says


# -- any request at all -------------------------------------------------------------------------------------------------------------------------------------


def plain_fault(version: Version, series: Any, symbols: Any) -> bool:
    """Whether a series can't be taken, written as the rules read."""
    if version is V1:
        labels = [(label.name, label.value) for label in series.labels]
    else:
        refs = series.labels_refs
        if len(refs) % 2 or any(ref >= len(symbols) for ref in (*refs, series.metadata.help_ref, series.metadata.unit_ref)):
            return True
        if bool(series.samples) == bool(series.histograms):
            return True
        labels = [(symbols[refs[at]], symbols[refs[at + 1]]) for at in range(0, len(refs), 2)]
    names = [name for name, _ in labels]
    return (
        "__name__" not in names
        or len(names) != len(set(names))
        or not all(chain.from_iterable(labels))
        or any(not NOW - 7 * 86_400_000 <= one.timestamp <= NOW + 600_000 for one in (*series.samples, *series.histograms))
        or any(map(native_histogram.fault, series.histograms))
    )


texts = st.sampled_from(["", "__name__", "a", "b", "job", "x" * 130])
times = st.sampled_from([NOW] * 8 + [NOW - 7 * 86_400_000 - 1, NOW + 600_001, 0, -1])
values = st.sampled_from([0.0, 1.0, STALE])


@st.composite
def requests(draw: st.DrawFn, version: Version) -> Any:
    request: Any = version.request()
    if version is V2:
        request.symbols.extend(["", *draw(st.lists(texts, max_size=6))])
    for _ in range(draw(st.integers(0, 6))):
        series = request.timeseries.add()
        draw_labels(draw, version, request, series, mostly_good=True)
        for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2, 3]))):
            series.samples.add(value=draw(values), timestamp=draw(times))
        for _ in range(draw(st.sampled_from([0, 0, 0, 1]))):
            series.histograms.add(timestamp=draw(times), count_int=draw(st.sampled_from([0, 0, 1])))
        for _ in range(draw(st.sampled_from([0, 0, 0, 2]))):
            draw_labels(draw, version, request, series.exemplars.add(value=1, timestamp=NOW), mostly_good=False)
        if version is V2 and draw(st.booleans()):
            series.metadata.help_ref = draw(st.integers(0, 7))
    return request


def draw_labels(draw: st.DrawFn, version: Version, request: Any, labelled: Any, *, mostly_good: bool) -> None:
    pairs = [("__name__", "a")] if mostly_good and draw(st.integers(0, 5)) else []
    pairs += draw(st.lists(st.tuples(texts, texts), max_size=2))
    for name, value in pairs:
        if version is V1:
            labelled.labels.add(name=name, value=value)
        else:
            symbols = list(request.symbols)
            labelled.labels_refs.extend(symbols.index(text) if text in symbols else draw(st.integers(0, 9)) for text in (name, value))


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_glance_and_rules_agree(version: Version, data: st.DataObject) -> None:
    """What is taken is what the rules, read one by one, take; in its order, with true counts."""
    request = data.draw(requests(version))
    value = request.SerializeToString()
    checked = remote_write.check(version, value, NOW)
    symbols = getattr(request, "symbols", ())
    bad = [place for place, series in enumerate(request.timeseries) if plain_fault(version, series, symbols)]
    left: Any = version.request.FromString(checked.value)
    kept = [series for place, series in enumerate(request.timeseries) if place not in bad]
    assert [[str(sample) for sample in series.samples] for series in left.timeseries] == [[str(sample) for sample in series.samples] for series in kept]
    assert checked.counts == remote_write.count(version, checked.value)
    lost = sum(len(series.exemplars) for series in kept) - checked.counts.exemplars
    assert checked.rejected == len(bad) + lost
    assert (checked.value is value) == (checked.rejected == 0)
    assert not bad or 0 <= checked.first_index <= bad[0]


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@settings(deadline=None, max_examples=500)
def test_what_is_taken_of_any_bytes_is_good(version: Version, data: st.DataObject) -> None:
    """However a request was broken: it is refused, or what goes on can be read, and breaks no rule. Nothing else is raised."""
    value = bytearray(MAKE[version]("a", "b" * 130, "c", samples=data.draw(st.integers(1, 2))).SerializeToString())
    remote_write.check(version, bytes(value), NOW)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value) - 1))
        match data.draw(st.integers(0, 3)):
            case 0:
                value[at] = data.draw(st.integers(0, 255))
            case 1:
                value[at] ^= 1 << data.draw(st.integers(0, 7))
            case 2:
                del value[at : at + data.draw(st.integers(1, 9))]
                value = value or bytearray(b"\x0a")
            case _:
                value[at:at] = value[at : at + data.draw(st.integers(1, 40))]
    try:
        checked = remote_write.check(version, bytes(value), NOW)
    except Refused:
        return
    left: Any = version.request.FromString(checked.value)
    assert not any(plain_fault(version, series, getattr(left, "symbols", ())) for series in left.timeseries)
    assert checked.counts == remote_write.count(version, checked.value)
    if checked.value != value:
        assert checked.refusal is not None or version is V2
    try:
        whole: Any = version.request.FromString(bytes(value))
    except DecodeError:
        assert checked.refusal is not None or version is V2
    else:
        assert len(whole.timeseries) - len(left.timeseries) <= checked.rejected


# -- any encoding at all ------------------------------------------------------------------------------------------------------------------------------------


def varint(number: int, longer: int = 0) -> bytes:
    """A number; with so many bytes more than it needs."""
    groups = [number >> shift & 127 for shift in range(0, max(1, number.bit_length()), 7)] + [0] * longer
    return bytes(group | 128 for group in groups[:-1]) + bytes(groups[-1:])


def part(number: int, value: bytes, longer: int = 0) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(value), longer) + value


TIME, ZERO = b"\x10" + varint(NOW), b"\x09" + bytes(8)
ODD_SAMPLES = [
    *(b"\x09\x00" + TIME, part(3, bytes(7) + TIME)),
    *(b"", TIME, ZERO, TIME + ZERO, ZERO + TIME + TIME, TIME + TIME, b"\x10\x00" + TIME, TIME + b"\x10\x00", ZERO + b"\x10" + varint(NOW, 1)),
    *(part(2, varint(NOW)), part(2, varint(NOW) * 2) + TIME, TIME + b"\x18" + varint(NOW), ZERO + TIME + b"\x18\x01", ZERO + TIME + b"\x18\x01\x10\x05"),
    *(
        ZERO + b"\x10\x01\x18" + varint(1 << 20),
        TIME + b"\x30\x05",
        b"\x10" + varint(NOW - 8 * 86_400_000),
        ZERO + b"\x10" + varint(1 << 41),
        b"\x10" + TIME[1:-1],
    ),
]
NAME_1, JOB_1 = part(1, b"__name__") + part(2, b"up"), part(1, b"job") + part(2, b"node")
ODD_PARTS_1 = [
    *(part(1, label, longer) for label in (b"", NAME_1, JOB_1, part(1, b"zone"), part(1, b"zone") + part(2, b"\xff")) for longer in (0, 1)),
    *(part(1, part(2, b"x") + part(1, b"zone") + more) for more in (b"", part(1, b"job"), part(2, b""), b"\x18\x05")),
    *(part(2, sample, longer) for sample in ODD_SAMPLES for longer in (0, 1)),
    *(part(3, b""), part(3, TIME + b"\x18" + varint(NOW)), part(4, b""), part(4, b"\x78" + varint(NOW)), b"\x30\x05", b"\x08\x01", b"\x33\x34"),
    *(remote_write._EDGE_1, remote_write._EDGE_1[:5], remote_write._EDGE_2, b"\x0a\x19", b"\x12\x10", b"\x33", b"\x80"),
]
ODD_PARTS_2 = [
    *(
        part(1, bytes(refs), longer)
        for refs in ((), (0,), (0, 1), (1, 0), (3, 2), (3, 4), (5, 4), (3,), (9, 9), (133, 0, 2), (130, 128, 128, 128, 16))
        for longer in (0, 1)
    ),
    *(b"\x08" + varint(ref) for ref in (0, 1, 3, 5, 9)),
    *(part(2, sample, longer) for sample in ODD_SAMPLES for longer in (0, 1)),
    *(part(3, b""), part(3, b"\x78" + varint(NOW)), part(4, b""), part(4, b"\x18" + varint(NOW)), part(4, b"\x0a\x01\x09"), part(5, b""), part(5, b"\x18\x02")),
    *(part(5, b"\x18\x09"), part(5, b"\x18\x09\x18\x02"), part(5, b"\x1a\x01\x09"), part(5, b"\x1a\x01\xff"), part(5, b"\x20\x09"), part(5, b"\x18")),
    *(remote_write._EDGE_2, remote_write._EDGE_2[:5], remote_write._EDGE_1, b"\x30\x05", b"\x33\x34", b"\x0a\x0b", b"\x12\x10", b"\x33", b"\x80"),
]
GOOD_1 = [part(1, NAME_1), part(1, JOB_1), part(2, ZERO + TIME)]
GOOD_2 = [part(1, bytes([1, 2, 3, 4])), part(2, ZERO + TIME), part(5, b"\x18\x02")]
SYMBOLS_2 = b"".join(part(4, symbol) for symbol in (b"", b"__name__", b"up", b"job", b"node", b"zone"))


@st.composite
def encodings(draw: st.DrawFn, version: Version) -> bytes:
    """Requests of mostly good series, some of them written as no usual sender does, or hostile."""
    good, odd, number, value = (GOOD_1, ODD_PARTS_1, 1, b"") if version is V1 else (GOOD_2, ODD_PARTS_2, 5, SYMBOLS_2)
    for _ in range(draw(st.integers(1, 5))):
        parts = list(good)
        for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
            if draw(st.sampled_from([True, False])) and parts:
                del parts[draw(st.sampled_from(range(len(parts))))]
            parts.insert(draw(st.integers(0, len(parts))), draw(st.sampled_from([*odd, *good])))
        value += part(number, b"".join(parts))
    return value


def outcome(version: Version, value: bytes) -> object:
    try:
        return remote_write.check(version, value, NOW)
    except Refused as refused:
        return str(refused)


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@settings(deadline=None, max_examples=1500)
def test_glance_and_close_look_agree(version: Version, data: st.DataObject) -> None:
    """However a request is written, met before or not: as if each series had been looked at closely."""
    value = data.draw(encodings(version))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote_write, f"_unknown_{VERSIONS.index(version) + 1}", lambda series, *_: (range(len(series)), 0))
        closely = outcome(version, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote_write, "_LABELS", remote_write._Labels())
        assert [outcome(version, value), outcome(version, value)] == [closely, closely]
    assert outcome(version, value) == closely, "what was learned of others"


def test_labels_met_are_forgotten_in_time() -> None:
    """What is remembered of label sets is bounded, whatever senders do."""
    labels = remote_write._Labels()
    for number in range(3 * labels.SIZE):
        labels.learn({number})
        if number % 1000 == 0:
            assert not labels.unknown({0}), "met again and again, and yet forgotten"
    assert len(labels._young) + len(labels._old) <= 2 * labels.SIZE
    assert labels.unknown({1}) == {1}


def test_one_request_of_many_series_is_no_more_than_a_generation() -> None:
    """However many it brings at once; what was met before is met again."""
    labels = remote_write._Labels()
    labels.learn({-1})
    for start in range(3):
        labels.learn(set(range(start * 10**6, start * 10**6 + labels.SIZE + 1000)))
        assert len(labels._young) <= labels.SIZE
        assert len(labels._old) <= labels.SIZE
    assert len(labels.unknown(set(range(2 * 10**6, 2 * 10**6 + labels.SIZE + 1000)))) == 1000


def test_only_good_labels_and_nothing_else_are_learned() -> None:
    """Any sample behind them would make a good series of them from then on."""
    series = request1("a").timeseries[0]
    sample = series.samples[0].SerializeToString()
    series.ClearField("samples")
    head = series.SerializeToString()
    label = series.labels[0].SerializeToString()
    assert remote_write._are_labels([head] * 3)
    twice = head + b"\x0a" + bytes([len(label)]) + label
    edge, overlong = remote_write._EDGE_1, head.replace(b"\x0a" + bytes([len(label)]), b"\x0a" + bytes([len(label) | 128, 0]))
    for wrong in (
        *(b"", head[:-1], head + b"\x12\x07" + sample, b"\x12\x07" + sample + head, head + b"\x30\x05", twice, head + b"\x0a\x00"),
        *(overlong, edge, head + edge, head + edge + head, head + b"\x0a\x1a", head + b"\x0a\x1c", head + edge[1:]),
    ):
        assert not remote_write._are_labels([wrong])
        assert not remote_write._are_labels([head, wrong, head])


def test_label_that_reaches_into_the_next_series_is_none() -> None:
    """Though it is a good label with a new field in it, and though another series makes up for the edge it has swallowed."""
    series = request1("a").timeseries[0]
    series.ClearField("samples")
    head, edge = series.SerializeToString(), remote_write._EDGE_1
    label = part(1, b"zone") + part(2, b"x") + varint(3 << 3 | 2) + varint(len(edge) + len(head))
    reaching = head + varint(1 << 3 | 2) + varint(len(label) + len(edge) + len(head)) + label
    assert remote_write._are_labels([reaching + bytes(len(edge) + len(head))])
    assert not remote_write._are_labels([reaching, head, head])
    assert not remote_write._are_labels([reaching, head, head + edge + head])


def test_more_names_than_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the rest is looked at closely."""
    monkeypatch.setattr(sys, "maxunicode", 4)
    labels = [remote1_pb2.Label(name=f"n{number}", value="x").SerializeToString() for number in range(3)]
    assert [remote_write._Names()[label] for label in labels[:1]] == [chr(3)]
    names = remote_write._Names()
    assert [names[label] for label in labels] == [chr(3), chr(4), "\0"]


@pytest.mark.parametrize("extra", [0xD7FE, 0xD800, 0xE000, sys.maxunicode])
def test_2_0_names_may_be_far_back_in_the_table(extra: int) -> None:
    """A place in the table is taken for a character's code, and some codes are none."""
    request = remote2_pb2.Request(symbols=["", "__name__", "a", *map(str, range(extra)), "job", "zone"])
    size = len(request.symbols)
    request.timeseries.add(labels_refs=[1, 2, size - 2, 3, size - 1, 3]).samples.add(timestamp=NOW)
    request.timeseries.add(labels_refs=[1, 2, size - 2, 3, size - 2, 3]).samples.add(timestamp=NOW)
    request.timeseries.add(labels_refs=[1, 2]).samples.add(timestamp=NOW)
    checked = check(V2, request)
    assert (checked.counts, checked.first_index) == (Counts(2), 1)
    assert "'job' is there twice" in str(checked.refusal)


@pytest.mark.parametrize(
    "times",
    [b"\x18", b"\x12\x0c", b"\x10\xff", b"\x10\x80\x80\x80\x80\x80\x80\x80"],
    ids=["another field", "a list of both", "beyond its end", "over several"],
)
def test_only_times_are_times(times: bytes) -> None:
    """Two fields of which the first is broken into."""
    window = remote_write.Window(NOW - 10, NOW + 10)
    sample = remote1_pb2.Sample(timestamp=NOW).SerializeToString()
    assert remote_write._are_times(sample * 2, 7, window)
    assert not remote_write._are_times(times + (sample * 2)[len(times) :], 7, window)
    assert not remote_write._are_times(sample[1:] + sample[:1] + sample, 7, window)
    listed = b"\x12\x0c" + sample[1:] * 2
    assert not remote_write._are_times(listed, 7, window)


def test_series_of_labels_alone_has_no_sample() -> None:
    """Though labels met before are good."""
    assert check(V1, request1("a")).counts == Counts(1)
    assert check(V1, request1("a", samples=0)).counts == Counts()


def test_generated_code_is_that_of_the_proto_files(tmp_path: Path) -> None:
    root = Path(remote1_pb2.__file__).parents[3]
    protos = sorted(path.relative_to(root).as_posix() for path in Path(remote1_pb2.__file__).parent.glob("*.proto"))
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *protos], cwd=root, check=True)
    made = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) == 6
    for path in made:
        assert path.read_text() == (root / path.relative_to(tmp_path)).read_text(), f"{path.name}: make it again from its .proto file"
