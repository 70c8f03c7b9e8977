"""What holds for all metrics of the functions."""

import platform
import re

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from shared.telemetry import metrics
from tests.told import told

ALL: list[Metric] = [metric for made in vars(metrics).values() if isinstance(made, MetricWrapperBase) for metric in made.describe()]
UNITS = ("_seconds", "_bytes")


def test_each_is_ours_and_explained() -> None:
    assert len(ALL) > 40
    for metric in ALL:
        assert re.fullmatch(r"obstack_[a-z_]+", metric.name), metric.name
        assert metric.documentation.endswith("."), metric.name
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_info")), f"{metric.name}: the library adds these"
        assert not re.search(r"_(milliseconds|ms|minutes|kilobytes|percent)\b", metric.name), f"{metric.name}: base units"
        if metric.type == "histogram":
            assert metric.name.endswith(UNITS), metric.name


def test_the_first_tenants_have_labels_of_their_own_and_the_others_share_one() -> None:
    tenants = metrics.Tenants(2)
    assert [tenants.label(name) for name in ("a", "b", "c", "a", "d", "b")] == ["a", "b", "other", "a", "other", "b"]


def test_no_tenant_takes_no_label() -> None:
    tenants = metrics.Tenants(1)
    assert [tenants.label(name) for name in ("", "a", "")] == ["", "a", ""]


def test_what_runs_is_told() -> None:
    metrics.tell_build("sink_loki", "1.2.3")
    assert told("obstack_build_info", function="sink_loki", version="1.2.3", python=platform.python_version()) == 1
