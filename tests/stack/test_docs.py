"""docs/sizing.md, security.md and upgrade.md name values that are shipped, and reckon rightly with them."""

import inspect
import math
import re

import pytest

from functions.query import parameters
from localdev import topics
from localdev.manifests.rows import functions
from localdev.paths import ROOT, STACK
from shared import database
from shared.contract import MAX_BODY_BYTES
from shared.settings import OpenSearchSetup, Sessions, Settings

TEXT = {name: (ROOT / "docs" / f"{name}.md").read_text() for name in ("sizing", "security", "upgrade", "performance")}
SCALE = {row.name: row.scale for row in functions()}
MIB = 1024 * 1024


def default(part: type[Settings], name: str) -> int:
    """A setting's."""
    return int(part.model_fields[name].default)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("sizing", f"`max` in `stack/scale.yml`, which is {SCALE['sink_opensearch']['max']}"),
        ("sizing", f"`OPENSEARCH_DELETE_DAYS` ({default(OpenSearchSetup, 'opensearch_delete_days')})"),
        ("sizing", f"`MEMORY_BYTES` ({default(Settings, 'memory_bytes') // MIB} MiB)"),
        ("security", f"`MEMORY_BYTES`, {default(Settings, 'memory_bytes') // MIB} MiB"),
        ("security", f"{MAX_BODY_BYTES // MIB} MiB decompressed"),
        ("security", f"{default(Sessions, 'reads_per_tenant')} at a time and {default(Sessions, 'tails_per_tenant')} tails"),
        (
            "security",
            f"{default(Sessions, 'read_days')} days, {parameters.MAX_QUERY_STRING // 1024} KiB of query string, {parameters.MAX_FORM // MIB} MiB of form",
        ),
    ],
)
def test_value_is_the_shipped_one(page: str, words: str) -> None:
    assert words in TEXT[page]


def test_partitions_and_retention_are_the_shipped_ones() -> None:
    customers = [topic for topic in topics.declared() if topic.name != "telemetry.dead-letters"]
    assert {topic.partitions for topic in customers} == {8}
    assert "Eight for each topic" in TEXT["sizing"]
    assert {int(topic.config["retention.ms"]) // 3_600_000 for topic in customers} == {72}
    assert "1Ti" in (STACK / "knative" / "prod" / "kustomization.yaml").read_text()
    assert "max_size=4" in inspect.getsource(database)
    assert "four connections" in TEXT["sizing"]


def first(row: str, cell: int) -> float:
    """The first figure of a cell of performance.md."""
    line = next(line for line in TEXT["performance"].splitlines() if line.startswith(f"| {row} |"))
    return float(line.split("|")[cell + 1].split("/")[0].split(",")[0])


@pytest.mark.parametrize(
    ("row", "cell", "records", "reckoned"),
    [
        ("512 log records, gzip, 1 tenant", 2, 0.512, 2.1),
        ("10 log records, gzip, 1,000 tenants", 2, 0.010, 12.6),
        ("512 log records a record, 1 tenant", 1, 1, 0.99),
        ("10 log records a record, 100 tenants", 1, 1, 24.4),
        ("512 log records, 8 under way, all on all cores", 3, 1, 11.8),
        ("10 log records, 8 under way, all on all cores", 3, 1, 50.7),
        ("512 log records, 8 under way, all on all cores", 4, 1, 72.3),
        ("10 log records, 8 under way, all on all cores", 4, 1, 207),
    ],
)
def test_costs_are_about_those_that_were_measured(row: str, cell: int, records: float, reckoned: float) -> None:
    """In µs. A measurement that is far from them wants new figures in the page: less than half, or half as much again."""
    assert 0.5 * reckoned < first(row, cell) / records < 1.5 * reckoned
    assert f"{reckoned:g}" in TEXT["sizing"]


def test_terabyte_is_reckoned_rightly() -> None:
    """Cores and instances of the rows that name a function: average, three times that, over 0.6."""
    rate = 1e12 / 86_400 / 318
    costs = {"ingest": (2.1, 12.6), "sink_loki": (0.99, 24.4), "sink_opensearch": (11.8, 50.7)}
    found = re.findall(r"^\| (?:`\w+`, 512[^|]*|10[^|]*) \|([^|]*)\|([^|]*)\|([^|]*)\|$", TEXT["sizing"], re.MULTILINE)
    assert len(found) >= 6
    for cost, (average, peak, instances) in zip([cost for pair in costs.values() for cost in pair], found, strict=False):
        cores = rate * cost / 1e6
        assert float(average.rpartition("=")[2]) == pytest.approx(cores, abs=0.06 if cores > 0.1 else 0.006)
        assert float(peak) == pytest.approx(3 * cores, abs=0.06 if cores > 0.1 else 0.006)
        assert int(instances.split(":")[0]) == max(2, math.ceil(3 * cores / 0.6))
