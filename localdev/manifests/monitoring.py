"""The operators' Prometheus in containers: the laptop's template with the addresses of stack/compose.yaml. Prometheus fills in no variables there itself."""

from pathlib import Path
from string import Template
from typing import Final

from localdev import monitoring
from localdev.manifests.knative import GRPC_METRICS_PORT, PORT
from localdev.manifests.rows import functions
from localdev.paths import STACK

_ADDRESSES: Final = {
    "trigger": "trigger:8120",
    "gateway": "kong:8100",
    "broker": "redpanda:9644",
    "loki": "loki:3100",
    "tempo": "tempo:3200",
    "prometheus": "prometheus:9090",
    "monitoring": "localhost:9090",
}


def files() -> dict[Path, str]:
    """Path → text."""
    addresses = {row.name: f"{row.host}:{GRPC_METRICS_PORT if row.is_grpc else PORT}" for row in functions() if not row.optional}
    template = (STACK / monitoring.TEMPLATE).read_text()
    values = monitoring.values("/etc/prometheus/alerts.yml", addresses, _ADDRESSES)
    head = f"# Made by ./task manifests of stack/{monitoring.TEMPLATE}; change that.\n"
    return {STACK / "prometheus" / "compose.yml": head + Template(template).substitute(values)}
