"""Tables of what was measured: on the terminal, and in docs/performance.md between the markers of each measurement."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich import table as rich_table
from rich.console import Console

from localdev.install import versions
from localdev.paths import ROOT

PAGE = ROOT / "docs" / "performance.md"
_BACKENDS = {
    "PostgreSQL": "16",
    "Loki": versions.LOKI,
    "OpenSearch": versions.OPENSEARCH,
    "Prometheus": versions.PROMETHEUS,
    "prom-label-proxy": versions.PROM_LABEL_PROXY,
    "Tempo": versions.TEMPO,
}


@dataclass(frozen=True)
class Table:
    """Columns and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        """The first column to the left, figures to the right."""
        lines = [self.columns, ("---", *["---:"] * (len(self.columns) - 1)), *self.rows]
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def print(self, console: Console) -> None:
        columns = rich_table.Table(title=self.title, title_justify="left")
        for position, name in enumerate(self.columns):
            columns.add_column(name, justify="right" if position else "left", no_wrap=not position)
        for row in self.rows:
            columns.add_row(*row)
        console.print(columns)


def machine(backends: Sequence[str]) -> str:
    """What the figures depend on, in a line; of the backends only these and the broker."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "confluent-kafka", "protobuf", "functions-framework"))
    used = ", ".join(f"{name} {_BACKENDS[name]}" for name in backends)
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {packages}; Collector {versions.COLLECTOR} (Go {versions.GO}), Kafka {versions.KAFKA}, {used}"
    )


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def write(measurement: str, facts: Sequence[str], tables: Sequence[Table], page: Path = PAGE) -> None:
    """Replace what lies between the measurement's markers. Raises ValueError when the page has none."""
    begin, end = f"<!-- bench {measurement} -->", f"<!-- end of bench {measurement} -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no markers {begin} and {end}")
    block = "\n\n".join([begin, *facts, *(table.markdown() for table in tables), end])
    page.write_text(f"{before}{block}{after}")
