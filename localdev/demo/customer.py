"""A customer's eyes: logs in at the gateway as a user of one tenant and reads all four backends, the way the page and Grafana do."""

import time
from dataclasses import dataclass
from typing import Any

import httpx2

from localdev.backends import tempo
from shared.contract import QUERY_PREFIX


@dataclass(frozen=True)
class Sight:
    """What was found: how much, and a sample of it."""

    count: int
    sample: str = ""


class Customer:
    """One tenant's user. `log_in` first; every read may raise httpx2.HTTPError."""

    def __init__(self, gateway: str, tenant: dict[str, str]) -> None:
        self.name = tenant["name"]
        self.token = tenant["token"]
        self._login = {"email": tenant["email"], "password": tenant["password"]}
        self._client = httpx2.Client(base_url=gateway + QUERY_PREFIX, timeout=30)

    def log_in(self) -> None:
        """Get the session cookie."""
        self._client.post("/api/login", json=self._login).raise_for_status()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def loki(self, selector: str) -> Sight:
        """Log lines of the last hour that match a LogQL selector with filters."""
        answer = self._get("/loki/api/v1/query", query=f"sum(count_over_time({selector}[1h]))")
        count = int(float(answer["data"]["result"][0]["value"][1])) if answer["data"]["result"] else 0
        if not count:
            return Sight(0)
        lines = self._get("/loki/api/v1/query_range", query=selector, limit="1", since="1h")["data"]["result"]
        return Sight(count, str(lines[0]["values"][0][1]) if lines else "")

    def opensearch(self, words: str) -> Sight:
        """Log records of the last hour that have all these words."""
        answer = self._get("/api/logs/search", q=words, **{"from": "now-1h"}, size="1")
        return Sight(int(answer["total"]), str(answer["hits"][0]["body"]) if answer["hits"] else "")

    def prometheus(self, query: str) -> Sight:
        """Series of an instant query; the sample is the first's value."""
        result = self._get("/prometheus/api/v1/query", query=query)["data"]["result"]
        return Sight(len(result), str(result[0]["value"][1]) if result else "")

    def trace(self, trace_id: str) -> Sight:
        """Spans of a trace."""
        answer = self._client.get(f"/tempo/api/traces/{trace_id}", headers={"accept": "application/json"})
        if answer.status_code == 404:
            return Sight(0)
        answer.raise_for_status()
        return Sight(len(tempo.spans(answer.json())), trace_id)

    def traces(self, service: str) -> Sight:
        """Traces of a service in the last hour; the sample is the newest's id."""
        now = int(time.time())
        found = self._get("/tempo/api/search", tags=f"service.name={service}", limit="50", start=str(now - 3600), end=str(now + 60)).get("traces") or []
        return Sight(len(found), str(found[0]["traceID"]) if found else "")

    def _get(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(path, params=parameters)
        answer.raise_for_status()
        return answer.json()
