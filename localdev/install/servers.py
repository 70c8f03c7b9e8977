"""The servers compiled from Go, with what each needs to compile at all."""

import os

from localdev.install import versions
from localdev.install.go_build import GoBuild, remove_caches
from localdev.service import Progress

collector = GoBuild("collector", versions.COLLECTOR, ".", wrapper="collector", needs_mb=1500)

bench_collector = GoBuild("bench_collector", versions.COLLECTOR, ".", wrapper="bench_collector", needs_mb=2000)
"""The Collector that ingest and sinks are measured against. Compiled when `./task bench` runs, so no stack waits for it."""

loki = GoBuild("loki", versions.LOKI, "github.com/grafana/loki/v3/cmd/loki", wrapper="loki", needs_mb=6000)

prometheus = GoBuild(
    "prometheus",
    versions.PROMETHEUS,
    "github.com/prometheus/prometheus/cmd/prometheus",
    # Service discovery for every cloud there is makes up most of the build, and isn't used here.
    tags="remove_all_sd",
    needs_mb=4000,
)

tempo = GoBuild(
    "tempo",
    versions.TEMPO,
    ".",
    wrapper="tempo",
    # Old packages reach into the runtime in ways that newer linkers refuse, in assembly that only links where there is a C compiler.
    tags="purego",
    ldflags="-s -w -checklinkname=0",
    needs_mb=4000,
)

logcli = GoBuild("logcli", versions.LOKI, "github.com/grafana/loki/v3/cmd/logcli", wrapper="loki", needs_mb=6000)

promtool = GoBuild("promtool", versions.PROMETHEUS, "github.com/prometheus/prometheus/cmd/promtool", tags="remove_all_sd", needs_mb=4000)

CLIENTS = "OBSTACK_CLIENTS"
"""Environment variable: set, the customers' clients `logcli` and `promtool` are compiled after the servers, with whose packages they are made in a minute.
Alone they take as long as the servers. The tests need them, the stack doesn't."""

prom_label_proxy = GoBuild("prom-label-proxy", versions.PROM_LABEL_PROXY, "github.com/prometheus-community/prom-label-proxy", needs_mb=1000)

kustomize = GoBuild("kustomize", versions.KUSTOMIZE, "sigs.k8s.io/kustomize/kustomize/v5", needs_mb=1000)
"""Compiled when the tests want it, in a minute."""

versitygw = GoBuild("versitygw", versions.VERSITYGW, "github.com/versity/versitygw/cmd/versitygw", needs_mb=1500)

_ALL = (collector, loki, prometheus, tempo, prom_label_proxy, versitygw)


def clients() -> tuple[GoBuild, ...]:
    """Those that are wanted."""
    return (logcli, promtool) if os.environ.get(CLIENTS) else ()


def install(build: GoBuild, progress: Progress) -> None:
    """Compile the server unless it is there; after the last of them, free the disk that compiling took. Raises InstallError."""
    build.component().install(progress)
    remove_caches((*_ALL, *clients()), progress)
