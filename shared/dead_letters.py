"""Event of a dead letter ↔ object in S3: key, metadata, and the event again as it was before it died. Pure.

    dead-letters/<tenant>/<sink>/<day>/<record id>[.<part>]
    waiting-letters/<sink>/<times put off>/<day>/<record id>[.<part>]/<tenant>

Under `dead-letters/` is what somebody refused: it stays until a person does something about it. Under `waiting-letters/` is what a trigger gave up since its
sink couldn't say yes or no: the function `replay` sends it again, and finds it in the order of its keys, however much lies under the other prefix.

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
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Self
from urllib.parse import urlsplit

from shared import envelope
from shared.contract import RETRIED, Reason
from shared.envelope import Record
from shared.errors import Refused

PREFIX: Final = "dead-letters/"
WAITING: Final = "waiting-letters/"
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
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NO_DAY: Final = "0000-00-00"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a letter lies, and so what a listing tells of it. `id`: the record's, with its part; of unknown ones a digest.

    `put_off`: None for one that stays; of one that waits, how often it was sent again and had to go on waiting.
    """

    tenant_id: str
    sink: str
    day: str
    id: str
    put_off: int | None = None

    @property
    def key(self) -> str:
        """The object's key."""
        if self.put_off is None:
            return f"{PREFIX}{self.tenant_id}/{self.sink}/{self.day}/{self.id}"
        return f"{waiting_for(self.sink)}{self.put_off:06}/{self.day}/{self.id}/{self.tenant_id}"

    @classmethod
    def of(cls, key: str) -> Self | None:
        """None for a key that isn't a letter's."""
        top, *parts = key.split("/")
        match parts if all(parts) else ():
            case [tenant_id, sink, day, id_] if f"{top}/" == PREFIX:
                return cls(tenant_id, sink, day, id_)
            case [sink, put_off, day, id_, tenant_id] if f"{top}/" == WAITING and put_off.isascii() and put_off.isdigit():
                return cls(tenant_id, sink, day, id_, int(put_off))
        return None


def is_sink(name: str) -> bool:
    """Whether letters may wait for a function of this name: nothing but sinks is sent any."""
    return name.startswith("sink_") and _NAME.fullmatch(name) is not None


def waiting_for(sink: str) -> str:
    """What the keys of all letters begin with that wait for a sink, those put off least often first, and of these the oldest."""
    return f"{WAITING}{sink}/"


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
        place = _place(envelope.from_event(headers, body), attributes["sink"], attributes["reason"])
    except Refused as refused:
        attributes.update(reason=Reason.NOT_AN_EVENT, detail=_printable(str(refused)))
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

    Id, part and digest stay: the sink's own ids are made of them, so what it has stored of the record already isn't stored twice.
    """
    if letter.place.tenant_id == UNKNOWN:
        return None
    return envelope.event_headers({name: value for name, value in letter.attributes.items() if name not in _DEATH})


def _place(record: Record, sink: str, reason: str) -> Place:
    """What its key is made of was checked with the event."""
    day = datetime.fromisoformat(record.time).astimezone(UTC).date().isoformat()
    waits = reason == Reason.RETRIES_RAN_OUT and is_sink(sink)
    return Place(record.tenant_id, sink, day, ".".join(filter(None, (record.id, record.extensions.get("part")))), 0 if waits else None)


def refused_again(letter: Letter, news: Mapping[str, str]) -> Letter:
    """The letter with what its sink says of it now (`status`, `reason`, `detail`). It stays, also if it has been waiting until now."""
    attributes = {**letter.attributes, **{name: _printable(text) for name, text in news.items()}}
    return replace(letter, place=replace(letter.place, put_off=None), attributes=_fitting(attributes))


def put_off(letter: Letter) -> Letter:
    """A waiting letter for another time: behind all that were put off less often. The same, whoever puts it off."""
    return replace(letter, place=replace(letter.place, put_off=(letter.place.put_off or 0) + 1))


def _death(given: Mapping[str, str]) -> dict[str, str]:
    """Who refused it, why, and what was said, as far as the letter tells."""
    code, said = given.get("knativeerrorcode", ""), _printable(_decoded(given.get("knativeerrordata", "")))
    refused = len(code) == 3 and code.startswith("4") and code not in map(str, RETRIED)  # else a trigger has given up
    told = {
        "sink": given.get("sink") or _sink_at(given.get("knativeerrordest", "")),
        "reason": given.get("reason") or (Reason.INVALID if refused else Reason.RETRIES_RAN_OUT),
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
