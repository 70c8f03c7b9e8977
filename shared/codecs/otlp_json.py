"""OTLP's JSON → message: a renamed copy of the document goes to the message's constructor, which fills it in C.

Everything about names and types comes from the descriptors. Pure. Source: OTLP specification 1.x, § JSON Protobuf Encoding, over proto3's JSON mapping:
ids are hex, enums are integers, 64-bit integers are strings or numbers, unknown fields are ignored, null is absent.
Laxer than the letter, as the Collector is: names in snake_case and names of enum values are taken too.
"""

import binascii
import functools
import re
from collections.abc import Callable
from typing import Any, Final

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from shared.contract import Reason
from shared.errors import Refused

MAX_DEPTH: Final = 100
"""Messages within messages, as many as protobuf's own parser takes: a sink couldn't read what nests deeper."""

_IDS: Final = frozenset({"trace_id", "span_id", "parent_span_id"})
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOT_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def parse(request: type[Message], value: bytes) -> Message:
    """The message that `value` says. Raises Refused."""
    try:
        return request(**_reader(request).read(orjson.loads(value), 0))  # type: ignore[arg-type] # Message's instances are unhashable, its classes aren't
    except _Wrong as wrong:
        names = wrong.path[::-1] if len(wrong.path) < 20 else [*wrong.path[:-11:-1], "…", wrong.path[0]]
        reason = f"{'.'.join(names) or 'it'} {wrong}"
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        reason = str(error)
    raise Refused(Reason.UNDECODABLE, f"the body is not a JSON {request.__name__}: {reason[:500]}")


class _Wrong(ValueError):
    """A value that can't be taken, and the path to it, innermost name first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str] = []


Convert = Callable[[Any, int], Any]


class _Reader:
    """Turns JSON objects of one message type into keyword arguments of its class."""

    __slots__ = ("fields", "oneofs")

    def __init__(self, descriptor: Any, known: "dict[str, _Reader]") -> None:
        known[descriptor.full_name] = self  # before the fields: AnyValue contains itself
        self.fields: dict[str, tuple[str, Convert | None]] = {}
        for field in descriptor.fields:
            self.fields[field.json_name] = self.fields[field.name] = (field.name, _convert(field, known))
        sets = [frozenset(field.name for field in oneof.fields) for oneof in descriptor.oneofs]
        self.oneofs = [names for names in sets if len(names) > 1]  # an `optional` field is a oneof of its own

    def read(self, node: Any, depth: int) -> dict[str, Any]:
        """Keyword arguments for `node`; what the constructor checks by itself (text, range of integers, names of enums) is left to it."""
        if depth > MAX_DEPTH:
            raise _Wrong(f"nests deeper than {MAX_DEPTH}")
        depth += 1
        found, fields, key = {}, self.fields, ""
        try:
            for key, value in node.items():
                field = fields.get(key)
                if field is not None and value is not None:
                    name, convert = field
                    found[name] = value if convert is None else convert(value, depth)
        except AttributeError:
            raise _Wrong("is not an object") from None
        except _Wrong as wrong:
            wrong.path.append(key)
            raise
        if len(found) > 1 and self.oneofs:
            self._check_oneofs(found)
        return found

    def _check_oneofs(self, found: dict[str, Any]) -> None:
        for names in self.oneofs:
            if len(both := names & found.keys()) > 1:
                raise _Wrong(f"has {' and '.join(sorted(both))}, of which one is allowed")


@functools.cache
def _reader(request: Any) -> _Reader:
    return _Reader(request.DESCRIPTOR, {})


def _convert(field: FieldDescriptor, known: dict[str, _Reader]) -> Convert | None:
    """What makes a JSON value the constructor's; None: nothing to do."""
    convert: Convert | None
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        inner: Any = field.message_type
        convert = (known.get(inner.full_name) or _Reader(inner, known)).read
    else:
        convert = _hex if field.name in _IDS else _SCALARS[field.type]
    return _each(convert) if field.is_repeated else convert


def _each(convert: Convert | None) -> Convert:
    def convert_list(value: Any, depth: int) -> list[Any]:
        if type(value) is not list:
            raise _Wrong("is not a list")
        return value if convert is None else [convert(item, depth) for item in value]

    return convert_list


def _hex(value: Any, _: int) -> bytes:
    """Bytes of any length: whether an id's length is right is asked of protobuf's bytes as well, later."""
    try:
        return binascii.unhexlify(value)
    except (ValueError, TypeError):
        raise _Wrong("is not hex") from None


def _base64(value: Any, _: int) -> bytes:
    """The standard and the URL-safe alphabet, with and without padding."""
    try:
        text = value.replace("-", "+").replace("_", "/")
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except (ValueError, AttributeError):
        raise _Wrong("is not base64") from None


def _integer(value: Any, _: int) -> Any:
    """Any integer; its range is the constructor's to check, and so is that it's no boolean."""
    if type(value) is str:
        if value.isascii() and len(value) <= 20 and value.removeprefix("-").isdigit():
            return int(value)
    elif type(value) is not float:
        return value
    elif value.is_integer() and abs(value) < 2**63:  # 1e9 is an integer in JSON; beyond, a literal too large for orjson's integers was rounded
        return int(value)
    raise _Wrong("is not a 64-bit integer")


def _enum(value: Any, depth: int) -> Any:
    return value if type(value) is str else _integer(value, depth)


def _double(value: Any, _: int) -> float:
    if type(value) is float or type(value) is int:
        return value
    if type(value) is str:
        if value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if _NUMBER.fullmatch(value) and abs(number := float(value)) != float("inf"):
            return number
    raise _Wrong("is not a number")


def _boolean(value: Any, _: int) -> bool:
    if value is True or value is False:
        return value
    raise _Wrong("is not true or false")


_SCALARS: Final[dict[int, Convert | None]] = {
    FieldDescriptor.TYPE_STRING: None,
    FieldDescriptor.TYPE_ENUM: _enum,
    FieldDescriptor.TYPE_BYTES: _base64,
    FieldDescriptor.TYPE_BOOL: _boolean,
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_INT32: _integer,
    FieldDescriptor.TYPE_SINT32: _integer,
    FieldDescriptor.TYPE_UINT32: _integer,
    FieldDescriptor.TYPE_FIXED32: _integer,
    FieldDescriptor.TYPE_INT64: _integer,
    FieldDescriptor.TYPE_UINT64: _integer,
    FieldDescriptor.TYPE_FIXED64: _integer,
    FieldDescriptor.TYPE_SFIXED64: _integer,
}
"""Every scalar type that OTLP uses; one that a later version may bring is a KeyError with the first request, and so in the tests."""
