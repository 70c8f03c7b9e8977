"""AnyValue → JSON value: as it is for a body, within what a flat_object takes for attributes.

flat_object indexes every leaf as the term `path=value`, and Lucene refuses a document with a term over 32766 bytes: so long keys and values are cut in this
copy, with a mark, and what is nested too deeply becomes JSON text. A log with a huge attribute is stored rather than lost. Bytes are base64, and numbers
that JSON lacks are the words of OTLP's JSON form (OTLP specification, § JSON Protobuf Encoding).

What a resource or scope says is copied into each of its records' documents, so a batch could become thousands of times as large: there the whole has a limit.
"""

import base64
import math
from collections.abc import Sequence
from typing import Any, Final

import orjson

CUT: Final = "…[cut]"
MOST_KEY: Final = 256
MOST_TEXT: Final = 8_192
"""Bytes of a value. With `MOST_DEPTH` keys of `MOST_KEY` characters of at most 4 bytes before it, a term has at most 18 kB."""
_SURELY_SHORT: Final = MOST_TEXT // 4
"""Characters: none has more than 4 bytes."""
MOST_DEPTH: Final = 8
MOST_COPIED: Final = 32 * 1024
"""Bytes of JSON of all attributes of a resource or scope."""
_MARK: Final = 64
"""Bytes of it that are kept for saying what is left out."""


def whole(value: Any) -> Any:
    """The value, nothing cut."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return {pair.key: whole(pair.value) for pair in value.kvlist_value.values}
    if kind == "array_value":
        return [whole(item) for item in value.array_value.values]
    return _scalar(value, kind)


def text(value: Any) -> str:
    """The value as one text: a string as it is, all else as JSON."""
    if value.WhichOneof("value") == "string_value":
        return str(value.string_value)
    return orjson.dumps(whole(value)).decode()


def copied(pairs: Sequence[Any]) -> orjson.Fragment:
    """`attributes` as JSON within MOST_COPIED. What doesn't fit is left out, and the object says how many that were."""
    found = attributes(pairs)
    if len(json := orjson.dumps(found)) <= MOST_COPIED:
        return orjson.Fragment(json)
    kept, room = dict[str, Any](), MOST_COPIED - _MARK
    for key, value in found.items():
        size = len(orjson.dumps({key: value}))
        if size <= room:
            kept[key] = value
            room -= size
    return orjson.Fragment(orjson.dumps({**kept, CUT: f"{len(found) - len(kept)} attributes left out"}))


def attributes(pairs: Sequence[Any], depth: int = 1) -> dict[str, Any]:
    """KeyValues as an object that a flat_object field takes. Of equal keys the last one counts."""
    found: dict[str, Any] = {}
    for pair in pairs[:]:  # a list is gone through faster than what protobuf has
        key, value = pair.key, pair.value
        # Nearly all are one of these two, and asking for `WhichOneof` first would double the cost. One that isn't zero is the one that is set.
        item = value.string_value or value.int_value
        if not item or (item.__class__ is str and len(item) > _SURELY_SHORT):
            item = _fitting(value, depth)
        found[key if len(key) <= MOST_KEY else key[:MOST_KEY] + CUT] = item
    return found


def _fitting(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return cut(value.string_value)
    if kind in {"kvlist_value", "array_value"}:
        if depth >= MOST_DEPTH:
            return cut(text(value))
        if kind == "kvlist_value":
            return attributes(value.kvlist_value.values, depth + 1)
        return [_fitting(item, depth + 1) for item in value.array_value.values]
    scalar = _scalar(value, kind)
    return cut(scalar) if kind == "bytes_value" else scalar


def _scalar(value: Any, kind: str | None) -> Any:
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    if kind == "double_value" and not math.isfinite(value.double_value):
        return "NaN" if math.isnan(value.double_value) else "Infinity" if value.double_value > 0 else "-Infinity"
    return None if kind is None else getattr(value, kind)


def cut(words: str) -> str:
    """The text within MOST_TEXT bytes; if it isn't all of it, it says so."""
    # Encoding is the cost, and short texts, nearly all, need none: a character has 4 bytes at most.
    if len(words) * 4 <= MOST_TEXT or len(encoded := words.encode()) <= MOST_TEXT:
        return words
    return encoded[:MOST_TEXT].decode(errors="ignore") + CUT
