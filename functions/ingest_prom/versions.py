"""The two versions of remote_write, by content type.

Source: remote_write 2.0 § Content-Type header: no `proto` parameter means 1.0. Some senders of 1.0 send no content type at all, and Prometheus takes that.
"""

from dataclasses import dataclass
from typing import Final

from shared.codecs import remote_write
from shared.contract import PROTOBUF, EventType, Reason
from shared.errors import Refused


@dataclass(frozen=True, slots=True)
class Row:
    """What differs between the versions."""

    message: remote_write.Version
    type: EventType


ONE: Final = Row(remote_write.V1, EventType.REMOTE_WRITE_1)
TWO: Final = Row(remote_write.V2, EventType.REMOTE_WRITE_2)

_BY_MESSAGE: Final = {"": ONE, "prometheus.WriteRequest": ONE, "io.prometheus.write.v2.Request": TWO}

CONTENT_TYPES: Final = [f"{PROTOBUF};proto={message}" for message in _BY_MESSAGE if message]


def by_content_type(content_type: str) -> Row:
    """The version that a Content-Type header names. Raises Refused (415)."""
    media, *parameters = (part.strip() for part in content_type.split(";"))
    message = next((value.strip('"') for name, _, value in (p.partition("=") for p in parameters) if name.lower() == "proto"), "")
    row = _BY_MESSAGE.get(message)
    if media.lower() not in {"", PROTOBUF} or row is None:
        raise Refused(Reason.MEDIA_TYPE, f"Content-Type must be {' or '.join(CONTENT_TYPES)}", 415)
    return row
