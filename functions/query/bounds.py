"""How far one read may reach: its time range, and how many traces Tempo is asked for.

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

MAX_TRACES = 1000
LATEST = 2**63 // 10**9
"""In seconds since 1970. What is later has no number of nanoseconds in 64 bits: Loki counts on with a wrong one, for half a minute or into a 500."""
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,20})?", re.ASCII)
_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)


def check(given: Mapping[str, str], days: float) -> None:
    """Raises Refused (400) for a range from `start` to `end`, or to now, of more than `days`."""
    start, end = _seconds("start", given.get("start", "")), _seconds("end", given.get("end", ""))
    length = (time() if end is None else end) - start if start is not None else 0
    if length > days * 86400:
        raise Refused(Reason.INVALID, f"the query time range exceeds the limit (query length: {length / 3600:.0f}h, limit: {days * 24:.0f}h)")


def check_traces(limit: str) -> None:
    """Raises Refused (400) for more traces than Tempo shall look for."""
    if limit and not (limit.isascii() and limit.isdigit() and len(limit) < 10 and int(limit) <= MAX_TRACES):
        raise Refused(Reason.INVALID, f"invalid limit: must be a number up to {MAX_TRACES}")


def check_loki(given: Mapping[str, str]) -> None:
    """Raises Refused (400) for a time that is too late for Loki. Of a whole number over ten digits it takes nanoseconds."""
    for name in ("start", "end", "time"):
        text = given.get(name, "")
        if not (len(text) > 10 and text.isascii() and text.isdigit()) and (_seconds(name, text) or 0) > LATEST:
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
