"""Which of a run's numbers each backend has, asked as its readers ask it."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from localdev.backends import tempo
from localdev.chaos.load import METRIC, SPANS_PER_TRACE, Run
from shared.contract import TENANT_HEADER, TENANT_LABEL

_PAGE: Final = 5000


@dataclass(frozen=True)
class Sight:
    """Of the numbers from 0 on: which are missing, which are there more than once."""

    backend: str
    expected: int
    missing: list[int]
    doubled: list[int]

    @property
    def whole(self) -> bool:
        """Each exactly once."""
        return not self.missing and not self.doubled


class Reader:
    """Reads the backends of the laptop's stack directly, as one tenant. Use it in a `with`.

    Every look may raise httpx2.HTTPError or KeyError while a backend comes back.
    """

    def __init__(self, urls: dict[str, str], tenant: str, run: Run) -> None:
        self._urls, self._tenant, self._run = urls, tenant, run
        self._client = httpx2.Client(timeout=60)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def looks(self) -> dict[str, Callable[[], Sight]]:
        """By backend."""
        return {"loki": self.loki, "opensearch": self.opensearch, "prometheus": self.prometheus, "tempo": self.tempo}

    def loki(self) -> Sight:
        """Log lines, by pages in order of time."""
        found: Counter[int] = Counter()
        start, end = self._run.began_ns, self._run.until_ns
        while True:
            query = {"query": f'{{service_name="{self._run.service}"}}', "start": str(start), "end": str(end), "limit": str(_PAGE), "direction": "forward"}
            streams = self._get("loki", "/loki/api/v1/query_range", query)["data"]["result"]
            lines = sorted((int(time), line) for stream in streams for time, line in stream["values"])
            found.update(_number(line) for _, line in lines)
            if len(lines) < _PAGE:
                return _sight("loki", self._run.logs, found)
            start = lines[-1][0] + 1

    def opensearch(self) -> Sight:
        """Documents, by scrolling."""
        indices = f"logs-tenant-{self._tenant}-*"
        self._client.post(f"{self._urls['opensearch']}/{indices}/_refresh").raise_for_status()
        found: Counter[int] = Counter()
        query = {"size": _PAGE, "_source": ["body"], "sort": ["_doc"], "query": {"match_phrase": {"body": self._run.name}}}
        page = self._post("opensearch", f"/{indices}/_search?scroll=1m", query)
        while hits := page["hits"]["hits"]:
            found.update(_number(hit["_source"]["body"]) for hit in hits)
            page = self._post("opensearch", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
        return _sight("opensearch", self._run.logs, found)

    def prometheus(self) -> Sight:
        """Samples, raw."""
        query = f'{METRIC}{{run="{self._run.name}",{TENANT_LABEL}="{self._tenant}"}}[{round(self._run.seconds) + 2}s]'
        result = self._get("prometheus", "/api/v1/query", {"query": query, "time": str(self._run.until_ns // 10**9 + 1)})["data"]["result"]
        return _sight("prometheus", self._run.samples, Counter(int(float(value)) for series in result for _, value in series["values"]))

    def tempo(self) -> Sight:
        """Spans, trace by trace."""
        found: Counter[int] = Counter()
        for trace in range(-(-self._run.spans // SPANS_PER_TRACE)):
            found.update(self._spans_of(self._run.trace_id(trace).hex()))
        return _sight("tempo", self._run.spans, found)

    def _spans_of(self, trace_id: str) -> list[int]:
        answer = self._client.get(f"{self._urls['tempo']}/api/traces/{trace_id}", headers={TENANT_HEADER: self._tenant, "accept": "application/json"})
        if answer.status_code == 404:
            return []
        answer.raise_for_status()
        return [int(span["name"]) for span in tempo.spans(answer.json())]

    def _get(self, backend: str, path: str, query: dict[str, str]) -> Any:
        answer = self._client.get(self._urls[backend] + path, params=query, headers={TENANT_HEADER: self._tenant})
        answer.raise_for_status()
        return answer.json()

    def _post(self, backend: str, path: str, body: dict[str, Any]) -> Any:
        answer = self._client.post(self._urls[backend] + path, json=body)
        answer.raise_for_status()
        return answer.json()


def _number(line: str) -> int:
    match = re.fullmatch(r"\w+ (\d+)", line)
    return int(match[1]) if match else -1


def _sight(backend: str, expected: int, found: Counter[int]) -> Sight:
    missing = [number for number in range(expected) if number not in found]
    return Sight(backend, expected, missing, sorted(number for number, times in found.items() if times > 1 or not 0 <= number < expected))
