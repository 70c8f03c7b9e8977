"""Grafana's dashboards and their provisioning. No Grafana runs here: the JSON is held against a schema of what Grafana 12 reads, written from its dashboard
schema's reference; that every query parses and finds data is shown in tests/e2e/test_dashboards.py.
"""

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

import localdev.trigger.metrics
import shared.telemetry.metrics
from functions.query import operations
from localdev.dashboards import grafana, source
from localdev.paths import ROOT, STACK
from localdev.supervisor import metrics as supervisor
from localdev.trigger.lag import Lag

DASHBOARDS = {dashboard.uid: dashboard for dashboard in source.dashboards()}
LOADED = {path.stem: json.loads(path.read_text()) for path in sorted(source.FOLDER.glob("*.json"))}
SERVICES = yaml.safe_load((STACK / "compose.yaml").read_text())["services"]
PROVISIONING = STACK / "grafana" / "provisioning"

UNITS = {"s", "ms", "cps", "reqps", "Bps", "bytes", "short", "percentunit"}
"""Of Grafana's units those in use here."""

_TEXT = {"type": "string", "minLength": 1}


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": properties}


_SOURCE = _object("type uid", type={"const": "prometheus"}, uid={"const": "${datasource}"})
_TARGET = _object(
    "refId datasource expr legendFormat",
    refId={"type": "string", "pattern": "^[A-Z]$"},
    datasource=_SOURCE,
    editorMode={"enum": ["code", "builder"]},
    expr=_TEXT,
    legendFormat=_TEXT,
    instant={"type": "boolean"},
    range={"type": "boolean"},
    format={"enum": ["time_series", "table", "heatmap"]},
)
_STEPS = {"type": "array", "minItems": 1, "items": _object("color value", color=_TEXT, value={"type": ["number", "null"]})}
_CUSTOM = _object(
    lineWidth={"type": "integer"},
    fillOpacity={"type": "integer"},
    showPoints={"enum": ["auto", "never", "always"]},
    stacking=_object("mode group", mode={"enum": ["none", "normal", "percent"]}, group=_TEXT),
    thresholdsStyle=_object("mode", mode={"enum": ["off", "line", "area", "dashed"]}),
)
_MAPPING = _object("type options", type={"const": "value"}, options={"type": "object", "additionalProperties": _object("text index", text=_TEXT, index={})})
_DEFAULTS = _object(
    "unit thresholds",
    unit={"enum": sorted(UNITS)},
    min={"type": "number"},
    noValue=_TEXT,
    color=_object("mode", mode={"enum": ["thresholds", "palette-classic"]}),
    thresholds=_object("mode steps", mode={"enum": ["absolute", "percentage"]}, steps=_STEPS),
    mappings={"type": "array", "items": _MAPPING},
    custom=_CUSTOM,
)
_CALCS = {"type": "array", "items": {"enum": ["lastNotNull", "max", "min", "mean", "sum"]}}
_OPTIONS = {
    "timeseries": _object(
        "legend tooltip",
        legend=_object(
            "showLegend displayMode placement calcs", showLegend={}, displayMode={"enum": ["list", "table"]}, placement={"const": "bottom"}, calcs=_CALCS
        ),
        tooltip=_object("mode sort", mode={"enum": ["single", "multi", "none"]}, sort={"enum": ["none", "asc", "desc"]}),
    ),
    "stat": _object(
        "reduceOptions",
        reduceOptions=_object("calcs fields values", calcs=_CALCS, fields={"type": "string"}, values={"type": "boolean"}),
        colorMode={"enum": ["value", "background", "none"]},
        graphMode={"enum": ["none", "area"]},
        justifyMode={"enum": ["auto", "center"]},
        textMode={"enum": ["auto", "value", "name", "none", "value_and_name"]},
        orientation={"enum": ["auto", "horizontal", "vertical"]},
    ),
    "table": _object(showHeader={"type": "boolean"}, cellHeight={"enum": ["sm", "md", "lg"]}, footer={"type": "object"}),
}
_PLACE = _object("x y w h", **{side: {"type": "integer", "minimum": 0} for side in "xyhw"})
_LINK = _object("title url", title=_TEXT, url={"type": "string", "pattern": "^https://"}, targetBlank={"type": "boolean"})


