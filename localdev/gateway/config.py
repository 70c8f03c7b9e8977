"""`stack/kong/kong.yml` → typed configuration. Strict: what the stand-in doesn't implement is refused, never ignored.

So whatever works here works behind Kong; the reverse is not promised. Field names and rules are Kong 3.x's declarative format, checked by `schema`; this module
refuses what Kong would do and the stand-in doesn't.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from localdev.gateway import schema
from localdev.gateway.schema import ConfigError

Value = TypeVar("Value", str, int, float, bool, list[Any], dict[str, Any])

_BYTES = {"megabytes": 1024 * 1024, "kilobytes": 1024, "bytes": 1}
_PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class Table:
    """A mapping of which every key must be taken: what is left over at `close` is an error. Types are the schema's business."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self._left = dict(raw)
        self.where = where

    def take(self, name: str, default: Value) -> Value:
        """The value, or Kong's default."""
        value: Value = self._left.pop(name, default)
        return value

    def expect(self, name: str, value: object) -> None:
        """The only value that the stand-in implements, and the only one it accepts; Kong's default is another."""
        if (given := self._left.pop(name, None)) != value:
            raise ConfigError(f"{self.where}.{name}: {given!r}; the stand-in knows only {value!r}")

    def close(self) -> None:
        """Nothing may be left."""
        if self._left:
            raise ConfigError(f"{self.where}: the stand-in doesn't know {', '.join(sorted(self._left))}")


@dataclass(frozen=True)
class HealthCheck:
    """Active checks of an upstream. Times in seconds, counts in a row; a count of 0 switches that kind off, as does an interval."""

    path: str
    timeout: float
    interval_healthy: float
    interval_unhealthy: float
    good: frozenset[int]
    bad: frozenset[int]
    successes: int
    http_failures: int
    timeouts: int
    tcp_failures: int


@dataclass(frozen=True)
class Upstream:
    """A Kong service with its upstream, of one target. Times in seconds."""

    host: str
    authority: str
    """What goes into the Host header."""
    connect_timeout: float
    read_timeout: float
    retries: int
    """Further tries when no connection comes about."""
    check: HealthCheck | None = None


@dataclass(frozen=True)
class CorrelationId:
    """Plugin correlation-id, generator uuid: a request without this header gets one."""

    header: str
    echo: bool


@dataclass(frozen=True)
class RateLimit:
    """Plugin rate-limiting, policy local: requests by a header's value, by the client's address where there is none."""

    scope: str
    """Where the plugin is configured: each place counts for itself."""
    header: str | None
    limits: tuple[tuple[str, int, int], ...]
    """Period, its seconds, requests."""
    status: int
    message: str


@dataclass(frozen=True)
class Closed:
    """Plugin request-termination: the only answer there is."""

    status: int
    message: str


@dataclass(frozen=True)
class Plugins:
    """The plugins that are on for a route; None, False or empty where one is not."""

    correlation_id: CorrelationId | None = None
    max_body_bytes: int | None = None
    rate_limit: RateLimit | None = None
    removed_headers: frozenset[str] = frozenset()
    """Lower case."""
    added: tuple[tuple[str, str], ...] = ()
    """What a response gets that hasn't got it."""
    closed: Closed | None = None
    metrics: frozenset[str] = frozenset()
    """Kinds of figures that plugin prometheus keeps of the route."""


@dataclass(frozen=True)
class Route:
    """Requests to such a path, with such headers, go there, path unchanged."""

    name: str
    service: str
    path: str
    upstream: Upstream
    plugins: Plugins = field(default_factory=Plugins)
    exact: bool = False
    """Whether the path is the whole path, not a prefix."""
    headers: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    grpc: bool = False

    def matches(self, path: str, headers: Mapping[str, str]) -> bool:
        """Whether this is the route of such a request."""
        if path != self.path if self.exact else not path.startswith(self.path):
            return False
        return all(pattern.search(headers.get(name, "")) for name, pattern in self.headers.items())


@dataclass(frozen=True)
class Config:
    """The whole file."""

    routes: tuple[Route, ...]
    """In Kong's order: more conditions first, then whole paths, then the longest prefix."""


def load(path: Path) -> Config:
    """Read the file. Raises ConfigError."""
    return _config(schema.read(path))


def parse(raw: Any) -> Config:
    """The file's content as configuration. Raises ConfigError."""
    schema.check(raw)
    return _config(raw)


