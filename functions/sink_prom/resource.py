"""The tenant as a resource attribute of an OTLP metrics request, without decoding it.

A ResourceMetrics gets one more occurrence of its `resource`, with only that attribute in it: parsers merge the occurrences of a singular message field
(protobuf encoding, § Last One Wins). It comes last, since of equal names Prometheus promotes the last. Only the length of each ResourceMetrics is written
anew; all other bytes are copied as they are.
"""

from typing import Final

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from shared.contract import TENANT_LABEL, Reason
from shared.errors import Never

_RESOURCE_METRICS: Final = 0x0A
"""Tag of field 1, length-delimited: ExportMetricsServiceRequest.resource_metrics, and ResourceMetrics.resource."""
_FIXED: Final = {1: 8, 5: 4}


def with_tenant(request: bytes, tenant_id: str) -> bytes:
    """The request, every resource of which says whose it is. Raises Never when it can't be walked."""
    resource = Resource()
    resource.attributes.add(key=TENANT_LABEL).value.string_value = tenant_id
    extra = _field(resource.SerializeToString())
    view, at, parts = memoryview(request), 0, list[bytes | memoryview]()
    try:
        while at < len(view):
            tag, content = _varint(view, at)
            start, end = _extent(view, tag & 7, content)
            if tag == _RESOURCE_METRICS:
                parts += (_head(end - start + len(extra)), view[start:end], extra)
            else:
                parts.append(view[at:end])
            at = end
    except IndexError:
        at = -1
    if at != len(view):
        raise Never(Reason.UNDECODABLE, "not an ExportMetricsServiceRequest: it ends within a field")
    return b"".join(parts)


def _extent(view: memoryview, wire_type: int, at: int) -> tuple[int, int]:
    """Where a field's content starts and ends."""
    if wire_type == 2:
        length, at = _varint(view, at)
        return at, at + length
    if wire_type == 0:
        return at, _varint(view, at)[1]
    if wire_type in _FIXED:
        return at, at + _FIXED[wire_type]
    raise Never(Reason.UNDECODABLE, f"not an ExportMetricsServiceRequest: wire type {wire_type}")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    number = shift = 0
    while (byte := view[at]) >= 0x80:
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return number | byte << shift, at + 1


def _field(content: bytes) -> bytes:
    return _head(len(content)) + content


def _head(length: int) -> bytes:
    head = bytearray((_RESOURCE_METRICS,))
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)
