"""Kafka record → HTTP request, and event → dead letter: what KafkaSource does, CloudEvents 1.0 in binary mode on both sides. Pure.

A record whose `ce_` headers make a valid CloudEvent is passed on as that event, value untouched. Anything else is wrapped as
`dev.knative.kafka.event`, by which a sink recognises a publisher's defect. Structured mode (`application/cloudevents+json`) is
not spoken here, since nobody publishes it, and is wrapped too.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

WRAPPED_TYPE = "dev.knative.kafka.event"
ERROR_DATA_BYTES = 1024

KafkaHeaders = list[tuple[str, str | bytes | None]]
"""As the client library takes them."""

_REQUIRED = ("id", "source", "type")
_NAME = re.compile(r"[a-z0-9]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)
_URI_REFERENCE = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Event:
    """What is posted to a function: header names in lower case, `ce-` before each attribute."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str | None:
        """The record key that a KafkaSink would give it."""
        return self.headers.get("ce-partitionkey")


def from_record(record: Record, source: str) -> Event:
    """The event that KafkaSource would make of it; `source` names the subscription where the record has no source of its own."""
    headers = {name: text for name, value in record.headers if (text := _text(value)) is not None}
    attributes = _attributes(headers) if len(headers) == len({name for name, _ in record.headers}) else None
    if attributes is None:
        attributes = _wrapped(record, headers, source)
    content_type = next((text for name, text in headers.items() if name.lower() == "content-type"), None)
    attributes.update(knativekafkapartition=str(record.partition), knativekafkaoffset=str(record.offset))
    http = {f"ce-{name}": text for name, text in attributes.items()}
    if content_type is not None:
        http["content-type"] = content_type
    return Event(http, record.value or b"")


def _text(value: bytes | None) -> str | None:
    """A header's value if it may stand in an HTTP header."""
    try:
        text = value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None
    # Mostly there is nothing in it but what is printable ASCII, which is quicker to see.
    return text if text is not None and ((text.isascii() and text.isprintable()) or not _CONTROL.search(text)) else None


def _attributes(headers: Mapping[str, str]) -> dict[str, str] | None:
    """The attributes of a CloudEvent in Kafka's binary mode; None when they don't make a valid one."""
    attributes = {name[3:].lower(): text for name, text in headers.items() if name.startswith("ce_")}
    valid = (
        attributes.get("specversion") == "1.0"
        and all(attributes.get(name) for name in _REQUIRED)
        and all(map(_NAME.fullmatch, attributes))
        and _URI_REFERENCE.fullmatch(attributes["source"])
        and attributes.get("subject") != ""
        and ("time" not in attributes or _TIME.fullmatch(attributes["time"]))
    )
    return attributes if valid else None


def _wrapped(record: Record, headers: Mapping[str, str], source: str) -> dict[str, str]:
    """Attributes of a record that is no CloudEvent."""
    attributes = {
        "specversion": "1.0",
        "id": f"partition:{record.partition}/offset:{record.offset}",
        "source": f"{source}#{record.topic}",
        "type": WRAPPED_TYPE,
        "subject": f"partition:{record.partition}#{record.offset}",
        "time": _time(record.timestamp_ms),
    }
    if record.key and (key := _text(record.key)):
        attributes.update(key=key, partitionkey=key)
    for name, text in headers.items():
        if name.lower() != "content-type":
            attributes[f"kafkaheader{re.sub('[^a-z0-9]', '', name.lower())}"] = text
    return attributes


def _time(milliseconds: int) -> str:
    """RFC 3339. A record's time is its publisher's word: one that is no date is 1970, since no record may be passed over for it."""
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def dead_letter_headers(event: Event, destination: str, status: int, answer: Iterable[tuple[str, str]], body: bytes) -> KafkaHeaders:
    """Kafka headers of the event's dead letter: the event's own, who refused it and how, and what the refuser said of it in `Kne-` headers."""
    attributes = {name[3:]: text for name, text in event.headers.items() if name.startswith("ce-")}
    attributes.update(knativeerrordest=destination, knativeerrorcode=str(status))
    if body:
        attributes["knativeerrordata"] = base64.b64encode(body[:ERROR_DATA_BYTES]).decode()
    for name, text in answer:
        extension = name.lower().removeprefix("kne-")
        if extension != name.lower() and _NAME.fullmatch(extension):
            attributes[extension] = text
    headers: KafkaHeaders = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
    if "content-type" in event.headers:
        headers.append(("content-type", event.headers["content-type"].encode()))
    return headers
