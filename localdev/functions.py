"""The catalogue `stack/functions.yml`, and each of its rows as a service: the server and target that the image uses, on a port of this machine.

A function gets the settings its row names and no others, so that one which reads more fails here and not first in production.
"""

import functools
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localdev import backends, processes, topics
from localdev.backends import loki, opensearch, prometheus, s3, tempo
from localdev.paths import ROOT, STACK, local
from localdev.ports import ports
from localdev.rows import rows
from localdev.service import Service
from shared import tokens
from shared.contract import OTLP_PREFIX


def session_secret() -> str:
    """What users' sessions are signed with: made once per `.local`, so that they outlive a restart; for the owner's eyes only."""
    return _kept("session-secret", lambda: secrets.token_hex(32))


def _kept(name: str, make: Callable[[], str]) -> str:
    path = local() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(make())
    return path.read_text()


KEYS = "kind port metrics_port websockets traces settings optional every trigger"
"""Of a row."""

PLATFORM_TENANT_ID = "0b57ac00-0000-4000-8000-000000000001"
"""Of the tenant that `seed` makes for those who run the pipeline; the same everywhere, so that the containers' file can name it."""

TRACE_RATIO = 0.05
"""Of the laptop's requests."""


def platform_token() -> str:
    """With which functions send their spans: made once per `.local`, before there is a database to put it into; for the owner's eyes only."""
    return _kept("platform-token", tokens.create)


def _otlp_headers() -> str:
    return f"authorization=Bearer%20{platform_token()}"


WITH = "OBSTACK_WITH"
"""Environment variable: names of optional functions, with commas."""

_SETTINGS: Mapping[str, Callable[[], str]] = {
    "KAFKA_BOOTSTRAP_SERVERS": topics.bootstrap_servers,
    "DATABASE_URL": backends.postgres_url,
    "LIMITS_STORAGE_URL": lambda: os.environ.get("LIMITS_STORAGE_URL", ""),  # there is no Redis on a laptop unless somebody has one
    "LOKI_URL": loki.url,
    "PROMETHEUS_URL": prometheus.url,
    "PROM_LABEL_PROXY_URL": prometheus.proxy_url,
    "TEMPO_URL": tempo.url,
    "TEMPO_OTLP_ENDPOINT": tempo.otlp,
    "TEMPO_WAL_SECONDS": lambda: tempo.WAL_SECONDS,
    "OPENSEARCH_URL": opensearch.url,
    "OPERATIONS_PROMETHEUS_URL": lambda: f"http://127.0.0.1:{ports()['MONITORING_PORT']}",  # localdev/monitoring, which scrapes what is listed here
    "PLATFORM_TENANT_ID": lambda: PLATFORM_TENANT_ID,
    "OTEL_EXPORTER_OTLP_ENDPOINT": lambda: f"http://127.0.0.1:{ports()['GATEWAY_PORT']}{OTLP_PREFIX}",
    "OTEL_EXPORTER_OTLP_HEADERS": _otlp_headers,
    "TRACE_RATIO": lambda: str(TRACE_RATIO),
    "SESSION_SECRET": session_secret,
    "S3_BUCKET": lambda: s3.BUCKET,
    "S3_ENDPOINT_URL": s3.url,
    "AWS_REGION": lambda: s3.REGION,
    "AWS_ACCESS_KEY_ID": lambda: s3.ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": s3.secret_key,
    "SINK_URLS": lambda: json.dumps({function.name: function.url for function in catalogue() if function.trigger}),
}
"""Asked for one by one, just before the start: the database's URL isn't known until the database was prepared."""

_AFTER = {"KAFKA_BOOTSTRAP_SERVERS": "kafka", "DATABASE_URL": "postgres"}
"""What a function waits for. A sink answers 503 while its backend is away and is called again, so none waits for a backend that compiles for minutes."""


@dataclass(frozen=True)
class Trigger:
    """What an event function is called for."""

    topics: tuple[str, ...]
    group: str
    in_flight: int
    """Records of one partition at a time; 1 keeps their order."""


