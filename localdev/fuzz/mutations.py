"""What is done to a request that was right: bytes changed, headers changed, names that matter put in."""

import random
import string
from collections.abc import Mapping, Sequence

Pairs = list[tuple[str, str]]

TRACE_PARENTS = ["", "00-" + "0" * 32 + "-" + "0" * 16 + "-00", "00-x", "9" * 4000]
CREDENTIALS = ["", "Bearer", "Bearer ", "Bearer obs_x", "Basic !!!", "Basic OjpvYnNf", "Digest x", "Bearer " + "x" * 5000]
HEADERS: Mapping[str, Sequence[str]] = {
    "authorization": [*CREDENTIALS, "Bearer \xff\xfe"],
    "traceparent": [*TRACE_PARENTS, "\xff" * 60],
    "x-scope-orgid": ["other", "\xff"],
    "x-obstack-auth-token": ["", "obs_", "\xff"],
    "accept-encoding": ["gzip", "br;q=0", "*"],
    "retry-attempt": ["-1", "x"],
}
"""Of HTTP, whatever the protocol on it."""


def changed(source: random.Random, headers: Pairs, noise: Mapping[str, Sequence[str]]) -> Pairs:
    """A header replaced, left out or named twice."""
    name = source.choice(list(noise))
    kept = [header for header in headers if header[0] != name or source.random() < 0.2]
    return kept if source.random() < 0.2 else [*kept, (name, source.choice(noise[name]))]


def damaged(source: random.Random, body: bytes) -> bytes:
    """Cut, doubled, or with some bytes changed."""
    match source.randrange(6):
        case 0:
            return body[: source.randrange(len(body) + 1)]
        case 1:
            return body * source.randrange(2, 5)
        case 2:
            return source.randbytes(source.randrange(200))
        case _:
            value = bytearray(body)
            for _ in range(source.randrange(1, 4)):
                place = source.randrange(len(value) + 1)
                value[place : place + source.randrange(2)] = source.randbytes(source.randrange(3))
            return bytes(value)


def word(source: random.Random) -> str:
    """A name, sometimes one that matters."""
    return source.choice(["service.name", "tenant_id", "tenant.id", "", "a", "\0", "é\U0001f600", "x" * 300, "".join(source.choices(string.printable, k=8))])