def _config(raw: Mapping[str, Any]) -> Config:
    top = Table(raw, "kong.yml")
    top.expect("_format_version", "3.0")
    everywhere = _plugins(top.take("plugins", []), "")
    upstreams = {entry["name"]: entry for entry in top.take("upstreams", [])}
    routes = [route for entry in top.take("services", []) for route in _service(entry, upstreams, everywhere)]
    top.close()
    return Config(tuple(sorted(routes, key=lambda route: (-len(route.headers), not route.exact, -len(route.path)))))


def _service(raw: Mapping[str, Any], upstreams: Mapping[str, Any], everywhere: Mapping[str, Any]) -> list[Route]:
    table = Table(raw, f"services.{raw['name']}")
    name, url = table.take("name", ""), urlsplit(table.take("url", ""))
    scheme = table.take("protocol", "http") if not url.scheme else url.scheme
    if scheme not in {"http", "grpc"} or url.path:
        raise ConfigError(f"{table.where}.{'url' if url.scheme else 'protocol'}: the stand-in knows only http://host:port, and grpc as what it doesn't serve")
    authority = url.netloc or table.take("host", "")
    check = None
    if authority in upstreams:
        authority, check = _upstream(upstreams[authority])
    elif not url.netloc:
        authority = f"{authority}:{table.take('port', 80)}"
    upstream = Upstream(
        host=authority.partition(":")[0],
        authority=authority,
        connect_timeout=table.take("connect_timeout", 60000) / 1000,
        read_timeout=table.take("read_timeout", 60000) / 1000,
        retries=table.take("retries", 5),
        check=check if scheme == "http" else None,
    )
    table.take("tags", [])
    plugins = {**everywhere, **_plugins(table.take("plugins", []), f"{table.where}.")}
    routes = [route for entry in table.take("routes", []) for route in _routes(entry, table.where, Route("", name, "", upstream), plugins)]
    table.close()
    return routes


def _upstream(raw: Mapping[str, Any]) -> tuple[str, HealthCheck | None]:
    """The one target, and how it is checked."""
    table = Table(raw, f"upstreams.{raw['name']}")
    table.take("name", "")
    table.take("tags", [])
    targets = table.take("targets", [])
    if len(targets) != 1 or set(targets[0]) != {"target"}:
        raise ConfigError(f"{table.where}.targets: the stand-in knows only one, without weight and tags")
    checks = Table(table.take("healthchecks", {}), f"{table.where}.healthchecks")
    active = checks.take("active", {})
    check = _check(Table(active, f"{checks.where}.active")) if active else None
    checks.close()
    table.close()
    return targets[0]["target"], check


def _check(table: Table) -> HealthCheck | None:
    kind = table.take("type", "http")
    if kind not in {"http", "tcp"}:
        raise ConfigError(f"{table.where}.type: {kind!r}; the stand-in knows only http, and tcp as what it doesn't check")
    good, bad = Table(table.take("healthy", {}), f"{table.where}.healthy"), Table(table.take("unhealthy", {}), f"{table.where}.unhealthy")
    check = HealthCheck(
        path=table.take("http_path", "/"),
        timeout=table.take("timeout", 1.0),
        interval_healthy=good.take("interval", 0.0),
        interval_unhealthy=bad.take("interval", 0.0),
        good=frozenset(good.take("http_statuses", [200, 302])),
        bad=frozenset(bad.take("http_statuses", [429, 404, 500, 501, 502, 503, 504, 505])),
        successes=good.take("successes", 0),
        http_failures=bad.take("http_failures", 0),
        timeouts=bad.take("timeouts", 0),
        tcp_failures=bad.take("tcp_failures", 0),
    )
    for each in (good, bad, table):
        each.close()
    return check if kind == "http" else None


