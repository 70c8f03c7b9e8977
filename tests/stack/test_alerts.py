"""What operators are told of: rules by Prometheus' own tool, a page for each alert, and no alert on a metric that nobody has."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.core import Metric

import localdev.trigger.metrics  # noqa: F401
import shared.telemetry.metrics  # noqa: F401 the functions' metrics register themselves
from localdev import monitoring
from localdev.backends import folders
from localdev.gateway import config
from localdev.gateway.status import Status
from localdev.install import servers
from localdev.manifests import monitoring as manifests
from localdev.paths import ROOT, STACK
from localdev.supervisor import metrics as supervisor
from localdev.trigger.lag import Lag

FOLDER = STACK / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
CASES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
PARTS = ["## What it means", "## Who notices", "## How to see", "## How to mend", "## When it ends"]
ELSEWHERE = {
    "up": "Prometheus itself",
    "kubelet_volume_stats_available_bytes": "the kubelet",
    "kubelet_volume_stats_capacity_bytes": "the kubelet",
    "probe_ssl_earliest_cert_expiry": "the blackbox exporter",
}
"""Metrics that aren't ours."""
LANGUAGE = {"sum", "max", "min", "and", "or", "unless", "absent", "changes", "clamp_min", "histogram_quantile", "increase", "label_replace", "min_over_time"}
LANGUAGE |= {"predict_linear", "rate", "time", "vector"}


@pytest.fixture(scope="session")
def promtool() -> str:
    """Compiled when it isn't there yet."""
    servers.install(servers.promtool, lambda _: None)
    return str(servers.promtool.binary())


def run(*words: str, folder: Path = FOLDER) -> str:
    """What it prints; its success is asked for."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_are_sound(promtool: str) -> None:
    """Templates in the annotations too."""
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")


def test_alerts_fire_when_they_should_and_else_not(promtool: str) -> None:
    run(promtool, "test", "rules", "alerts_test.yml")


def test_configuration_is_sound(promtool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laptop's with its rules, as it is at the start, and the containers'."""
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path))
    service = monitoring.service()
    assert service.prepare
    service.prepare()
    assert "1 rule files found" in run(promtool, "check", "config", str(folders.config(monitoring.NAME) / "prometheus.yml"))
    run(promtool, "check", "config", "--syntax-only", "compose.yml")


def test_every_job_of_the_template_is_filled() -> None:
    """One that is forgotten here would scrape nothing."""
    jobs = [job["job_name"] for job in yaml.safe_load((FOLDER / "compose.yml").read_text())["scrape_configs"]]
    assert set(jobs) == {"functions", *monitoring.JOBS}


def test_containers_file_is_current() -> None:
    for path, text in manifests.files().items():
        assert path.read_text() == text, "./task manifests"


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_how_urgent_it_is_what_is_and_what_to_do(name: str) -> None:
    rule, page = ALERTS[name], RUNBOOKS / f"{name}.md"
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"].endswith(f"/{page.relative_to(ROOT)}")
    text = page.read_text()
    assert text.startswith(f"# {name}\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == PARTS
    # Each part says something.
    assert all(len(part.split("\n", 1)[1].strip()) > 10 for part in text.split("\n## ")[1:])


def test_every_page_is_of_an_alert_and_in_the_list() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == set(ALERTS)
    assert set(re.findall(r"\]\((\w+)\.md\)", (RUNBOOKS / "README.md").read_text())) == pages


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    checks = [check for case in CASES for check in case["promql_expr_test"] if f'alertname="{name}"' in check["expr"]]
    assert {bool(check["exp_samples"]) for check in checks} == {True, False}


def test_every_metric_that_a_rule_names_is_somebodys() -> None:
    known = exposed() | ELSEWHERE.keys() | {rule["record"] for rule in RULES if "record" in rule}
    assert {name for rule in RULES for name in metrics_of(rule["expr"])} <= known


def metrics_of(expression: str) -> set[str]:
    """The names of metrics in a rule's expression."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)', " ", re.sub(r'"[^"]*"', " ", expression))
    return set(re.findall(r"(?<![\w:])[a-z_][\w:]*", bare)) - LANGUAGE


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (a, b) (rate(x_total{c=~"d|e{1}"}[5m])) / y:z:rate5m > 0.5', {"x_total", "y:z:rate5m"}),
        ('absent(up{job="functions"} == 1) or min_over_time(state[1m]) > 1e3', {"up", "state"}),
    ],
)
def test_names_are_found(expression: str, names: set[str]) -> None:
    assert metrics_of(expression) == names


def exposed() -> set[str]:
    """Names of all series of functions, trigger, supervisor and gateway."""
    gateway = Status(config.load(STACK / "kong" / "kong.yml"), {})
    families: list[Metric] = [*REGISTRY.collect(), *Lag._families(), *supervisor.Services(dict).collect(), *supervisor.Disks().collect()]
    families += gateway._registry.collect()
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    return {f"{family.name}{suffix}" for family in families for suffix in suffixes.get(family.type, ("",))}


def test_every_metric_of_ours_that_a_page_names_exists() -> None:
    """At three in the morning a query with a wrong name looks like good news."""
    named = {name for page in RUNBOOKS.glob("*.md") for name in re.findall(r"\bobstack_\w+", page.read_text())}
    assert named <= exposed()
