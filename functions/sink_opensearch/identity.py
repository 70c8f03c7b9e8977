"""Ids of documents: the same for the same log record of the same batch, however often the batch comes and whatever record it lies in.

A client that hears no yes sends its batch again, and then two records of the topic may hold it (docs/decisions/0023). So an id is made of what the batch is,
not of when it came: `<the log record's own time, in steps of 69 s>-<digest of the batch>-<place in the batch>`. The time comes first since Lucene finds ids
that grow faster than such as lie anywhere.

A log record without a time of its own has that of its arrival from ingest, so it is another one each time it comes: its id is `<record's id>-<place in the
batch>`. That time alone makes no other batch of those that it lies among: the digest leaves it out (`arrived`).
"""

import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Final

from shared.envelope import Record

_DIGEST: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NANOSECONDS: Final = re.compile(r"\d{1,19}", re.ASCII)
_STEP_BITS: Final = 36
"""2^36 ns are 69 s."""


def digested(record: Record) -> Record:
    """The record with its batch's `digest` among its attributes. Dead letters take it along: a part alone no longer tells what batch it was of.

    Such a part without one has none: its first delivery made ids of its record's.
    """
    if "part" in record.extensions or "digest" in record.extensions:
        return record
    digest = sha256(record.extensions.get("cut", "").encode(), usedforsecurity=False)
    arrived = _arrived(record)
    digest.update(record.value.replace(arrived.to_bytes(8, "little"), bytes(8)) if arrived else record.value)
    return replace(record, extensions={**record.extensions, "digest": digest.hexdigest()[:32]})


def ids(record: Record) -> Callable[[int, int, int], str]:
    """Of a log record with this time and this time of observation (nanoseconds; 0: none) at this place of the record's value."""
    digest, first, arrived = record.extensions.get("digest", ""), _first(record), _arrived(record)
    if not _DIGEST.fullmatch(digest):
        return lambda _time, _observed, place: f"{record.id}-{first + place}"

    def id_of(time: int, observed: int, place: int) -> str:
        own = time or (observed if observed != arrived else 0)
        return f"{own >> _STEP_BITS:x}-{digest}-{first + place}" if own else f"{record.id}-{first + place}"

    return id_of


def _arrived(record: Record) -> int:
    """The time that ingest wrote into log records without any, as fixed64: eight bytes, little-endian. 0: there were none."""
    arrived = record.extensions.get("arrived", "")
    return int(arrived) if _NANOSECONDS.fullmatch(arrived) else 0


def _first(record: Record) -> int:
    """The place of the value's first log record. A replayed part is one log record from somewhere in the batch, and gets the id that it had there."""
    part = record.extensions.get("part", "")
    return int(part) if part.isascii() and part.isdigit() else 0