def _routes(raw: Mapping[str, Any], where: str, route: Route, plugins: Mapping[str, Any]) -> list[Route]:
    table = Table(raw, f"{where}.routes.{raw['name']}")
    grpc = "protocols" in raw and "grpc" in table.take("protocols", [])
    if not grpc and set(raw.get("protocols", ["http", "https"])) != {"http", "https"}:
        raise ConfigError(f"{table.where}.protocols: the stand-in has no TLS: it knows only http with https, and grpc with grpcs")
    for name in ("strip_path",) if grpc else ("strip_path", "request_buffering", "response_buffering"):
        table.expect(name, value=False)
    table.take("tags", [])
    headers = {name: _header(values, f"{table.where}.headers.{name}") for name, values in table.take("headers", {}).items()}
    own = Plugins(**{**plugins, **_plugins(table.take("plugins", []), f"{table.where}.")})
    whole = replace(route, name=table.take("name", ""), plugins=own, headers=headers, grpc=grpc)
    paths = [_path(path, f"{table.where}.paths") for path in table.take("paths", [])]
    table.close()
    return [replace(whole, path=path, exact=exact) for path, exact in paths]


def _path(path: str, where: str) -> tuple[str, bool]:
    """The path, and whether it is a whole one: `~/query$`, as Kong's regular expressions go."""
    if path.startswith("/"):
        return path, False
    if not re.fullmatch(r"~[/a-z0-9_-]+\$", path):
        raise ConfigError(f"{where}: {path!r}; the stand-in knows only prefixes and whole paths without special characters: ~/path$")
    return path[1:-1], True


def _header(values: Sequence[str], where: str) -> re.Pattern[str]:
    if len(values) != 1 or not values[0].startswith("~*"):
        raise ConfigError(f"{where}: the stand-in knows only one regular expression: ['~*…']")
    try:
        return re.compile(values[0][2:], re.IGNORECASE)
    except re.error as error:
        raise ConfigError(f"{where}: {values[0]!r} is no regular expression: {error}") from error


def _plugins(entries: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    """Fields of Plugins. One that is off is as if it weren't there, but must be right: it is there to be switched on."""
    settings: dict[str, Any] = {}
    for entry in entries:
        table = Table(entry, f"{where}plugins.{entry['name']}")
        name, on = table.take("name", ""), table.take("enabled", default=True)
        config = Table(table.take("config", {}), f"{table.where}.config")
        table.take("tags", [])
        fields = _KNOWN[name](config)
        config.close()
        table.close()
        settings.update(fields if on else {})
    return settings


def _correlation_id(config: Table) -> dict[str, Any]:
    config.expect("generator", "uuid")
    return {"correlation_id": CorrelationId(config.take("header_name", "Kong-Request-ID"), config.take("echo_downstream", default=False))}


def _size_limit(config: Table) -> dict[str, Any]:
    return {"max_body_bytes": config.take("allowed_payload_size", 128) * _BYTES[config.take("size_unit", "megabytes")]}


def _rate_limit(config: Table) -> dict[str, Any]:
    by, header = config.take("limit_by", "consumer"), config.take("header_name", "")
    if by not in {"header", "ip"}:
        raise ConfigError(f"{config.where}.limit_by: {by!r}; the stand-in knows only header and ip")
    config.expect("policy", "local")
    limits = tuple((period, seconds, config.take(period, 0)) for period, seconds in _PERIODS.items())
    given = tuple(limit for limit in limits if limit[2])
    status, message = config.take("error_code", 429), config.take("error_message", "API rate limit exceeded")
    return {"rate_limit": RateLimit(config.where, header if by == "header" else None, given, status, message)}


def _request_headers(config: Table) -> dict[str, Any]:
    remove = Table(config.take("remove", {}), f"{config.where}.remove")
    headers = remove.take("headers", [])
    remove.close()
    return {"removed_headers": frozenset(name.lower() for name in headers)}


def _response_headers(config: Table) -> dict[str, Any]:
    add = Table(config.take("add", {}), f"{config.where}.add")
    headers = add.take("headers", [])
    add.close()
    return {"added": tuple(tuple(pair.split(":", 1)) for pair in headers)}


def _closed(config: Table) -> dict[str, Any]:
    return {"closed": Closed(config.take("status_code", 503), config.take("message", "Service unavailable"))}


def _metrics(config: Table) -> dict[str, Any]:
    kinds = ("status_code_metrics", "latency_metrics", "bandwidth_metrics", "upstream_health_metrics")
    return {"metrics": frozenset(kind for kind in kinds if config.take(kind, default=False))}


_KNOWN: Mapping[str, Callable[[Table], dict[str, Any]]] = {
    "correlation-id": _correlation_id,
    "request-size-limiting": _size_limit,
    "rate-limiting": _rate_limit,
    "request-transformer": _request_headers,
    "response-transformer": _response_headers,
    "request-termination": _closed,
    "prometheus": _metrics,
}
