"""Prometheus, the metrics store of all tenants, and prom-label-proxy, which confines a query to one of them."""

from functools import partial
from pathlib import Path

from localdev.backends import folders, probe
from localdev.install import servers
from localdev.ports import ports
from localdev.service import Service

_NAME = "prometheus"
_PROXY = "prom_label_proxy"
TENANT_HEADER = "X-Obstack-Tenant"
"""Names the tenant to prom-label-proxy. Two such headers would mean both tenants, so whoever calls it sends exactly one and passes on none of a client's."""


def url() -> str:
    return f"http://127.0.0.1:{ports()['PROMETHEUS_PORT']}"


def proxy_url() -> str:
    return f"http://127.0.0.1:{ports()['PROM_LABEL_PROXY_PORT']}"


def service() -> Service:
    return Service(
        name=_NAME,
        command=_command,
        ready=lambda: probe.http_ok(f"{url()}/-/ready") and probe.http_ok(f"{url()}/api/v1/query?query=vector(1)"),
        install=partial(servers.install, servers.prometheus),
        prepare=_prepare,
    )


def proxy() -> Service:
    return Service(
        name=_PROXY,
        command=_proxy_command,
        # Through to Prometheus: a query of constants reads no tenant's series.
        ready=lambda: probe.http_ok(f"{proxy_url()}/api/v1/query?query=vector(1)", {TENANT_HEADER: "probe"}),
        after=(_NAME,),
        install=partial(servers.install, servers.prom_label_proxy),
    )


def prometheus_binary() -> Path:
    """For a second Prometheus, a customer's. There once `prometheus` is installed."""
    return servers.prometheus.binary()


def _command() -> list[str]:
    return [
        str(prometheus_binary()),
        f"--config.file={folders.config(_NAME) / 'prometheus.yml'}",
        f"--storage.tsdb.path={folders.data(_NAME)}",
        f"--web.listen-address=127.0.0.1:{ports()['PROMETHEUS_PORT']}",
        "--storage.tsdb.retention.time=7d",
        "--web.enable-remote-write-receiver",
        "--web.enable-otlp-receiver",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]


def _prepare() -> None:
    folders.make(folders.data(_NAME))
    folders.render("prometheus/prometheus.yml", folders.config(_NAME) / "prometheus.yml", folders.values())


def _proxy_command() -> list[str]:
    return [
        str(servers.prom_label_proxy.binary()),
        f"-insecure-listen-address=127.0.0.1:{ports()['PROM_LABEL_PROXY_PORT']}",
        f"-upstream={url()}",
        "-label=tenant_id",
        f"-header-name={TENANT_HEADER}",
        "-enable-label-apis",
        # A matcher of the client's own on tenant_id can't widen the answer either way: the proxy drops it and adds its own. But dropping it in silence
        # would answer another question than was asked, so a matcher that excludes the tenant is an error (400), and one that includes it (its id, =~".+")
        # is not.
        "-error-on-replace",
        # What is nobody's data: which version this is, and a query's text told in another form.
        "-unsafe-passthrough-paths=/api/v1/status/buildinfo,/api/v1/format_query,/api/v1/parse_query",
    ]
