"""What each customer must see in each backend, and the other one must not."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic, sleep, time
from typing import Any

import httpx2

from localdev.demo.customer import Customer, Sight

PATIENCE_SECONDS = 120.0
"""Until something that was accepted must be visible, killed processes and all; the usual time is shown."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Check:
    """One look into one backend: `look` as the owner must find `at_least` (and `at_most`), as the other one nothing."""

    backend: str
    signal: str
    look: Callable[[Customer], Sight]
    at_least: int = 1
    at_most: int | None = None
    happened_at: float | None = None
    """When the newest of it happened, in seconds since 1970; None when that can't be told."""


@dataclass(frozen=True)
class Result:
    """What came of a check."""

    check: Check
    owner: str
    seen: Sight
    seconds: float | None
    """From the event to its being visible."""
    other: int
    error: str = ""

    @property
    def holds(self) -> bool:
        """All there, none of it to be seen by the other one."""
        enough = self.seen.count >= self.check.at_least and (self.check.at_most is None or self.seen.count <= self.check.at_most)
        return enough and self.other == 0 and not self.error


def of_program(sent: Mapping[str, Any], run: str) -> list[Check]:
    """What the program sent (program.py) through the Collector, to the record."""
    logs, spans, ended = sent["logs"], sent["spans"], sent["ended_at"]
    selector = f'{{service_name="indexer"}} |= "{run}"'
    # Over time: an instant query looks back five minutes, and this may have waited longer than that for its backend to be compiled.
    files = f'sum(last_over_time(indexer_files_total{{run="{run}"}}[2h]))'
    return [
        Check("Loki", "log lines", lambda customer: customer.loki(selector), logs, logs, ended),
        Check("OpenSearch", "log records", lambda customer: customer.opensearch(run), logs, logs, ended),
        Check("Prometheus", "files counted", lambda customer: _value(customer, files), sent["files"], sent["files"], ended),
        Check("Tempo", "spans", lambda customer: customer.trace(sent["trace_id"]), spans, spans, ended),
    ]


def of_pipeline(marker: str, marked_at: float) -> list[Check]:
    """What the second customer gets of the pipeline: the line that a request for `/<marker>` left in the gateway's log, its metrics, the shipper's traces."""
    return [
        Check("Loki", "log lines", lambda customer: customer.loki(f'{{service_name="gateway"}} |= "{marker}"'), 1, 1, marked_at),
        Check("OpenSearch", "log records", lambda customer: customer.opensearch(marker), 1, 1, marked_at),
        Check("Prometheus", "series of up", lambda customer: customer.prometheus("up"), 10),
        Check("Prometheus", "fresh sample", lambda customer: customer.prometheus(f'timestamp(up{{job="pipeline"}}) >= {marked_at:.3f}'), 1, None, marked_at),
        Check("Tempo", "traces", lambda customer: customer.traces("log-shipper"), 1),
    ]


def run(checks: list[Check], owner: Customer, other: Customer) -> list[Result]:
    """Look until each holds, all at the same time; then look as the other one."""
    with ThreadPoolExecutor(len(checks)) as pool:
        return list(pool.map(lambda check: _run(check, owner, other), checks))


def _run(check: Check, owner: Customer, other: Customer) -> Result:
    seen, error = Sight(0), ""
    deadline = monotonic() + PATIENCE_SECONDS
    while monotonic() < deadline:
        try:
            seen, error = check.look(owner), ""
        except (httpx2.HTTPError, KeyError) as failure:  # a backend that is being restarted
            error = f"{type(failure).__name__}: {failure}"
        if not error and seen.count >= check.at_least:
            break
        sleep(_POLL_SECONDS)  # nobody tells a reader that something became visible
    seconds = time() - check.happened_at if check.happened_at is not None else None
    try:
        others = check.look(other).count
    except (httpx2.HTTPError, KeyError) as failure:
        others, error = 0, error or f"as the other customer: {failure}"
    return Result(check, owner.name, seen, seconds, others, error)


def _value(customer: Customer, query: str) -> Sight:
    """The value of a query as the count."""
    sight = customer.prometheus(query)
    return Sight(int(float(sight.sample)), sight.sample) if sight.count else sight
