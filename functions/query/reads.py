"""Reads under way, counted in this instance: one tenant's dashboards must not take the backends from all others, nor all tenants' the memory."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from shared.contract import Reason
from shared.errors import Later, Refused
from shared.telemetry import metrics

RETRY_SECONDS = 1
MOST_IN_ALL = 500
"""An answer on its way through takes up to a quarter of a MiB (`relay`)."""


class Reads:
    """Bounded by itself: only tenants with a read under way are remembered. `days`: the longest time range of one; `what` they are called when too many."""

    def __init__(self, most: int, what: str = "reads", days: float = inf) -> None:
        self._most = most
        self.days = days
        self._what = what
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def one(self, tenant_id: str) -> Iterator[None]:
        """Hold it from the question to the backend until the answer's last byte.

        Raises Refused (429) when the tenant has as many under way as it may, Later when the instance has.
        """
        if self._under_way[tenant_id] >= self._most:
            metrics.LIMIT_HITS.labels(metrics.FEW_TENANTS.label(tenant_id), self._what).inc()
            raise Refused(Reason.LIMITED, f"over {self._most} {self._what} at the same time", 429, retry_after=RETRY_SECONDS)
        if self._under_way.total() >= MOST_IN_ALL:
            raise Later(f"too many {self._what} at the same time")
        self._under_way[tenant_id] += 1
        try:
            yield
        finally:
            self._under_way[tenant_id] -= 1
            if not self._under_way[tenant_id]:
                del self._under_way[tenant_id]
