"""Tempo as a single process, with an OTLP/gRPC receiver."""

from functools import partial
from typing import Any

from localdev.backends import folders, probe
from localdev.install import servers
from localdev.ports import ports
from localdev.service import Service

_NAME = "tempo"

WAL_SECONDS = "0.5"
"""Until what it said yes to is in its log: `flush_check_period` in tempo.yml, five times."""


def url() -> str:
    return f"http://127.0.0.1:{ports()['TEMPO_PORT']}"


def otlp() -> str:
    """Address of the gRPC receiver."""
    return f"127.0.0.1:{ports()['TEMPO_OTLP_PORT']}"


def spans(trace: Any) -> list[dict[str, Any]]:
    """All spans of a trace by its id, as JSON. Older Tempo calls scopes instrumentation libraries."""
    scopes = [scope for batch in trace["batches"] for scope in batch.get("scopeSpans") or batch.get("instrumentationLibrarySpans") or []]
    return [span for scope in scopes for span in scope["spans"]]


def service() -> Service:
    return Service(
        name=_NAME,
        command=lambda: [str(servers.tempo.binary()), f"-config.file={folders.config(_NAME) / 'tempo.yml'}"],
        # /ready speaks for the modules; a search goes through frontend, querier and ingester.
        ready=lambda: probe.http_ok(f"{url()}/ready") and probe.http_ok(f"{url()}/api/search/tags", {"X-Scope-OrgID": "probe"}),
        install=partial(servers.install, servers.tempo),
        prepare=_prepare,
        stop_seconds=20,
    )


def _prepare() -> None:
    folder = folders.make(folders.data(_NAME))
    folders.render("tempo/tempo.yml", folders.config(_NAME) / "tempo.yml", folders.values(DATA=folder))