def _panel(kind: str) -> dict[str, Any]:
    return _object(
        "id type title description datasource targets fieldConfig options gridPos",
        id={"type": "integer", "minimum": 1},
        type={"const": kind},
        title=_TEXT,
        description=_TEXT,
        datasource=_SOURCE,
        links={"type": "array", "items": _LINK},
        targets={"type": "array", "minItems": 1, "items": _TARGET},
        fieldConfig=_object("defaults overrides", defaults=_DEFAULTS, overrides={"const": []}),
        options=_OPTIONS[kind],
        transformations={"type": "array"},
        gridPos=_PLACE,
    )


_ROW = _object(
    "id type title collapsed gridPos panels", id={}, type={"const": "row"}, title=_TEXT, collapsed={"const": False}, gridPos=_PLACE, panels={"const": []}
)
_CHOICE = _object(
    "type name label query current",
    type={"const": "datasource"},
    name={"const": "datasource"},
    label=_TEXT,
    query={"const": "prometheus"},
    regex={"type": "string"},
    hide={"enum": [0, 1, 2]},
    refresh={"enum": [0, 1, 2]},
    current=_object("text value", text=_TEXT, value=_TEXT),
)
_VARIABLE = _object(
    "type name label datasource query definition refresh",
    type={"const": "query"},
    name={"type": "string", "pattern": "^[a-z]+$"},
    label=_TEXT,
    datasource=_SOURCE,
    definition=_TEXT,
    query=_object("qryType query refId", qryType={"const": 1}, query=_TEXT, refId=_TEXT),
    refresh={"enum": [1, 2]},
    sort={"type": "integer"},
    hide={"enum": [0, 1, 2]},
    multi={"const": False},
    includeAll={"const": False},
    current={"const": {}},
    options={"const": []},
    regex={"type": "string"},
)
_ANNOTATION = _object(
    "name datasource enable expr",
    name=_TEXT,
    datasource=_SOURCE,
    enable={"type": "boolean"},
    hide={"type": "boolean"},
    iconColor=_TEXT,
    expr=_TEXT,
    step=_TEXT,
    titleFormat=_TEXT,
    textFormat=_TEXT,
)
DASHBOARD = _object(
    "uid title description schemaVersion templating panels time tags",
    uid={"type": "string", "pattern": "^[a-z0-9-]{1,40}$"},
    title=_TEXT,
    description=_TEXT,
    tags={"type": "array", "items": _TEXT},
    schemaVersion={"const": 41},
    editable={"type": "boolean"},
    graphTooltip={"enum": [0, 1, 2]},
    time=_object("from to", **{"from": _TEXT, "to": _TEXT}),
    refresh=_TEXT,
    timezone={"enum": ["browser", "utc"]},
    templating=_object("list", list={"type": "array", "prefixItems": [_CHOICE], "items": _VARIABLE}),
    annotations=_object("list", list={"type": "array", "items": _ANNOTATION}),
    links={"type": "array", "items": {"type": "object", "required": ["type", "title"]}},
    panels={"type": "array", "items": {"anyOf": [_ROW, *map(_panel, _OPTIONS)]}},
)


def test_the_committed_dashboards_are_what_the_source_makes() -> None:
    """`./task dashboards` mends a difference."""
    assert {path.name: path.read_text() for path in source.FOLDER.iterdir()} == {
        f"{uid}.json": grafana.text(dashboard) for uid, dashboard in DASHBOARDS.items()
    }


def test_there_is_an_overview_a_tenants_and_one_for_each_sink() -> None:
    assert LOADED.keys() == {"obstack-pipeline", "obstack-tenant", "obstack-sink-loki", "obstack-sink-opensearch", "obstack-sink-prom", "obstack-sink-tempo"}
    for uid, dashboard in LOADED.items():
        assert not re.search(r"<(sink|host|group|topics|backend)>", json.dumps(dashboard)), uid


