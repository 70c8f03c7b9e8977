"""Event of a dead letter ↔ object in S3: key, metadata, and the event again as it was before it died. Pure.

    dead-letters/<tenant>/<sink>/<day>/<record id>[.<part>]

The body is the record's bytes, or the refused part of them; the metadata are the event's attributes, names without `ce-`. The day is that on which the record
came in (UTC), not that of its death, so the same letter is the same object whenever it is delivered, and a later one of the same part takes its place.

Two kinds come in: those of the sinks (`shared.envelope.dead_letter`), with `sink`, `reason`, `status`, `detail` and `part`; and those of a trigger that was
refused or gave up, with what Knative adds (`knativeerrordest`, `knativeerrorcode`, `knativeerrordata`, and a refuser's `Kne-` headers), from which the same
attributes are made. What isn't an event of ours is kept too, under the tenant `unknown`: nobody can send it on, but nothing is lost. So is what S3 refuses for
its metadata or its key.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, Self
from urllib.parse import urlsplit
from uuid import UUID

from shared import envelope
from shared.contract import Reason
from shared.envelope import Record
from shared.errors import Refused

PREFIX: Final = "dead-letters/"
UNKNOWN: Final = "unknown"
"""Tenant of what isn't an event of ours; sink of what nobody says who refused it."""

_DEATH: Final = frozenset(
    {
        *("sink", "reason", "status", "detail", "attempts"),
        *("knativeerrordest", "knativeerrorcode", "knativeerrordata", "knativekafkapartition", "knativekafkaoffset"),
    }
)
"""Attributes that tell of a death or of one delivery, and are no part of the record."""

_MOST_METADATA: Final = 2000
"""Bytes of names and values that S3 keeps with an object: 2 KB, the server's own included."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_PART: Final = re.compile(r"\d+(\.\d+)*", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NO_DAY: Final = "0000-00-00"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a letter lies, and so what a listing tells of it. `id`: the record's, with its part; of unknown ones a digest."""

    tenant_id: str
    sink: str
    day: str
    id: str

    @property
    def key(self) -> str:
        """The object's key."""
        return f"{PREFIX}{self.tenant_id}/{self.sink}/{self.day}/{self.id}"

    @classmethod
    def of(cls, key: str) -> Self | None:
        """None for a key that isn't a letter's."""
        parts = key.removeprefix(PREFIX).split("/")
        return cls(*parts) if key.startswith(PREFIX) and len(parts) == 4 and all(parts) else None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `attributes`: of its event, all that is known of its death among them."""

    place: Place
    body: bytes
    attributes: Mapping[str, str]


def from_event(headers: Mapping[str, str], body: bytes) -> Letter:
    """The letter that a trigger's request carries (header names in lower case). Never fails."""
    given = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
    attributes = {**given, **_death(given)}
    attributes.pop("knativeerrordata", None)  # read: it is the detail now
    try:
        place = _place(envelope.from_event(headers, body), attributes["sink"])
    except (Refused, ValueError) as error:
        attributes.update(reason=Reason.NOT_AN_EVENT, detail=_printable(str(error)))
        # Equal deliveries are equal letters: Kafka's partition and offset are among the attributes.
        digest = sha256(repr(sorted(given.items())).encode() + body).hexdigest()[:32]
        place = Place(UNKNOWN, attributes["sink"], _day(given.get("time", "")) or _NO_DAY, digest)
    return Letter(place, body, _fitting(attributes))


def bare(letter: Letter) -> Letter:
    """The same body with hardly anything to it, for an S3 that doesn't take the letter as it is; nobody can send it on, but nothing is lost."""
    place, reason = letter.place, letter.attributes.get("reason", "")
    digest = sha256(place.key.encode() + letter.body).hexdigest()[:32]
    known = {"reason": reason if reason in set(Reason) else Reason.INVALID, "tenantid": place.tenant_id, "id": place.id[:100]}
    return Letter(Place(UNKNOWN, place.sink, place.day, digest), letter.body, known)


def event(letter: Letter) -> dict[str, str] | None:
    """The headers of the event as the sink got it, for the same sink once more; None when it was no event of ours.

    Id and part stay: the sink's own ids are made of them, so what it has stored of the record already isn't stored twice.
    """
    if letter.place.tenant_id == UNKNOWN:
        return None
    return envelope.event_headers({name: value for name, value in letter.attributes.items() if name not in _DEATH})


def _place(record: Record, sink: str) -> Place:
    """Raises ValueError when something in its key isn't what it should be."""
    identity, part, day = str(UUID(record.id)), record.extensions.get("part", ""), _day(record.time)
    if not day or not (not part or _PART.fullmatch(part)):
        raise ValueError(f"no time or no part: {record.time!r} {part!r}")
    return Place(record.tenant_id, sink, day, f"{identity}.{part}" if part else identity)


def told(letter: Letter, news: Mapping[str, str]) -> Letter:
    """The same letter, with what a sink said of it now."""
    return replace(letter, attributes=_fitting({**letter.attributes, **{name: _printable(text) for name, text in news.items()}}))


def _death(given: Mapping[str, str]) -> dict[str, str]:
    """Who refused it, why, and what was said, as far as the letter tells."""
    code, said = given.get("knativeerrorcode", ""), _printable(_decoded(given.get("knativeerrordata", "")))
    # A refusal that no retry can mend, else a trigger has given up.
    refused = len(code) == 3 and code.startswith("4") and code not in {"404", "408", "409", "429"}
    told = {
        "sink": given.get("sink") or _sink_at(given.get("knativeerrordest", "")),
        "reason": given.get("reason") or (Reason.INVALID if refused else Reason.UNAVAILABLE),
        "status": given.get("status") or code,
        "detail": given.get("detail") or said,
    }
    told["sink"] = told["sink"] if _NAME.fullmatch(told["sink"]) else UNKNOWN
    return {name: value for name, value in told.items() if value}


def _sink_at(url: str) -> str:
    """The function's name by its URL in a cluster, `http://sink-loki.namespace.svc…`; empty when it isn't one."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return host.partition(".")[0].replace("-", "_")


def _decoded(data: str) -> str:
    """Knative's base64 of an answer's first KB."""
    try:
        return base64.b64decode(data, validate=True).decode(errors="replace")
    except ValueError:
        return data


def _printable(text: str) -> str:
    """As a header takes it: printable ASCII, one space between words."""
    return "".join(c if " " <= c <= "~" else "?" for c in " ".join(text.split()))[:500]


def _day(time: str) -> str:
    """The day of an RFC 3339 time as it is written: UTC, in events of ours; empty when there is none."""
    return time[:10] if _DAY.match(time) else ""


def _fitting(attributes: Mapping[str, str]) -> dict[str, str]:
    """As much as metadata may hold; the longest give way, which in events of ours is the detail alone."""
    room, fitting = _MOST_METADATA, dict[str, str]()
    for name, value in sorted(attributes.items(), key=lambda item: (len(item[1]), item[0])):
        if (left := room - len(name)) < 0 or not name.isascii():
            continue
        fitting[name] = "".join(c if " " <= c <= "~" else "?" for c in value.strip())[:left]
        room = left - len(fitting[name])
    return fitting
