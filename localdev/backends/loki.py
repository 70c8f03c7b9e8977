"""Loki as a single process."""

from functools import partial

from localdev.backends import folders, probe
from localdev.install import servers
from localdev.ports import ports
from localdev.service import Service

_NAME = "loki"


def url() -> str:
    return f"http://127.0.0.1:{ports()['LOKI_PORT']}"


def service() -> Service:
    return Service(
        name=_NAME,
        command=lambda: [str(servers.loki.binary()), f"-config.file={folders.config(_NAME) / 'loki.yml'}"],
        # /ready speaks for the modules; a query goes through frontend, querier and ingester.
        ready=lambda: probe.http_ok(f"{url()}/ready") and probe.http_ok(f"{url()}/loki/api/v1/labels", {"X-Scope-OrgID": "probe"}),
        install=partial(servers.install, servers.loki),
        prepare=_prepare,
        stop_seconds=20,
    )


def _prepare() -> None:
    folder = folders.make(folders.data(_NAME))
    folders.render("loki/loki.yml", folders.config(_NAME) / "loki.yml", folders.values(DATA=folder))