@pytest.mark.parametrize("uid", LOADED)
def test_dashboards_have_the_fields_that_grafana_reads_and_no_others(uid: str) -> None:
    assert [f"{error.json_path}: {error.message}" for error in Draft202012Validator(DASHBOARD).iter_errors(LOADED[uid])] == []


@pytest.mark.parametrize("uid", LOADED)
def test_panels_have_a_place_and_a_number_of_their_own(uid: str) -> None:
    panels = LOADED[uid]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_panels_say_what_they_answer(uid: str) -> None:
    titles = [panel.title for panel in DASHBOARDS[uid].panels]
    assert len(set(titles)) == len(titles)
    for panel in DASHBOARDS[uid].panels:
        assert panel.title.endswith("?"), panel.title
        assert panel.about.endswith("."), panel.title


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_a_legends_labels_are_ones_that_the_query_keeps(uid: str) -> None:
    """A legend with a label that was summed away is empty."""
    for panel in DASHBOARDS[uid].panels:
        for legend, expression in panel.queries.items():
            kept = re.findall(r"\bby \(([^)]*)\)", expression)
            if kept:
                assert set(re.findall(r"{{(\w+)}}", legend)) <= {label.strip() for labels in kept for label in labels.split(",")}, legend
            elif re.match(r"(sum|max|min|count)\(", expression):
                assert "{{" not in legend, legend


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_runbooks_that_panels_name_are_there(uid: str) -> None:
    named = {name for panel in DASHBOARDS[uid].panels for name in panel.runbooks}
    assert [name for name in named if not (ROOT / "docs" / "runbooks" / f"{name}.md").is_file()] == []


def test_runbooks_are_where_the_alerts_say() -> None:
    groups = yaml.safe_load((STACK / "prometheus" / "alerts.yml").read_text())["groups"]
    assert all(rule["annotations"]["runbook_url"].startswith(f"{grafana.RUNBOOKS}/") for group in groups for rule in group["rules"] if "alert" in rule)


def _known() -> set[str]:
    """Names of all series that functions, trigger and supervisor tell."""
    told: list[Metric] = []
    for module in (shared.telemetry.metrics, localdev.trigger.metrics):
        told += [metric for collector in vars(module).values() if isinstance(collector, MetricWrapperBase) for metric in collector.describe()]
    told += [*Lag._families(), *supervisor.Services(dict).collect(), *supervisor.Disks().collect()]
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",)}
    return {metric.name + ending for metric in told for ending in endings.get(metric.type, ("",))}


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_metrics_of_ours_are_ones_that_somebody_tells(uid: str) -> None:
    asked = {name for panel in DASHBOARDS[uid].panels for expression in panel.queries.values() for name in re.findall(r"\bobstack_\w+", expression)}
    assert asked
    assert asked <= _known()


def test_the_operators_view_asks_for_metrics_that_somebody_tells() -> None:
    asked = {name for question in [*operations.NOW.values(), *operations.HOUR.values()] for name in re.findall(r"\bobstack_\w+", question)}
    assert asked <= _known()


@pytest.mark.parametrize("wrong", [{"titel": "x"}, {"kind": "pie"}, {"queries": {}}, {"width": 25}])
def test_a_description_with_a_mistake_is_refused(wrong: dict[str, Any]) -> None:
    right = {"title": "Is it?", "about": "So.", "unit": "s", "queries": {"a": "up"}}
    assert source._panel(dict(right)).queries == {"a": "up"}
    with pytest.raises((TypeError, ValueError)):
        source._panel(right | wrong)


def test_grafana_is_given_the_dashboards_and_the_operators_prometheus() -> None:
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "obstack.yml").read_text())["providers"]
    assert mounted["./grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./grafana/provisioning"] == "/etc/grafana/provisioning"
    (operations,) = yaml.safe_load((PROVISIONING / "datasources" / "operations.yml").read_text())["datasources"]
    assert {"text": operations["name"], "value": operations["uid"]} == grafana.OPERATIONS
    assert operations["type"] == "prometheus"
    assert operations["url"] == SERVICES["query"]["environment"]["OPERATIONS_PROMETHEUS_URL"]
    assert operations["url"].removeprefix("http://").partition(":")[0] in SERVICES
