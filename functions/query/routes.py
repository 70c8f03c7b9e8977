"""The allow-list: which reads there are, of which backend, with which parameters. What isn't listed is 404.

A path is matched as it came, before any decoding, against patterns without `%`, `..` or `;`, and the backend's path is built from the row and the matched
names: nothing of a caller's path is passed on unread. Parameters that a row doesn't name are dropped, so that a backend's own switches stay out of reach.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from starlette.requests import Request

from shared.contract import PROXY_TENANT_HEADER, QUERY_PREFIX, TENANT_HEADER, Reason
from shared.errors import Refused


class Backend(StrEnum):
    """Backends that are read over HTTP."""

    LOKI = "loki"
    PROMETHEUS = "prometheus"
    TEMPO = "tempo"


CONFINED_BY = {Backend.LOKI: TENANT_HEADER, Backend.PROMETHEUS: PROXY_TENANT_HEADER, Backend.TEMPO: TENANT_HEADER}
"""The header that carries the tenant. Prometheus knows no tenants: prom-label-proxy reads the header and forces the label into every selector by its parser."""

_BASES = (
    (f"{QUERY_PREFIX}/loki/loki", Backend.LOKI, "/loki"),
    (f"{QUERY_PREFIX}/loki", Backend.LOKI, "/loki"),
    (f"{QUERY_PREFIX}/prometheus", Backend.PROMETHEUS, ""),
    (f"{QUERY_PREFIX}/tempo", Backend.TEMPO, ""),
)
"""Public base, backend, the backend's own base. Loki's paths begin with /loki, so that a data source may be given /query or /query/loki."""

_NAMES = {"label": r"[A-Za-z_][A-Za-z0-9_]{0,255}", "tag": r"\.?[A-Za-z_][A-Za-z0-9_.:-]{0,255}", "trace": r"[0-9A-Fa-f]{1,32}"}
REPEATED = frozenset({"match[]", "match"})
"""Parameters that may come more than once. With any other, two readers could each believe another one of the values."""


MAX_TRACES, MAX_NAMES = 1000, 10_000
"""That Tempo may be asked for by one search, and by one list of tags or of a tag's values, of which Grafana asks for 5,000."""


@dataclass(frozen=True, slots=True)
class Route:
    """One allowed read: `path` below `/query/<backend>`, with `{label}`, `{tag}` or `{trace}` in it; `needed`: the parameter it means nothing without;
    `ranged`: whether its time range is bounded (`bounds`); `endless`: whether the backend takes all there is where no `start` is given, so that we give one;
    `most`: of what it may ask for by `limit`, 0 for any number."""

    backend: Backend
    path: str
    parameters: frozenset[str]
    needed: str = ""
    methods: frozenset[str] = frozenset({"GET"})
    ranged: bool = False
    endless: bool = False
    most: int = 0
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        """Compile the path."""
        below = re.sub(r"\\\{(\w+)\\\}", lambda name: f"(?:{_NAMES[name[1]]})", re.escape(self.path))
        object.__setattr__(self, "pattern", re.compile(below, re.ASCII))


def _row(backend: Backend, path: str, parameters: str, *, needed: str = "", post: bool = False, ranged: bool = False, endless: bool = False) -> Route:
    return Route(backend, path, frozenset(parameters.split()), needed, frozenset({"GET", "POST"} if post else {"GET"}), ranged, endless)


def _loki(path: str, parameters: str, needed: str = "") -> Route:
    return _row(Backend.LOKI, f"/api/v1/{path}", parameters, needed=needed, post="{" not in path)


def _prometheus(path: str, parameters: str, needed: str = "", *, ranged: bool = False, endless: bool = False) -> Route:
    return _row(Backend.PROMETHEUS, f"/api/v1/{path}", parameters, needed=needed, post="{" not in path, ranged=ranged, endless=endless)


def _tempo(path: str, parameters: str = "", *, ranged: bool = False, most: int = 0) -> Route:
    return Route(Backend.TEMPO, f"/api/{path}", frozenset(parameters.split()), ranged=ranged, most=most)


