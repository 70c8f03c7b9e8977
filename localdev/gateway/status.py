"""Kong's status listener: plugin prometheus's figures at `/metrics`, by the names that Kong gives them, and `/status/ready`."""

from collections.abc import Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from localdev.gateway.config import Config, Route

_MS = (25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000)


class Status:
    """Counts what the proxy did, and tells it."""

    def __init__(self, config: Config, healthy: Mapping[str, bool]) -> None:
        self._healthy = healthy
        self._shown = {route.upstream.host for route in config.routes if not route.grpc and "upstream_health_metrics" in route.plugins.metrics}
        self._registry = CollectorRegistry()
        of = ("service", "route")
        self._requests = Counter("kong_http_requests", "Requests by status", (*of, "code"), registry=self._registry)
        self._ms = Histogram(
            "kong_request_latency_ms", "From the first byte of the request to the last of the answer", of, buckets=_MS, registry=self._registry
        )
        self._bytes = Counter("kong_bandwidth_bytes", "Bytes of bodies", (*of, "direction"), registry=self._registry)
        self._health = Gauge("kong_upstream_target_health", "1: in this state", ("upstream", "state"), registry=self._registry)

    def saw(self, route: Route, status: int, milliseconds: float, received: int, sent: int) -> None:
        """One request is over."""
        labels = {"service": route.service, "route": route.name}
        if "status_code_metrics" in route.plugins.metrics:
            self._requests.labels(**labels, code=status).inc()
        if "latency_metrics" in route.plugins.metrics:
            self._ms.labels(**labels).observe(milliseconds)
        if "bandwidth_metrics" in route.plugins.metrics:
            self._bytes.labels(**labels, direction="ingress").inc(received)
            self._bytes.labels(**labels, direction="egress").inc(sent)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer whoever asks the status listener."""
        if request.path == "/status/ready":
            return web.json_response({"message": "ready"})
        if request.path != "/metrics":
            return web.json_response({"message": "Not found"}, status=404)
        for host in self._shown:
            self._health.labels(host, "healthy").set(self._healthy[host])
            self._health.labels(host, "unhealthy").set(not self._healthy[host])
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
