"""A tenant's requests and bytes per second, as its plan allows: Refused with 429 and the seconds to wait, before anything was published.

Two buckets per tenant, each as the one moment at which it will be full again (GCRA), in this process; or, with `limits_storage_url`, windows in Redis that
all instances count in. A body larger than what is left is taken once and makes a debt that the next ones wait for: refusing it would refuse it for ever.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from time import monotonic, time
from typing import Any, Generic, ParamSpec, Self, TypeVar

from shared.contract import Reason
from shared.errors import Refused
from shared.settings import Database as Settings
from shared.telemetry import metrics
from shared.tenant import Limits, Tenant

log = logging.getLogger(__name__)

TIDY_AT = 10_000
"""Tenants remembered before those whose buckets are full again are forgotten."""
SHARED_SECONDS, AWAY_SECONDS = 0.25, 5.0
"""How long the shared storage may take, and how long it isn't asked again after it failed; meanwhile each process counts for itself."""


class Windows:
    """Windows in Redis or Valkey, by the library `limits`, as the strategy `windows` with items `item(amount, seconds)`."""

    def __init__(self, url: str) -> None:
        from limits import RateLimitItemPerSecond  # noqa: PLC0415 only who shares limits carries the library and its client
        from limits.aio.strategies import FixedWindowRateLimiter  # noqa: PLC0415 as above
        from limits.storage import storage_from_string  # noqa: PLC0415 as above

        options = {"implementation": "redispy"} if url.startswith("redis") else {}
        self._storage: Any = storage_from_string(f"async+{url}", **options)
        self.windows = FixedWindowRateLimiter(self._storage)
        self.item = RateLimitItemPerSecond

    async def close(self) -> None:
        """Close the client's connections."""
        client = getattr(getattr(self._storage, "bridge", None), "storage", None)
        if client is not None:
            await client.aclose()


S = TypeVar("S", bound=Windows)
P = ParamSpec("P")


class Sharing(Generic[S]):
    """Asks a storage that instances share, if there is one, and not for long. Open what is made of it in `start` (`async with`)."""

    def __init__(self, settings: Settings, shared: Callable[[str], S], clock: Callable[[], float]) -> None:
        url = settings.limits_storage_url
        self._shared = shared(url.get_secret_value()) if url else None
        self._clock = clock
        self._away_until = float("-inf")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._shared:
            await self._shared.close()

    async def _ask(self, question: Callable[P, Awaitable[None]], *given: P.args, **named: P.kwargs) -> bool:
        """Whether the shared storage could be asked. Raises Refused if it said no."""
        if self._clock() < self._away_until:
            return False
        try:
            async with asyncio.timeout(SHARED_SECONDS):
                await question(*given, **named)
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 each of its clients has errors of its own, and none may stop a batch
            self._away_until = self._clock() + AWAY_SECONDS
            log.warning("limits' storage can't be asked, each process counts for itself: %s", type(error).__name__)
            return False
        return True


class Limiter(Sharing["Shared"]):
    """A tenant's rates."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(settings, Shared, clock)
        self._local = Local(clock)

    async def check(self, tenant: Tenant, bytes_: int = 0) -> None:
        """Count a request of so many bytes. Raises Refused (429, `retry_after`).

        Called before the body is read, with what is known of its size, so that refusing is cheap; `charge` adds the rest.
        """
        if self._shared is None or not await self._ask(self._shared.check, tenant, bytes_):
            self._local.check(tenant, bytes_)

    async def charge(self, tenant: Tenant, bytes_: int) -> None:
        """Count bytes of a request that was let in already. Never refuses."""
        if self._shared is None or not await self._ask(self._shared.charge, tenant, bytes_):
            self._local.charge(tenant, bytes_)


class Local:
    """Buckets in memory. Bounded by the tenants that sent something within their burst time, and these have good tokens."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._full_at: dict[str, list[float]] = {}
        self._tidy_at = TIDY_AT

    def check(self, tenant: Tenant, bytes_: int) -> None:
        """See Limiter."""
        limits, now = tenant.limits, self._clock()
        full_at = self._full_at.get(tenant.id)
        if full_at is None:
            full_at = self._add(tenant.id, now)
        requests, volume = full_at
        if requests < now:  # noqa: PLR1730 max() takes twice the time of all the rest
            requests = now
        if volume < now:  # noqa: PLR1730 as above
            volume = now
        latest = now + limits.burst_seconds
        if requests >= latest or volume >= latest:
            what, rate = ("requests", limits.requests_per_second) if requests >= latest else ("bytes", limits.bytes_per_second)
            raise _refused(tenant, what, rate, max(requests, volume) - latest)
        full_at[0] = requests + 1 / limits.requests_per_second
        full_at[1] = volume + bytes_ / limits.bytes_per_second

    def charge(self, tenant: Tenant, bytes_: int) -> None:
        """See Limiter."""
        now = self._clock()
        full_at = self._full_at.get(tenant.id) or self._add(tenant.id, now)
        full_at[1] = max(full_at[1], now) + bytes_ / tenant.limits.bytes_per_second

    def _add(self, tenant_id: str, now: float) -> list[float]:
        if len(self._full_at) >= self._tidy_at:
            self._full_at = {key: full_at for key, full_at in self._full_at.items() if max(full_at) > now}
            self._tidy_at = max(TIDY_AT, 2 * len(self._full_at))  # so that tidying stays cheap per tenant when none can be forgotten
        return self._full_at.setdefault(tenant_id, [now, now])


class Shared(Windows):
    """Windows of the plan's burst time. Coarser than buckets: a window's end forgives its debt."""

    async def check(self, tenant: Tenant, bytes_: int) -> None:
        """See Limiter."""
        requests, volume = self._items(tenant.limits)
        taken, room = await asyncio.gather(self.windows.hit(requests, "requests", tenant.id), self.windows.test(volume, "bytes", tenant.id))
        for allowed, item, what, rate in (
            (taken, requests, "requests", tenant.limits.requests_per_second),
            (room, volume, "bytes", tenant.limits.bytes_per_second),
        ):
            if not allowed:
                raise _refused(tenant, what, rate, (await self.windows.get_window_stats(item, what, tenant.id)).reset_time - time())
        if bytes_:
            await self.charge(tenant, bytes_)

    async def charge(self, tenant: Tenant, bytes_: int) -> None:
        """See Limiter."""
        await self.windows.hit(self._items(tenant.limits)[1], "bytes", tenant.id, cost=bytes_)

    def _items(self, limits: Limits) -> tuple[Any, Any]:
        seconds = math.ceil(limits.burst_seconds)
        return self.item(_whole(limits.requests_per_second * seconds), seconds), self.item(_whole(limits.bytes_per_second * seconds), seconds)


LATEST_SECONDS = 30
"""What a client is told to wait at most: OpenTelemetry's drop a batch at once when they are told longer than their retries last."""


def _whole(amount: float) -> int:
    return max(1, int(min(amount, 2**53)))


def _refused(tenant: Tenant, what: str, rate: float, seconds: float) -> Refused:
    metrics.LIMIT_HITS.labels(metrics.FEW_TENANTS.label(tenant.id), what).inc()
    return Refused(Reason.LIMITED, f"over the plan's {rate:g} {what} per second", 429, retry_after=min(max(1, math.ceil(seconds)), LATEST_SECONDS))