TAIL = _row(Backend.LOKI, "/api/v1/tail", "query limit start delay_for", needed="query")
"""Answered by WebSocket (`tail`); a request without one gets Loki's own word on that."""
METADATA = _row(Backend.PROMETHEUS, "/api/v1/metadata", "metric limit limit_per_metric")
"""Answered by us (`metadata`)."""

ALLOWED = (
    TAIL,
    METADATA,
    _loki("query", "query time limit direction", needed="query"),
    _loki("query_range", "query start end since step interval limit direction", needed="query"),
    _loki("labels", "start end since query"),
    _loki("label", "start end since query"),
    _loki("label/{label}/values", "start end since query"),
    _loki("series", "match[] match start end since"),
    _loki("index/stats", "query start end", needed="query"),
    _loki("index/volume", "query start end since limit targetLabels aggregateBy", needed="query"),
    _loki("index/volume_range", "query start end since step limit targetLabels aggregateBy", needed="query"),
    _loki("patterns", "query start end since step", needed="query"),
    _loki("detected_labels", "query start end since"),
    _loki("detected_fields", "query start end since step limit line_limit", needed="query"),
    _loki("detected_field/{label}/values", "query start end since step limit line_limit", needed="query"),
    _loki("format_query", "query", needed="query"),
    _row(Backend.LOKI, "/api/v1/drilldown-limits", ""),
    _row(Backend.LOKI, "/api/v1/status/buildinfo", ""),
    _prometheus("query", "query time timeout limit lookback_delta stats", needed="query"),
    _prometheus("query_range", "query start end step timeout limit lookback_delta stats", needed="query", ranged=True),
    _prometheus("query_exemplars", "query start end", needed="query", ranged=True, endless=True),
    _prometheus("series", "match[] start end limit"),
    _prometheus("labels", "match[] start end limit"),
    _prometheus("label/{label}/values", "match[] start end limit"),
    _prometheus("format_query", "query", needed="query"),
    _prometheus("parse_query", "query", needed="query"),
    _row(Backend.PROMETHEUS, "/api/v1/rules", "type"),
    _row(Backend.PROMETHEUS, "/api/v1/alerts", ""),
    _row(Backend.PROMETHEUS, "/api/v1/status/buildinfo", ""),
    _tempo("echo"),
    _tempo("status/buildinfo"),
    _tempo("traces/{trace}", "start end"),
    _tempo("search", "q tags minDuration maxDuration limit start end spss", ranged=True, most=MAX_TRACES),
    _tempo("search/tags", "start end scope"),
    _tempo("search/tag/{tag}/values", "start end q"),
    _tempo("metrics/query_range", "q start end step since exemplars", ranged=True),
    _tempo("metrics/query", "q start end since", ranged=True),
    _tempo("v2/traces/{trace}", "start end"),
    _tempo("v2/search/tags", "start end scope limit q", most=MAX_NAMES),
    _tempo("v2/search/tag/{tag}/values", "start end q limit", most=MAX_NAMES),
)


def path_of(request: Request) -> str:
    """The path as the client wrote it, with the public prefix, which a platform's own function URL comes without.

    Servers that keep no raw path give the decoded one, which the patterns confine just as well.
    """
    raw = request.scope.get("raw_path")
    path = raw.decode("latin-1") if raw else str(request.scope["path"])
    return path if path == QUERY_PREFIX or path.startswith(f"{QUERY_PREFIX}/") else QUERY_PREFIX + path


def backend_of(path: str) -> Backend | None:
    """Whose path it is, or would be. None for our own."""
    return next((backend for base, backend, _ in _BASES if path.startswith(f"{base}/")), None)


def find(method: str, path: str) -> tuple[Route, str]:
    """The row for this request and the backend's path. Raises Refused (404)."""
    for base, backend, own in _BASES:
        below = path.removeprefix(base)
        for route in ALLOWED:
            if below != path and route.backend is backend and method in route.methods and route.pattern.fullmatch(below):
                return route, own + below
    raise Refused(Reason.NOT_FOUND, "there is no such read", 404)
