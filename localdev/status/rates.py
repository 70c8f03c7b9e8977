"""Counters → rates a second, between this look and an earlier one that was kept in `run/looks.json`; the first time, between two looks just made."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from localdev.supervisor import state

SHORTEST, LONGEST = 2.0, 60.0
"""Seconds between the two looks: less says little of batches, more isn't now."""
FIRST_SECONDS = 0.4

Look = Mapping[str, float]
"""Counter → value. Who wasn't heard isn't in it."""


def rates(now: Look, again: Callable[[], Look]) -> tuple[dict[str, float], float]:
    """Rates of the counters that both looks have, and the seconds between the looks. `again` is called when no earlier look is of use."""
    path = state.run_folder() / "looks.json"
    at = time.time()
    kept = [(when, look) for when, look in _kept(path) if 0 < at - when <= LONGEST]
    _keep(path, [*kept, (at, now)])
    if old := next((look for look in kept if at - look[0] >= SHORTEST), None):
        return _between(old[1], now, at - old[0]), at - old[0]
    time.sleep(FIRST_SECONDS)
    later = again()
    seconds = time.time() - at
    return _between(now, later, seconds), seconds


def _between(old: Look, new: Look, seconds: float) -> dict[str, float]:
    """A counter that is less than before began anew with its process."""
    return {name: (value - old[name] if value >= old[name] else value) / seconds for name, value in new.items() if name in old}


def _kept(path: Path) -> list[tuple[float, Look]]:
    try:
        return [(float(at), dict(look)) for at, look in json.loads(path.read_text())]
    except (FileNotFoundError, ValueError, TypeError):  # another checkout's, or half of one: worth nothing
        return []


def _keep(path: Path, looks: list[tuple[float, Look]]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(looks))
    new.replace(path)
