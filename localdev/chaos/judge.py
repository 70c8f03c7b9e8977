"""Whether each number is in each backend exactly once, and nothing but poison in the dead letters."""

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx2
from rich.console import Console
from rich.table import Table

from localdev.chaos.harm import READERS, Letter, NotBack
from localdev.chaos.seen import Reader, Sight
from shared.contract import Topic


def look(console: Console, reader: Reader, patience: float) -> list[Sight]:
    """Look into each backend until nothing is missing, or nothing has come for a while."""

    def until_whole(backend: str) -> Sight:
        ask, least, deadline = reader.looks()[backend], sys.maxsize, time.monotonic() + patience
        while True:
            try:
                sight = ask()
            except (httpx2.HTTPError, KeyError, ValueError) as failure:
                console.print(f"{backend}: {type(failure).__name__}: {failure}", markup=False)
                if time.monotonic() > deadline:
                    raise NotBack(f"{backend} can't be read") from failure
            else:
                if not sight.missing or time.monotonic() > deadline:
                    return sight
                if len(sight.missing) < least:
                    least, deadline = len(sight.missing), time.monotonic() + patience
                    console.print(f"{backend}: {least} of {sight.expected} to come")
            time.sleep(2)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(until_whole, reader.looks()))


def table(sights: Sequence[Sight]) -> Table:
    """A row for each backend."""
    rows = Table("backend", "sent", "missing", "doubled")
    for sight in sights:
        rows.add_row(sight.backend, f"{sight.expected:,}", _some(sight.missing), _some(sight.doubled))
    return rows


def _some(numbers: list[int]) -> str:
    return f"{len(numbers):,} ({', '.join(map(str, numbers[:5]))}, …)" if numbers else "0"


def whole(console: Console, sights: Sequence[Sight], poisoned: Mapping[str, Topic], found: Sequence[Letter]) -> bool:
    """Say what is wrong; whether nothing is."""
    buried = {(record, sink) for record, sink, _, _ in found}
    unburied = [f"{topic} of {sink}" for record, topic in poisoned.items() for sink in READERS[topic] if (record, sink) not in buried]
    strangers = [letter for letter in found if letter[0] not in poisoned]
    for missing in sorted(unburied):
        console.print(f"the poison in {missing} is not in the dead letters")
    for record, sink, reason, detail in strangers[:20]:
        console.print(f"dead letter of {sink}: {record} {reason}: {detail}", markup=False)
    fine = all(sight.whole for sight in sights) and not unburied and not strangers
    console.print("Nothing lost, nothing doubled." if fine else "Not whole.")
    return fine
