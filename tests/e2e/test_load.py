"""A tenth of the baseline through the real stack: nothing is lost, the sinks catch up, the report has all its parts. How long it takes is not judged here."""

import json
from pathlib import Path

import httpx2
import psycopg
import pytest

from localdev.load.__main__ import main
from localdev.load.verdicts import PUSH_P99
from tests.conftest import Stack

pytestmark = pytest.mark.stack

TIMED = ("push p99", "2xx → topic p99", "event → queryable")


def test_a_tenth_of_the_baseline_loses_nothing_and_is_caught_up_with(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = strays(stack)
    code = main(["baseline", "--seconds", "20", "--share", "0.1", "--tenants", "10", "--report", str(tmp_path)])
    out, err = capsys.readouterr()
    assert (tmp_path / "report.json").exists(), out + err
    figures = json.loads((tmp_path / "report.json").read_text())

    failed = {one["what"] for one in figures["verdicts"] if not one["holds"]}
    assert not {what for what in failed if not what.startswith(TIMED)}, out + err
    assert code == bool(failed)
    sent = {row["backend"]: int(row["sent"].replace(",", "")) for row in figures["tables"]["Records in each backend"]}
    assert sent.keys() == {"loki", "opensearch", "prometheus", "tempo"}
    assert sent["loki"] == sent["opensearch"] == pytest.approx(4000, rel=0.3)
    assert sent["prometheus"] == pytest.approx(2000, rel=0.3)
    assert sent["tempo"] == pytest.approx(400, rel=0.6)
    assert all(len(found) >= 10 for found in figures["queryable"].values())
    assert len(figures["topic"]) >= 20
    assert {"gateway", "ingest_otlp", "trigger", "sink_loki", "kafka"} <= figures["moments"][0]["memory"].keys()
    assert f"≤ {PUSH_P99 * 1000:.0f} ms" in (tmp_path / "report.md").read_text()
    assert strays(stack) <= before, "nothing of it stays"


def strays(stack: Stack) -> set[str]:
    """Tenants of a load, and indices of tenants who aren't there; other tests leave some of those."""
    with psycopg.connect(stack.backends["postgres"]) as connection:
        tenants = {str(row[0]): str(row[1]) for row in connection.execute("SELECT id, name FROM tenants")}
    indices = {row["index"] for row in httpx2.get(f"{stack.backends['opensearch']}/_cat/indices/logs-tenant-*?format=json").json()}
    return {name for name in tenants.values() if name.startswith("load-")} | {index for index in indices if not any(tenant in index for tenant in tenants)}
