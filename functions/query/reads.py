"""Reads under way, counted per tenant in this instance: one tenant's dashboards must not take the backends from all others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from shared.contract import Reason
from shared.errors import Refused

RETRY_SECONDS = 1


class Reads:
    """Bounded by itself: only tenants with a read under way are remembered."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def one(self, tenant_id: str) -> Iterator[None]:
        """Hold it from the question to the backend until the answer's last byte. Raises Refused (429) when the tenant has as many under way as it may."""
        if self._under_way[tenant_id] >= self._most:
            raise Refused(Reason.LIMITED, f"over {self._most} reads at the same time", 429, retry_after=RETRY_SECONDS)
        self._under_way[tenant_id] += 1
        try:
            yield
        finally:
            self._under_way[tenant_id] -= 1
            if not self._under_way[tenant_id]:
                del self._under_way[tenant_id]
