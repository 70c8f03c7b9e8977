"""The real backends as supervised processes: broker, database, and the stores of logs, metrics and traces."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from localdev.backends import kafka, loki, opensearch, postgres, prometheus, s3, tempo
from localdev.backends.postgres import postgres_url
from localdev.backends.prometheus import TENANT_HEADER, prometheus_binary
from localdev.install import servers
from localdev.ports import ports
from localdev.service import Progress, Service

__all__ = ["TENANT_HEADER", "collector_binary", "install_steps", "postgres_url", "prometheus_binary", "services", "urls"]

InstallStep = tuple[str, Callable[[Progress], None]]


def services() -> list[Service]:
    """In the order in which they are wanted: a batch needs broker and database first, then somewhere to go."""
    return [kafka.service(), postgres.service(), opensearch.service(), loki.service(), prometheus.service(), tempo.service(), prometheus.proxy(), s3.service()]


def urls() -> dict[str, str]:
    """Where the backends are. `postgres` holds its password, so call this only after PostgreSQL was prepared."""
    return {
        "kafka": f"127.0.0.1:{ports()['KAFKA_PORT']}",
        "postgres": postgres_url(),
        "opensearch": opensearch.url(),
        "loki": loki.url(),
        "prometheus": prometheus.url(),
        "prom_label_proxy": prometheus.proxy_url(),
        "tempo": tempo.url(),
        "tempo_otlp": tempo.otlp(),
        "s3": s3.url(),
    }


def collector_binary() -> Path:
    """An OpenTelemetry Collector (otlp → batch → otlp_http), a customer's. There once the step `collector` is done."""
    return servers.collector.binary()


def install_steps() -> list[InstallStep]:
    """Everything to install, most wanted first: downloads that let the first log arrive, then compilations, beginning with the Collector that sends it."""
    wanted = {service.name: service.install for service in services() if service.install}
    first = [(name, wanted.pop(name)) for name in ("kafka", "postgres", "opensearch")]
    compiled: list[InstallStep] = [("collector", partial(servers.install, servers.collector))]
    compiled += [(name, wanted.pop(name)) for name in ("s3", "loki", "prometheus", "prom_label_proxy", "tempo")]
    compiled += [(build.name, partial(servers.install, build)) for build in servers.clients()]
    return [*first, *compiled, *wanted.items()]
