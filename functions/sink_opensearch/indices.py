"""Names of indices ↔ tenant and period: `logs-tenant-<uuid>-2026.11.24`, `…-2026.w48` (ISO 8601 week), `…-2026.11`. Pure.

The week has its letter because week 11 and November would else be one name, and nobody could say when that index may be deleted.
"""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from shared.contract import LOGS_INDEX, Period

PATTERNS: Final = {
    Period.DAY: f"{LOGS_INDEX}*.*.*",
    Period.WEEK: f"{LOGS_INDEX}*.w*",
    Period.MONTH: f"{LOGS_INDEX}*.*",
}
"""Index patterns by period, the narrower before the wider: a month's finds the others too."""

_FORMATS: Final = {Period.DAY: "%Y.%m.%d", Period.WEEK: "%G.w%V", Period.MONTH: "%Y.%m"}
_NAME: Final = re.compile(re.escape(LOGS_INDEX) + r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-(\d{4}\.(?:w\d\d|\d\d(?:\.\d\d)?))", re.ASCII)


@lru_cache(maxsize=4096)
def suffix(period: Period, days: int) -> str:
    """The name's end for a day, counted from 1970 (UTC)."""
    return datetime.fromtimestamp(days * 86_400, UTC).strftime(_FORMATS[period])


def end(name: str) -> date | None:
    """The first day after the index's period; None for a name that isn't one of ours."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    # ISO 8601 but for the dots: a day, a week without its day, a month without its day.
    text = found[1].replace(".", "-").upper()
    try:
        if "W" in text:
            return date.fromisoformat(f"{text}-7") + timedelta(days=1)
        if len(text) == len("2026-11"):
            return (date.fromisoformat(f"{text}-01") + timedelta(days=31)).replace(day=1)
        return date.fromisoformat(text) + timedelta(days=1)
    except (ValueError, OverflowError):
        return None
