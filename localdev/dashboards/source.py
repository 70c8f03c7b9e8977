"""The descriptions: one YAML file a dashboard, or a template of which each sink gets one. What isn't known here is refused, so that no typo is just ignored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from localdev import functions
from localdev.paths import STACK

FOLDER = STACK / "grafana" / "dashboards"
SOURCE = STACK / "grafana" / "source"

KINDS = ("timeseries", "stat", "table")


@dataclass(frozen=True)
class Panel:
    """One question. `queries`: legend (with {{label}}) → PromQL; `unit`: by Grafana's id; `warn`, `bad`: from where on a figure is so, both absent where none
    is; `runbooks`: alerts whose pages tell what to do."""

    title: str
    about: str
    unit: str
    queries: Mapping[str, str]
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    warn: float | None = None
    bad: float | None = None
    runbooks: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    """Number → the word for it."""

    def __post_init__(self) -> None:
        """Raises ValueError for what Grafana would show as nothing."""
        if self.kind not in KINDS or not self.queries or not 1 <= self.width <= 24:
            raise ValueError(f"not a panel: {self.title}")


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """`uid` is its address and its file's name; `variables`: name → (label, PromQL-like query of label values)."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def panels(self) -> Iterator[Panel]:
        """All of them."""
        for row in self.rows:
            yield from row.panels


def dashboards() -> list[Dashboard]:
    """All, in the order of their files. Raises TypeError, KeyError or ValueError for a description that isn't one."""
    found: list[Dashboard] = []
    for path in sorted(SOURCE.glob("*.yml")):
        text = path.read_text()
        found += [_dashboard(yaml.safe_load(_filled(text, values))) for values in _templates(path)]
    return found


def _templates(path: Path) -> list[dict[str, str]]:
    """What to put for <…>: the sink's template is there for every sink that is always on, the others once."""
    if path.stem != "sink":
        return [{}]
    rows = functions.described()
    wanted = {name: row["trigger"] for name, row in rows.items() if name.startswith("sink_") and not row.get("optional")}
    return [
        {"sink": name, "host": name.replace("_", "-"), "group": trigger["group"], "topics": "|".join(trigger["topics"]), "backend": BACKENDS[name]}
        for name, trigger in wanted.items()
    ]


BACKENDS = {"sink_loki": "Loki", "sink_opensearch": "OpenSearch", "sink_prom": "Prometheus", "sink_tempo": "Tempo"}


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


def _dashboard(given: dict[str, Any]) -> Dashboard:
    rows = tuple(Row(row["title"], tuple(_panel(panel) for panel in row["panels"])) for row in given.pop("rows"))
    variables = {name: (row["label"], row["query"]) for name, row in given.pop("variables", {}).items()}
    return Dashboard(**given, rows=rows, variables=variables)


def _panel(given: dict[str, Any]) -> Panel:
    words = {str(number): word for number, word in given.pop("values", {}).items()}
    queries = {legend: " ".join(expression.split()) for legend, expression in given.pop("queries").items()}
    return Panel(**given | {"queries": queries, "values": words, "runbooks": tuple(given.get("runbooks", ()))})
