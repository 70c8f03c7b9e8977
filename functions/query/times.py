"""What a user may write for a moment: `now`, `now-15m`, RFC 3339, or seconds, milliseconds, microseconds, nanoseconds of the epoch. Pure."""

import re
from datetime import UTC, datetime

from shared.contract import Reason
from shared.errors import Refused

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhdw]))?", re.ASCII)
_EPOCH = re.compile(r"\d{9,19}", re.ASCII)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)
_MAX = 2**63 - 1


def parse(text: str, now: int) -> int:
    """Nanoseconds since 1970. Raises Refused (400)."""
    if relative := _RELATIVE.fullmatch(text):
        return max(0, now - int(relative[1] or 0) * _SECONDS[relative[2] or "s"] * 10**9)
    if _EPOCH.fullmatch(text):
        return min(_MAX, _scaled(text))
    if written := _RFC3339.fullmatch(text):
        day, clock, fraction, zone = written.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{(zone or 'Z').upper().replace('Z', '+00:00')}")
            nanoseconds = int(moment.timestamp()) * 10**9 + int((fraction or "").ljust(9, "0"))
        except (ValueError, OverflowError):
            nanoseconds = -1
        if 0 <= nanoseconds <= _MAX:
            return nanoseconds
    raise Refused(Reason.INVALID, f"{text[:40]!r} is no time: write now-15m, 2026-01-31T12:00:00Z, or milliseconds or nanoseconds since 1970")


def rfc3339(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nine digits."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _scaled(digits: str) -> int:
    """Seconds, milliseconds, microseconds or nanoseconds, told apart by their length: each scale has its own from 1973 to 2286."""
    for length, factor in ((10, 10**9), (13, 10**6), (16, 10**3)):
        if len(digits) <= length:
            return int(digits) * factor
    return int(digits)
