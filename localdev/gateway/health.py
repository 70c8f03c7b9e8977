"""Active health checks of the upstreams: which of them get no requests for the time being. Each counts as healthy until it has failed often enough."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

import aiohttp

from localdev.gateway.config import Config, HealthCheck

log = logging.getLogger("gateway")


class Health:
    """What is known of the upstreams, by host."""

    def __init__(self, config: Config, addresses: Mapping[str, str], session: aiohttp.ClientSession) -> None:
        self._addresses = addresses
        self._session = session
        self._checks = {route.upstream.host: route.upstream.check for route in config.routes if route.upstream.check}
        self.healthy = dict.fromkeys((route.upstream.host for route in config.routes if not route.grpc), True)

    async def watch(self) -> None:
        """Check all of them, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for host, check in self._checks.items():
                group.create_task(self._watch(host, check))

    async def _watch(self, host: str, check: HealthCheck) -> None:
        in_a_row: Counter[str] = Counter()
        needed = {"ok": check.successes, "http": check.http_failures, "timeout": check.timeouts, "tcp": check.tcp_failures}
        while interval := check.interval_healthy if self.healthy[host] else check.interval_unhealthy:
            await asyncio.sleep(interval)
            what = await self._ask(f"{self._addresses[host]}{check.path}", check)
            if what is None:
                continue
            in_a_row = Counter({name: count for name, count in in_a_row.items() if (name == "ok") == (what == "ok")})
            in_a_row[what] += 1
            if 0 < needed[what] <= in_a_row[what] and self.healthy[host] != (what == "ok"):
                self.healthy[host] = what == "ok"
                log.warning("upstream %s is %s", host, "healthy" if what == "ok" else f"unhealthy: {what}")

    async def _ask(self, url: str, check: HealthCheck) -> str | None:
        """Which counter one check counts for; None for a status that says nothing."""
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(check.timeout), allow_redirects=False) as answer:
                return "ok" if answer.status in check.good else "http" if answer.status in check.bad else None
        except TimeoutError:
            return "timeout"
        except (aiohttp.ClientError, OSError):
            return "tcp"
