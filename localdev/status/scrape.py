"""Metrics straight from the processes: one GET each, all at the same time, within one deadline. Who doesn't answer in time is unknown, not zero."""

import http.client
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from time import monotonic

from prometheus_client.parser import text_string_to_metric_families

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Loopback is never behind the proxy that the environment may name."""


@dataclass(frozen=True)
class Metrics:
    """Samples of one process, by name."""

    samples: Mapping[str, list[tuple[Mapping[str, str], float]]]

    def sum(self, name: str, **labels: str) -> float:
        """Over all series with these labels; 0 when there is none: a counter that never counted isn't shown."""
        return sum(value for has, value in self.samples.get(name, ()) if labels.items() <= has.items())

    def by(self, label: str, name: str) -> dict[str, float]:
        """Sums by a label's values."""
        found: dict[str, float] = {}
        for labels, value in self.samples.get(name, ()):
            found[labels.get(label, "")] = found.get(labels.get(label, ""), 0.0) + value
        return found

    def highest(self, label: str, name: str) -> dict[str, float]:
        """The highest of each of a label's values."""
        found: dict[str, float] = {}
        for labels, value in self.samples.get(name, ()):
            found[labels.get(label, "")] = max(found.get(labels.get(label, ""), value), value)
        return found


def parse(text: str, prefix: str = "obstack_") -> Metrics:
    """The exposition's samples whose names begin like that. Raises ValueError for what is no exposition."""
    wanted = "\n".join(line for line in text.splitlines() if line.startswith(prefix))
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(wanted + "\n"):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return Metrics(samples)


class Scrape:
    """GETs under way, to whoever is at these ports of this machine."""

    def __init__(self, ports: Mapping[str, int], seconds: float) -> None:
        threads = ThreadPoolExecutor(max(1, len(ports)), "scrape")
        self._until = monotonic() + seconds
        self._asked = {name: threads.submit(_get, port, seconds) for name, port in ports.items()}
        threads.shutdown(wait=False)

    def found(self) -> dict[str, Metrics]:
        """Name → metrics, of those that answer in time."""
        done, _ = wait_for(self._asked.values(), max(0.0, self._until - monotonic()))
        return {name: found for name, future in self._asked.items() if future in done and (found := future.result()) is not None}


def _get(port: int, seconds: float) -> Metrics | None:
    try:
        with _DIRECT.open(f"http://127.0.0.1:{port}/metrics", timeout=seconds) as answer:
            return parse(answer.read().decode())
    except (OSError, http.client.HTTPException, ValueError):
        return None
