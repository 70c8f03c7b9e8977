"""How far one read may reach: its time range, and how many traces or names Tempo is asked for.

Only of reads that would take what they can get. Lists of names and series cost little however long the range is (promtool asks for 9,999 hours of them), and
Loki bounds its own reads: 721 hours, 5,000 entries. Prometheus bounds the points of a series (11,000) and the samples of a query.
A time that can't be read here is refused and never passed on: the backend might read it, and as another one.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from time import time

from shared.contract import Reason
from shared.errors import Refused

LATEST = 2**63 // 10**9
"""In seconds since 1970. What is later has no number of nanoseconds in 64 bits: Loki counts on with a wrong one, for half a minute or into a 500."""
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,20})?", re.ASCII)
_DURATION = re.compile("".join(rf"(?:([0-9]{{1,9}}){unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms")), re.ASCII)
"""As Prometheus' client libraries read one, which is how Tempo does."""
_UNITS = (365 * 86400, 7 * 86400, 86400, 3600, 60, 1, 0.001)
_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)


def check(given: Mapping[str, str], days: float, *, nanoseconds: bool = False) -> None:
    """Raises Refused (400) for a range from `start` to `end`, or to now, or of `since` without a `start`, of more than `days`.

    `nanoseconds`: whether the backend takes whole numbers over ten digits for those.
    """
    scaled = _scaled if nanoseconds else _seconds
    start, end = scaled("start", given.get("start", "")), scaled("end", given.get("end", ""))
    length = _length("since", given.get("since", ""))
    if start is not None:
        length = (time() if end is None else end) - start
    if length > days * 86400:
        raise Refused(Reason.INVALID, f"the query time range exceeds the limit (query length: {length / 3600:.0f}h, limit: {days * 24:.0f}h)")


def earliest(end: str, days: float) -> str:
    """The `start` of a read that may reach `days` back from its `end`, or from now. Raises Refused (400)."""
    seconds = _seconds("end", end)
    return f"{(time() if seconds is None else seconds) - days * 86400:.3f}"


def check_limit(limit: str, most: int) -> None:
    """Raises Refused (400) for more traces or names than Tempo shall look for."""
    if limit and not (limit.isascii() and limit.isdigit() and len(limit) < 10 and int(limit) <= most):
        raise Refused(Reason.INVALID, f"invalid limit: must be a number up to {most}")


def check_loki(given: Mapping[str, str]) -> None:
    """Raises Refused (400) for a time that is too late for Loki."""
    for name in ("start", "end", "time"):
        text = given.get(name, "")
        if not _is_nanoseconds(text) and (_seconds(name, text) or 0) > LATEST:
            raise Refused(Reason.INVALID, f'invalid parameter "{name}": {text} is too late')


def _seconds(name: str, text: str) -> float | None:
    """Seconds since 1970; None where nothing is said."""
    if not text:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        if _RFC3339.fullmatch(text):
            return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        pass
    raise Refused(Reason.INVALID, f'invalid parameter "{name}": cannot parse "{text[:40]}" to a valid timestamp')


def _scaled(name: str, text: str) -> float | None:
    """As Loki and Tempo's metrics read it."""
    return int(text) / 1e9 if _is_nanoseconds(text) and len(text) < 20 else _seconds(name, text)


def _is_nanoseconds(text: str) -> bool:
    return len(text) > 10 and text.isascii() and text.isdigit()


def _length(name: str, text: str) -> float:
    """A duration in seconds; 0 where nothing is said."""
    if (said := _DURATION.fullmatch(text)) is None:
        raise Refused(Reason.INVALID, f'invalid parameter "{name}": cannot parse "{text[:40]}" to a valid duration')
    return sum(int(number or 0) * unit for number, unit in zip(said.groups(), _UNITS, strict=True))
