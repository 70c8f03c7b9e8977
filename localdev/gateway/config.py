"""`stack/kong/kong.yml` → typed configuration. Strict: what the stand-in doesn't implement is refused, never ignored.

So whatever works here works behind Kong; the reverse is not promised. Field names and rules are Kong 3.x's declarative format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import yaml

Value = TypeVar("Value", str, int, bool, list[Any], dict[str, Any])

_BYTES = {"megabytes": 1024 * 1024, "kilobytes": 1024, "bytes": 1}


class ConfigError(Exception):
    """The file asks for something that the stand-in doesn't do; says what and where."""


class Table:
    """A mapping of which every key must be taken: what is left over at `close` is an error."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, dict):
            raise ConfigError(f"{where}: a mapping is expected")
        self._left = dict(raw)
        self.where = where

    def take(self, name: str, kind: type[Value]) -> Value:
        """A required value of that type."""
        value = self._left.pop(name, None)
        if not isinstance(value, kind):
            raise ConfigError(f"{self.where}.{name}: {'missing' if value is None else f'{value!r} is not a {kind.__name__}'}")
        return value

    def take_or(self, name: str, default: Value) -> Value:
        """A value of the default's type."""
        return self.take(name, type(default)) if name in self._left else default

    def expect(self, name: str, value: object) -> None:
        """The only value that the stand-in implements, and the only one it accepts; Kong's default is another."""
        if self._left.pop(name, None) != value:
            raise ConfigError(f"{self.where}.{name}: the stand-in knows only {value!r}")

    def close(self) -> None:
        """Nothing may be left."""
        if self._left:
            raise ConfigError(f"{self.where}: the stand-in doesn't know {', '.join(sorted(self._left))}")


@dataclass(frozen=True)
class Upstream:
    """A Kong service. Times in seconds."""

    host: str
    authority: str
    """What goes into the Host header."""
    connect_timeout: float
    read_timeout: float
    retries: int
    """Further tries when no connection comes about."""


@dataclass(frozen=True)
class Route:
    """Paths that begin so go there, unchanged."""

    prefix: str
    upstream: Upstream


@dataclass(frozen=True)
class CorrelationId:
    """Plugin correlation-id, generator uuid: a request without this header gets one."""

    header: str
    echo: bool


@dataclass(frozen=True)
class Plugins:
    """The global plugins that are on; None or empty where one is not."""

    correlation_id: CorrelationId | None = None
    max_body_bytes: int | None = None
    removed_headers: frozenset[str] = frozenset()
    """Lower case."""


@dataclass(frozen=True)
class Config:
    """The whole file."""

    routes: tuple[Route, ...]
    """Longest prefix first, which is Kong's order."""
    plugins: Plugins


def load(path: Path) -> Config:
    """Read the file. Raises ConfigError."""
    return parse(yaml.safe_load(path.read_text()))


def parse(raw: object) -> Config:
    """The file's content as configuration. Raises ConfigError."""
    top = Table(raw, "kong.yml")
    top.expect("_format_version", "3.0")
    routes = [route for entry in top.take("services", list) for route in _service(entry)]
    plugins = _plugins(top.take_or("plugins", []))
    top.close()
    return Config(tuple(sorted(routes, key=lambda route: -len(route.prefix))), plugins)


def _service(raw: object) -> list[Route]:
    table = Table(raw, "services")
    table.where = f"services.{table.take('name', str)}"
    url = urlsplit(table.take("url", str))
    if url.scheme != "http" or not url.hostname or url.path:
        raise ConfigError(f"{table.where}.url: the stand-in knows only http://host:port")
    upstream = Upstream(
        host=url.hostname,
        authority=url.netloc,
        connect_timeout=table.take_or("connect_timeout", 60000) / 1000,
        read_timeout=table.take_or("read_timeout", 60000) / 1000,
        retries=table.take_or("retries", 5),
    )
    routes = [Route(prefix, upstream) for entry in table.take("routes", list) for prefix in _prefixes(entry, table.where)]
    table.close()
    return routes


def _prefixes(raw: object, where: str) -> list[str]:
    table = Table(raw, f"{where}.routes")
    table.where = f"{where}.routes.{table.take('name', str)}"
    for name in ("strip_path", "request_buffering", "response_buffering"):
        table.expect(name, value=False)
    prefixes = table.take("paths", list)
    table.close()
    for prefix in prefixes:
        if not isinstance(prefix, str) or not prefix.startswith("/"):
            raise ConfigError(f"{table.where}.paths: the stand-in knows only plain prefixes, not {prefix!r}")
    return prefixes


def _plugins(entries: list[Any]) -> Plugins:
    known = {"correlation-id": _correlation_id, "request-size-limiting": _size_limit, "request-transformer": _transformer}
    settings: dict[str, Any] = {}
    for entry in entries:
        table = Table(entry, "plugins")
        name = table.take("name", str)
        if name not in known:
            raise ConfigError(f"plugins.{name}: the stand-in doesn't know this plugin")
        config = Table(table.take("config", dict), f"plugins.{name}.config")
        settings.update(known[name](config))
        config.close()
        table.close()
    return Plugins(**settings)


def _correlation_id(config: Table) -> Mapping[str, Any]:
    config.expect("generator", "uuid")
    return {"correlation_id": CorrelationId(config.take_or("header_name", "Kong-Request-ID"), config.take_or("echo_downstream", default=False))}


def _size_limit(config: Table) -> Mapping[str, Any]:
    unit = config.take_or("size_unit", "megabytes")
    if unit not in _BYTES:
        raise ConfigError(f"{config.where}.size_unit: {unit!r} is none of {', '.join(_BYTES)}")
    return {"max_body_bytes": config.take_or("allowed_payload_size", 128) * _BYTES[unit]}


def _transformer(config: Table) -> Mapping[str, Any]:
    remove = Table(config.take("remove", dict), f"{config.where}.remove")
    headers = remove.take("headers", list)
    remove.close()
    return {"removed_headers": frozenset(str(name).lower() for name in headers)}
