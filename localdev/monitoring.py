"""The operators' Prometheus beside the tenants' one, the same program: it scrapes whatever tells metrics, and watches stack/prometheus/alerts.yml."""

import json
from collections.abc import Iterable, Mapping
from typing import Final

from localdev import functions
from localdev.backends import folders, probe, prometheus_binary
from localdev.paths import STACK
from localdev.ports import ports
from localdev.service import Service

NAME: Final = "monitoring"
TEMPLATE: Final = "prometheus/monitoring.yml"
RETENTION: Final = ("--storage.tsdb.retention.time=3d", "--storage.tsdb.retention.size=512MB")
JOBS: Final = ("trigger", "gateway", "supervisor", "broker", "loki", "tempo", "prometheus", "monitoring")
"""Those of the template beside the functions'."""


def url() -> str:
    return f"http://127.0.0.1:{ports()['MONITORING_PORT']}"


def service() -> Service:
    """After the tenants' Prometheus, whose program it is."""
    return Service(
        name=NAME,
        command=_command,
        # Small: it has a few thousand series, and the machine has other things to do.
        env=lambda: {"GOMEMLIMIT": "192MiB", "GOMAXPROCS": "1"},
        ready=lambda: probe.http_ok(f"{url()}/-/ready"),
        after=("prometheus",),
        prepare=_prepare,
    )


def values(rules: str, function_addresses: Mapping[str, str], addresses: Mapping[str, str]) -> dict[str, object]:
    """What fills the template: names of functions, and of JOBS, → host:port. A job without an address scrapes nothing."""
    return {
        "RULES": rules,
        "FUNCTIONS": json.dumps([{"targets": [address], "labels": {"function": name}} for name, address in function_addresses.items()]),
        **{job.upper(): _targets([addresses[job]] if job in addresses else []) for job in JOBS},
    }


def _targets(addresses: Iterable[str]) -> str:
    return json.dumps([{"targets": list(addresses)}])


def _command() -> list[str]:
    return [
        str(prometheus_binary()),
        f"--config.file={folders.config(NAME) / 'prometheus.yml'}",
        f"--storage.tsdb.path={folders.data(NAME)}",
        f"--web.listen-address=127.0.0.1:{ports()['MONITORING_PORT']}",
        *RETENTION,
        "--log.level=warn",
    ]


def _prepare() -> None:
    folders.make(folders.data(NAME))
    here = {row.name: f"127.0.0.1:{row.metrics_port}" for row in functions.catalogue()}
    variables = {job: "GATEWAY_STATUS_PORT" if job == "gateway" else f"{job.upper()}_PORT" for job in JOBS if job != "broker"}  # Kafka tells nothing by HTTP
    addresses = {job: f"127.0.0.1:{ports()[variable]}" for job, variable in variables.items()}
    folders.render(TEMPLATE, folders.config(NAME) / "prometheus.yml", values(str(STACK / "prometheus" / "alerts.yml"), here, addresses))