@dataclass(frozen=True)
class Function:
    """A row of the catalogue."""

    name: str
    port: int
    settings: tuple[str, ...]
    trigger: Trigger | None
    """None when customers call the function, or a timer."""
    grpc_metrics_port: int | None = None
    """Of a function that serves gRPC itself: where it tells HTTP/1 how it is."""
    every: float | None = None
    """Seconds between a timer's calls; None when none calls it."""
    websockets: bool = False
    elsewhere: str = ""
    """Its URL, when it isn't on this machine."""

    @property
    def metrics_port(self) -> int:
        """Where `/metrics` is."""
        return self.grpc_metrics_port or self.port

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.elsewhere or f"http://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        """Its name in a cluster, where underscores are not allowed in host names."""
        return self.name.replace("_", "-")


def described() -> dict[str, dict[str, Any]]:
    """The file's rows by name, each with all its settings. Raises KeyError, ValueError."""
    path = STACK / "functions.yml"
    tracing = yaml.safe_load(path.read_text())["tracing"]
    return {name: {**row, "settings": [*row["settings"], *(tracing if row.get("traces") else ())]} for name, row in rows(path, "functions", KEYS).items()}


def catalogue(*, everything: bool = False) -> list[Function]:
    """All functions that are on; or `everything`, the optional ones too. Raises KeyError or ValueError for a row that isn't as the file's head says."""
    found, numbers = described() if everything else _switched_on(described()), ports()
    return [
        Function(
            name,
            numbers[row["port"]],
            tuple(row["settings"]),
            _trigger(row),
            numbers.get(row.get("metrics_port", "")),
            row.get("every"),
            row.get("websockets", False),
        )
        for name, row in found.items()
    ]


def _switched_on(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """All but the optional ones that nobody asked for. Raises ValueError for a wish that can't be met."""
    asked = {name for name in os.environ.get(WITH, "").split(",") if name}
    optional = {name for name, row in rows.items() if row.get("optional")}
    if unknown := asked - optional:
        raise ValueError(f"{', '.join(sorted(unknown))}: not an optional function; there are: {', '.join(sorted(optional))}")
    return {name: row for name, row in rows.items() if name not in optional - asked}


def _trigger(row: Mapping[str, object]) -> Trigger | None:
    match row:
        case {"kind": "http"} | {"kind": "grpc", "metrics_port": str()} | {"kind": "timer", "every": int() | float()}:
            return None
        case {"kind": "event", "trigger": {"topics": [*topics], "group": str(group), "ordering": "ordered", **rest}} if not rest:
            return Trigger(tuple(topics), group, 1)
        case {"kind": "event", "trigger": {"topics": [*topics], "group": str(group), "ordering": "unordered", "in_flight": int(in_flight), **rest}} if not rest:
            return Trigger(tuple(topics), group, in_flight)
    raise ValueError(f"functions.yml: not a function: {row}")


def services() -> list[Service]:
    """One service a row."""
    return [_service(function) for function in catalogue()]


def _service(function: Function) -> Service:
    return Service(
        name=function.name,
        command=functools.partial(_command, function),
        env=functools.partial(_environment, function),
        ready=processes.answers(f"http://127.0.0.1:{function.metrics_port}/{'metrics' if function.grpc_metrics_port else 'readyz'}"),
        after=tuple(service for setting, service in _AFTER.items() if setting in function.settings),
        cwd=ROOT,
    )


def _command(function: Function) -> list[str]:
    if function.grpc_metrics_port:
        return [sys.executable, "-m", f"functions.{function.name}.main"]
    server = Path(sys.executable).with_name("uvicorn")
    options = ["--host", "127.0.0.1", "--port", str(function.port), "--loop", "uvloop", "--http", "httptools"]
    # A client has little to say on a WebSocket; what it says, and how it is compressed, is bounded here.
    sockets = ["--ws", "websockets-sansio", "--ws-max-size", "4096", "--ws-per-message-deflate", "false"] if function.websockets else ["--ws", "none"]
    quiet = ["--no-access-log", "--no-server-header", "--no-proxy-headers", "--log-level", "warning", "--timeout-graceful-shutdown", "30"]
    return [str(server), *options, *sockets, *quiet, f"functions.{function.name}.main:app"]


# A batch of over 128 KiB would be mapped, touched page by page and unmapped again, several times a request: a tenth of the CPU of 512 log records.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024)}


def _environment(function: Function) -> dict[str, str]:
    given = {name: _SETTINGS[name]() for name in function.settings}
    if function.grpc_metrics_port:
        given |= {"PORT": str(function.port), "METRICS_PORT": str(function.grpc_metrics_port)}
    return {"FUNCTION_NAME": function.name, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **_MALLOC, **given}
