"""A description → the JSON that Grafana 12 loads (dashboard schema version 41; later ones are migrated by Grafana itself)."""

import json
from collections.abc import Iterator
from typing import Any

from localdev.dashboards.source import Dashboard, Panel

SCHEMA_VERSION = 41
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RUNBOOKS = "https://github.com/obstack/obstack/blob/main/docs/runbooks"
OPERATIONS = {"text": "Operations", "value": "operations"}
"""The operators' Prometheus, as stack/grafana/provisioning names it."""
_COLUMNS = 24
_HEIGHTS = {"stat": 4, "timeseries": 8, "table": 8}


def text(dashboard: Dashboard) -> str:
    """The file's content."""
    return json.dumps(as_json(dashboard), indent=1, ensure_ascii=False) + "\n"


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["obstack"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "timezone": "browser",
        "templating": {"list": [_source(), *(_variable(name, *described) for name, described in dashboard.variables.items())]},
        "annotations": {"list": [_alerts()]},
        "links": [
            {"type": "dashboards", "title": "Obstack", "tags": ["obstack"], "asDropdown": True, "includeVars": False, "keepTime": True, "targetBlank": False},
            {"type": "link", "title": "Runbooks", "url": RUNBOOKS, "icon": "doc", "targetBlank": True},
        ],
        "panels": list(_placed(dashboard)),
    }


def _source() -> dict[str, Any]:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "regex": "",
        "hide": 0,
        "refresh": 1,
        "current": OPERATIONS,
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "current": {},
        "options": [],
        "regex": "",
    }


def _alerts() -> dict[str, Any]:
    """Marks in every chart: when an alert was firing."""
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing"}',
        "step": "60s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
    }


def _placed(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Rows from the top, panels from the left; a new line where the width doesn't suffice or the height changes."""
    number, y = 0, 0
    for row in dashboard.rows:
        number += 1
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1}, "panels": []}
        y, x, tallest = y + 1, 0, 0
        for panel in row.panels:
            height = _HEIGHTS[panel.kind]
            if x + panel.width > _COLUMNS or tallest not in {0, height}:
                y, x, tallest = y + tallest, 0, 0
            number += 1
            yield {"id": number, **_panel(panel), "gridPos": {"x": x, "y": y, "w": panel.width, "h": height}}
            x, tallest = x + panel.width, height
        y += tallest


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "links": [{"title": f"Runbook: {name}", "url": f"{RUNBOOKS}/{name}.md", "targetBlank": True} for name in panel.runbooks],
        "targets": [_target(place, panel, *query) for place, query in enumerate(panel.queries.items())],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        **({"transformations": [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]} if panel.kind == "table" else {}),
    }


def _target(place: int, panel: Panel, legend: str, expression: str) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    return {
        "refId": chr(ord("A") + place),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": expression,
        "legendFormat": legend,
        "instant": instant,
        "range": not instant,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": colour, "value": value} for colour, value in (("yellow", panel.warn), ("red", panel.bad)) if value is not None]
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "noValue": "no data", "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.values:
        defaults["mappings"] = [
            {"type": "value", "options": {number: {"text": word, "index": place} for place, (number, word) in enumerate(panel.values.items())}}
        ]
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if len(steps) > 1 else "off"},
        }
    else:
        defaults["color"] = {"mode": "thresholds"}
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    match panel.kind:
        case "timeseries":
            legend = {"showLegend": True, "displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "stat":
            reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
            return {"reduceOptions": reduced, "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto"}
    return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "countRows": False}}
