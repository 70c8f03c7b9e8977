"""What makes a native histogram of remote_write, 1.0 or 2.0, one that Prometheus takes. Pure.

Sources: Prometheus' model/histogram (Histogram.Validate, FloatHistogram.Validate), and its native histogram specification, § Data model.
"""

import math
from itertools import accumulate, pairwise
from typing import Any, Final

_CUSTOM: Final = -53
_EXPONENTIAL: Final = range(-4, 53)
"""Schemas 9 to 52 are reserved: Prometheus takes them and lowers their resolution to that of 8."""


def fault(histogram: Any) -> str | None:
    """Why Prometheus would refuse it, or None."""
    floats = histogram.WhichOneof("count") == "count_float"
    if histogram.schema == _CUSTOM:
        wrong = _custom(histogram, floats)
    elif histogram.schema in _EXPONENTIAL:
        wrong = _exponential(histogram, floats)
    else:
        wrong = f"unknown schema {histogram.schema}"
    return wrong or (_float_counts(histogram) if floats else _integer_counts(histogram))


def _exponential(histogram: Any, floats: bool) -> str | None:
    if histogram.custom_values:
        return "custom bounds with an exponential schema"
    positive = len(histogram.positive_counts if floats else histogram.positive_deltas)
    negative = len(histogram.negative_counts if floats else histogram.negative_deltas)
    return _spans(histogram.positive_spans, positive) or _spans(histogram.negative_spans, negative)


def _custom(histogram: Any, floats: bool) -> str | None:
    bounds, spans = histogram.custom_values[:], histogram.positive_spans
    if not all(map(math.isfinite, bounds)) or any(low >= high for low, high in pairwise(bounds)):
        return "custom bounds must be finite and rise"
    if histogram.zero_threshold or histogram.zero_count_int or histogram.zero_count_float:
        return "custom bounds leave no zero bucket"
    if histogram.negative_spans or histogram.negative_deltas or histogram.negative_counts:
        return "custom bounds leave no negative buckets"
    if any(span.offset < 0 for span in spans):
        return "a span's offset is negative"
    if len(bounds) + 1 < sum(span.length + span.offset for span in spans):
        return "spans reach beyond the custom bounds"
    return _spans(spans, len(histogram.positive_counts if floats else histogram.positive_deltas))


def _spans(spans: Any, buckets: int) -> str | None:
    if any(span.offset < 0 for span in spans[1:]):
        return "a span's offset is negative, and it is not the first"
    named = sum(span.length for span in spans)
    return None if named == buckets else f"spans name {named} buckets, there are {buckets}"


def _integer_counts(histogram: Any) -> str | None:
    positive, negative = list(accumulate(histogram.positive_deltas)), list(accumulate(histogram.negative_deltas))
    if min(positive, default=0) < 0 or min(negative, default=0) < 0:
        return "a bucket's count is negative"
    total = sum(positive) + sum(negative) + histogram.zero_count_int
    # Observations of NaN are in the count and in no bucket; a stale marker is such a NaN.
    if total > histogram.count_int or (total != histogram.count_int and not math.isnan(histogram.sum)):
        return f"count is {histogram.count_int}, the buckets hold {total}"
    return None


def _float_counts(histogram: Any) -> str | None:
    """Their sum isn't compared: rounding makes it differ in good histograms."""
    if histogram.count_float < 0 or histogram.zero_count_float < 0:
        return "a count is negative"
    if min(histogram.positive_counts, default=0) < 0 or min(histogram.negative_counts, default=0) < 0:
        return "a bucket's count is negative"
    return None
