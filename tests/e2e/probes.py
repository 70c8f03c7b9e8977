"""What a hostile user of tenant A asks for, to see something of tenant B's: for each read of the allow-list and each of its parameters, and for what is ours.

A route without a benign request here, and a parameter without hostile values, are a KeyError: whoever adds one says how it is attacked. In templates `<name>`
stands for what the attacker knows of B (`probes_canaries.Known`) and for times around now.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from urllib.parse import quote, quote_plus

from functions.query import opensearch, routes, tokens, usage
from functions.query.routes import Backend, Route
from functions.query.search_request import KNOWN

FORM = ("Content-Type", "application/x-www-form-urlencoded")
JSON = ("Content-Type", "application/json")
Headers = tuple[tuple[str, str], ...]
Words = Mapping[str, str]


@dataclass(frozen=True)
class Probe:
    """One request, as it goes over the wire.

    `what`: its kind; a run tries one of each at least. `anonymous`: it brings its own credentials, or none; `session`: only a cookie opens it at all;
    `only`: the one way that it goes, "gateway" or "function"; `status`: what the answer has to be, where that isn't anything below 500.
    """

    what: str
    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""
    anonymous: bool = False
    session: bool = False
    only: str = ""
    status: frozenset[int] = frozenset()


def fill(template: str, words: Words) -> str:
    return re.sub(r"<(\w+)>", lambda name: words.get(name[1], name[0]), template)


# --- languages ---

_TENANTS = (
    'tenant_id="<tenant>"',
    'tenant_id=~"<tenant>"',
    'tenant_id=~".*"',
    'tenant_id=~".+"',
    'tenant_id=~"^(?:<tenant>)$"',
    'tenant_id=~"(?i)<tenant>|"',
    'tenant_id!=""',
    'tenant_id=""',
    'tenant_id!~"x"',
    'tenant_id!="<tenant>"',
    'tenant_id=~"<tenant>|.+",tenant_id!=""',
    '__tenant_id__="<tenant>"',
    '"tenant_id"="<tenant>"',
    '"tenant\\u005fid"="<tenant>"',
    "tenant_id=~'<tenant>'",
    "tenant_id=`<tenant>`",
)
PROMQL = (
    "<metric>",
    '{__name__="<metric>"}',
    '{__name__=~".*"}',
    '{__name__=~".+",__name__!~"mine.*"}',
    '{__name__=~"(?i)ZQ.*|zq.*"}',
    '{"<metric>"}',
    '{"<metric>",tenant_id="<tenant>"}',
    '{<label>="<value>"}',
    '{<label>=~".*<value>.*"}',
    *(f"<metric>{{{matcher}}}" for matcher in _TENANTS),
    'mine{tenant_id="<tenant>"}',
    '{tenant_id="<tenant>"}',
    "<metric> offset 1m",
    "<metric> offset -1m",
    "<metric> @ <s>",
    "<metric> @ start()",
    "<metric> @ end() offset -5m",
    "last_over_time(<metric>[1h])",
    "last_over_time(<metric>[30m] offset -30m)",
    "max_over_time(<metric>[30m:1m])",
    'max_over_time((<metric>{tenant_id="<tenant>"} or mine)[30m:1m] @ end())',
    "count_over_time({__name__=~'.+'}[1h])",
    'count({__name__=~".+",service_name="<service>"})',
    "topk(9, count by (__name__, tenant_id) ({__name__=~'.+'}))",
    'count_values("v", {__name__=~".+"})',
    "quantile(0.5, <metric>)",
    "sum without (tenant_id) (<metric>)",
    "group by (tenant_id, <label>) (<metric>)",
    "mine * on () group_left (<label>, tenant_id) <metric>",
    "mine * ignoring (tenant_id, __name__) group_left () <metric>",
    'mine and on () <metric>{tenant_id="<tenant>"}',
    "mine unless on () <metric>",
    "<metric> or mine",
    "mine or on () vector(1) or <metric>",
    "absent(<metric>)",
    'absent(<metric>{tenant_id="<tenant>"})',
    "absent_over_time(<metric>[1h])",
    'label_replace(mine, "tenant_id", "<tenant>", "", "")',
    'label_replace(label_replace(mine, "tenant_id", "<tenant>", "", ""), "__name__", "<metric>", "", "")',
    'label_join(mine, "tenant_id", "-", "tenant_id", "service_name")',
    'label_replace(vector(1), "tenant_id", "<tenant>", "", "") * on (tenant_id) group_right () <metric>',
    'info(mine, {<label>=~".+"})',
    "info(mine)",
    'target_info{service_name="<service>"}',
    "scalar(<metric>)",
    "vector(scalar(<metric>)) or vector(7)",
    "<metric> # } or {tenant_id='<tenant>'}",
    "# <metric>\n<metric>",
    '<metric>{} or {__name__="<metric>"} # {tenant_id="<tenant>"}',
    '<metric>"} or <metric>{tenant_id="<tenant>',
    "<metric>}",
    "(<metric>",
    "<metric>{tenant_id",
    "{}",
    "histogram_quantile(0.9, <histogram>_bucket)",
    "<histogram>_count + on () group_left () mine",
    "sort_desc(<metric>)",
    "limitk(5, {__name__=~'.+'})",
    "ALERTS",
    "up",
    "prometheus_build_info",
    "timestamp(<metric>)",
    '<metric>{tenant_\u0131d="<tenant>"}',
)
LOGQL = (
    '{service_name="<service>"}',
    '{service_name=~".+"}',
    '{service_name=~".*<service>|.*"}',
    '{service_name=~"(?i)ZQ.+"}',
    '{service_name!="mine"}',
    *(f'{{service_name=~".+",{matcher}}}' for matcher in _TENANTS),
    '{tenant_id="<tenant>"}',
    '{__tenant_id__=~".+"}',
    '{service_name=~".+"} |= "<text>"',
    '{service_name=~".+"} |~ ".*" | label_format tenant_id="<tenant>"',
    '{service_name=~".+"} | trace_id="<trace>"',
    '{service_name=~".+"} | json | line_format "{{.tenant_id}} {{ __line__ }} {{ env `HOME` }}"',
    '{service_name=~".+"} | line_format "{{ range $k, $v := . }}{{ $k }}{{ $v }}{{ end }}"',
    '{service_name=~".+"} | logfmt | pattern "<_> <text>" | unpack | decolorize',
    '{service_name=~".+"} | regexp "(?P<tenant_id>.+)"',
    '{service_name=~".+"} |= ip("0.0.0.0/0")',
    '{service_name=~".+"} # {tenant_id="<tenant>"}',
    '{service_name="<service>"} or {service_name=~".+"}',
    'count_over_time({service_name="<service>"}[1h])',
    'sum by (tenant_id, service_name) (count_over_time({service_name=~".+"}[1h] offset 1m))',
    'bytes_over_time({service_name=~".+"} |= "<text>" [1h])',
    'absent_over_time({service_name="<service>"}[1h])',
    'label_replace(rate({service_name=~".+"}[1h]), "tenant_id", "<tenant>", "", "")',
    'topk(9, sum by (service_name) (rate({service_name=~".+"}[1h]))) or vector(1)',
    'sum(rate({service_name="<service>"}[1h])) / on () group_left () vector(1)',
    'first_over_time({service_name=~".+"} | unwrap bytes(<label>) [1h])',
    'variants(count_over_time({service_name=~".+"}[1h])) of ({service_name=~".+"}[1h])',
    '{service_name=~".+"} | <label>="<value>" | drop tenant_id | keep service_name',
    '{service_name="<service>"',
    '{service_name="<service>"}} {',
    "<service>",
    "{}",
    "vector(1)",
)
TRACEQL = (
    "{}",
    '{ resource.service.name = "<service>" }',
    '{ .tenant_id = "<tenant>" }',
    '{ name = "<span>" }',
    '{ trace:id = "<trace>" }',
    '{ name =~ ".*" } || { resource.service.name =~ ".+" }',
    "{ true } >> { true } | select(resource.tenant_id, name)",
    '{ } | count() > 0 | by(resource.tenant_id) | rate() with (tenant="<tenant>")',
    '{ name = "<span>',
)
TAGS = (
    "service.name=<service>",
    'service.name="<service>" name="<span>"',
    "name=<span>",
    "tenant_id=<tenant>",
    "error=true",
    "root.service.name=<service>",
    "service.name=",
    '"',
)
WORDS = (
    "<text>",
    "*",
    "*:*",
    "zq*",
    "a | <text>",
    "-nothing",
    "-<text> | <text>",
    '"<text>"',
    "(<text>",
    "tenant_id:<tenant>",
    "<tenant>",
    "_index:logs-tenant-<tenant>-*",
    "logs-tenant-*",
    "_exists_:body",
    "body:<text>",
    "/.*/",
    "~2 <text>~",
    "body:/zq.*/ AND tenant_id:*",
    '"},"query":{"match_all":{}},"x":{"',
    '{"terms":{"_id":{"index":"logs-tenant-<tenant>-*","id":"1","path":"body"}}}',
    '{"script":{"source":"doc[\'body\'].value"}}',
    '{"query":{"term":{"tenant_id":"<tenant>"}}}',
    "<script>alert(1)</script> <text>",
    "\u202e<text>",
    "\\",
)
CURSORS = (
    "null",
    "[]",
    "[0,0]",
    '[0,""]',
    '[99999999999999999,"<text>"]',
    '[-9223372036854775808,"<tenant>"]',
    '["<tenant>",{"terms":{}}]',
    '[{"$gt":0},"x"]',
    '["now","<text>"]',
    '{"search_after":[0]}',
    "[1e999,0]",
    "[0,0,0]",
)
TIMES = ("0", "<s>", "<ns>", "-1", "9999999999", "NaN", "1e400", "2015-01-01T00:00:00Z", "<tenant>", "' OR 1=1 --", "now-1h", "\r\nX-Scope-OrgID: <tenant>")
NUMBERS = ("0", "-1", "1000", "99999999999999999999", "1e3", "0x10", "<tenant>", "1;2", "\u0661")
OTHER = ("", "<tenant>", "<service>", "tenant_id", "*", "../..", "true", "\r\nX-Scope-OrgID: <tenant>", "all", "<label>,tenant_id")
NAMES = ("<label>", "service_name", "__name__", "tenant_id", "__tenant_id__", "job", "<metric>", "U__<label>", "trace_id", "name")
TRACE_IDS = ("<trace>", "0<trace>", "<TRACE>", "<short>", "0", "1", "f" * 32)

# --- each row of the allow-list: its parameters' values when they aren't attacked; {} in a path: a name of A's own ---

_NANO, _SECONDS = {"start": "<ns>", "end": "<ne>"}, {"start": "<s>", "end": "<e>"}
_ANY_LOGS, _ANY_METRIC = '{service_name=~".+"}', '{__name__=~".+"}'
BENIGN: dict[tuple[Backend, str], dict[str, str]] = {
    (Backend.LOKI, "tail"): {"query": _ANY_LOGS},
    (Backend.LOKI, "query"): {"query": f"count_over_time({_ANY_LOGS}[1h])", "time": "<ne>"},
    (Backend.LOKI, "query_range"): {"query": _ANY_LOGS, **_NANO},
    (Backend.LOKI, "labels"): _NANO,
    (Backend.LOKI, "label"): _NANO,
    (Backend.LOKI, "label/{label}/values"): _NANO,
    (Backend.LOKI, "series"): {"match[]": _ANY_LOGS, **_NANO},
    (Backend.LOKI, "index/stats"): {"query": _ANY_LOGS, **_NANO},
    (Backend.LOKI, "index/volume"): {"query": _ANY_LOGS, **_NANO},
    (Backend.LOKI, "index/volume_range"): {"query": _ANY_LOGS, "step": "3600", **_NANO},
    (Backend.LOKI, "patterns"): {"query": _ANY_LOGS, **_NANO},
    (Backend.LOKI, "detected_labels"): _NANO,
    (Backend.LOKI, "detected_fields"): {"query": _ANY_LOGS, **_NANO},
    (Backend.LOKI, "detected_field/{label}/values"): {"query": _ANY_LOGS, **_NANO},
    (Backend.LOKI, "format_query"): {"query": _ANY_LOGS},
    (Backend.LOKI, "drilldown-limits"): {},
    (Backend.LOKI, "status/buildinfo"): {},
    (Backend.PROMETHEUS, "metadata"): {},
    (Backend.PROMETHEUS, "query"): {"query": _ANY_METRIC, "time": "<e>"},
    (Backend.PROMETHEUS, "query_range"): {"query": _ANY_METRIC, "step": "60", **_SECONDS},
    (Backend.PROMETHEUS, "query_exemplars"): {"query": _ANY_METRIC, **_SECONDS},
    (Backend.PROMETHEUS, "series"): {"match[]": _ANY_METRIC, **_SECONDS},
    (Backend.PROMETHEUS, "labels"): _SECONDS,
    (Backend.PROMETHEUS, "label/{label}/values"): _SECONDS,
    (Backend.PROMETHEUS, "format_query"): {"query": _ANY_METRIC},
    (Backend.PROMETHEUS, "parse_query"): {"query": _ANY_METRIC},
    (Backend.PROMETHEUS, "rules"): {},
    (Backend.PROMETHEUS, "alerts"): {},
    (Backend.PROMETHEUS, "status/buildinfo"): {},
    (Backend.TEMPO, "echo"): {},
    (Backend.TEMPO, "status/buildinfo"): {},
    (Backend.TEMPO, "traces/{trace}"): {},
    (Backend.TEMPO, "search"): {"limit": "100", **_SECONDS},
    (Backend.TEMPO, "search/tags"): {},
    (Backend.TEMPO, "search/tag/{tag}/values"): {},
    (Backend.TEMPO, "metrics/query_range"): {"q": "{}", **_SECONDS},
    (Backend.TEMPO, "metrics/query"): {"q": "{}", **_SECONDS},
    (Backend.TEMPO, "v2/traces/{trace}"): {},
    (Backend.TEMPO, "v2/search/tags"): {},
    (Backend.TEMPO, "v2/search/tag/{tag}/values"): {},
}
_LANGUAGE = {Backend.LOKI: LOGQL, Backend.PROMETHEUS: PROMQL, Backend.TEMPO: TRACEQL}
_VALUES = (
    ("start end time since", TIMES),
    ("limit step interval line_limit limit_per_metric lookback_delta timeout minDuration maxDuration spss", NUMBERS),
    ("direction targetLabels aggregateBy stats metric type scope exemplars delay_for", OTHER),
    ("tags", TAGS),
)
HOSTILE = {name: values for names, values in _VALUES for name in names.split()}
SEARCH_HOSTILE = {
    "q": WORDS,
    "cursor": CURSORS,
    "service": ("<service>", "*", "<tenant>", "/.*/"),
    "trace_id": ("<trace>", "<TRACE>", "*", "<tenant>"),
    "from": TIMES,
    "to": TIMES,
    **dict.fromkeys(("severity", "sort", "highlight", "facets"), ("<tenant>", "{}", "*", "1")),
    **dict.fromkeys(("size", "timeline"), NUMBERS),
}
_IN_PATHS = {"{label}": NAMES, "{tag}": (*NAMES, "service.name", ".service.name"), "{trace}": TRACE_IDS}


def public(route: Route) -> str:
    """Its path at the gateway, names still to be filled in."""
    return next(base for base, backend, _ in reversed(routes._BASES) if backend is route.backend) + route.path


def own_name(path: str) -> str:
    """`path` with names of A's own in it."""
    return path.replace("{label}", "service_name").replace("{tag}", "service.name").replace("{trace}", "abc")


def benign(route: Route) -> dict[str, str]:
    """Its parameters when they aren't attacked. Raises KeyError for a route that nobody has thought of attacking."""
    return BENIGN[route.backend, re.sub(r"^/api/(v1/)?", "", route.path) if route.backend is not Backend.TEMPO else route.path.removeprefix("/api/")]


def address(path: str, parameters: Mapping[str, str], words: Words, more: str = "") -> str:
    pairs = [f"{quote_plus(name)}={quote_plus(fill(value, words))}" for name, value in parameters.items()]
    return quote(fill(path, words), safe="/._-:{}") + "?" + "&".join([*pairs, *([fill(more, words)] if more else [])])


def catalogue(words: Words, own: Words) -> list[Probe]:
    """All of them, always in the same order. `words`: B's, or made-up ones; `own`: what A has (`token_id`, …), which a twin has, too."""
    return [
        *(probe for route in routes.ALLOWED for probe in of_route(route, words)),
        *of_search(words),
        *of_accounts(words, own),
        *(probe for kind, target in _representative(words).items() for probe in of_headers(kind, target, words)),
        *of_paths(words),
    ]


# --- reads ---


def of_route(route: Route, words: Words) -> Iterator[Probe]:
    """Each of its parameters with each hostile value, each name in its path, and its parameters several times."""
    path, usual = public(route), benign(route)
    posted = cycle([True, False]) if "POST" in route.methods else cycle([False])
    what = f"{route.backend} {route.path}"
    for name, others in _IN_PATHS.items():
        if name in path:
            for other in others:
                yield Probe(what, "GET", address(path.replace(name, other), usual, words))
    path = own_name(path)
    yield Probe(what, "GET", address(path, usual, words))
    for name in sorted(route.parameters):
        for value in values_of(route, name):
            target = address(path, usual | {name: value}, words)
            yield as_form(Probe(f"{what} {name}", "GET", target)) if next(posted) else Probe(f"{what} {name}", "GET", target)
    for more in polluted(sorted(route.parameters), next(iter(values_of(route, route.needed)), "") if route.needed else "x"):
        target = address(path, usual, words, more)
        yield Probe(f"{what} polluted", "GET", target)
        if "POST" in route.methods:
            yield as_form(Probe(f"{what} polluted", "GET", target))
            # One part in the address, the other in the form.
            yield Probe(f"{what} polluted", "POST", target, (FORM,), address(path, usual, words).partition("?")[2].encode())


def values_of(route: Route, name: str) -> tuple[str, ...]:
    """Hostile values of a parameter. Raises KeyError for one that has none."""
    return _LANGUAGE[route.backend] if name in {"query", "match[]", "match", "q"} else HOSTILE[name]


def as_form(probe: Probe) -> Probe:
    """The same by POST."""
    path, _, query = probe.target.partition("?")
    return Probe(probe.what, "POST", path, (*probe.headers, FORM), query.encode())


def polluted(names: list[str], value: str) -> Iterator[str]:
    """What may come after, or beside, the usual parameters."""
    encoded = re.sub("%3C(\\w+)%3E", r"<\1>", quote_plus(value))
    for name in names[:3]:
        yield f"{quote_plus(name)}={encoded}"
        yield f"{quote_plus(name)}={encoded}&{quote_plus(name)}={encoded}"
        yield f"{name.removesuffix('[]')}[]={encoded}&{name}%00={encoded}&{name.upper()}={encoded}"
    yield "tenant_id=<tenant>&tenant=<tenant>&X-Scope-OrgID=<tenant>&x-obstack-tenant=<tenant>&orgId=<tenant>"
    yield "match%5B%5D=%7Btenant_id%3D%22<tenant>%22%7D&match=%7Btenant_id%3D%22<tenant>%22%7D"
    yield "a=1;query=<metric>;tenant_id=<tenant>"
    yield "mode=all&blockStart=0&blockEnd=f&storeMatch%5B%5D=x&shards=1_of_1&_method=DELETE&pretty&source={}"


def of_search(words: Words) -> Iterator[Probe]:
    """Full text by OpenSearch."""
    usual = {"from": "now-1h", "size": "100"}
    for name in sorted(KNOWN):
        for value in SEARCH_HOSTILE[name]:
            if name == "cursor":
                value = base64.urlsafe_b64encode(fill(value, words).encode()).decode()  # noqa: PLW2901
            yield Probe(f"search {name}", "GET", address(opensearch.PATH, usual | {name: value}, words))
            if name in {"q", "service", "trace_id"}:
                counted = {"facets": "1", "timeline": "10", "highlight": "1"}
                yield Probe(f"search {name} counted", "GET", address(opensearch.PATH, usual | counted | {name: value}, words))
    for more in (
        "index=logs-tenant-<tenant>-*",
        "q=a&q=<text>",
        "tenant_id=<tenant>",
        "routing=<tenant>",
        "pit=x",
        "scroll=1m",
        "source=%7B%7D",
        "preference=x",
    ):
        yield Probe("search polluted", "GET", address(opensearch.PATH, usual, words, more))
    body = fill('{"query":{"term":{"tenant_id":"<tenant>"}},"size":500,"script_fields":{"x":{"script":"params"}}}', words).encode()
    for method in ("GET", "POST", "PUT", "DELETE"):
        yield Probe("search body", method, opensearch.PATH, (JSON,), body)
    for below in ("/_search", "/../_search", "/logs-tenant-<tenant>-*", "/_all", ";/_cat/indices"):
        yield Probe("search path", "GET", fill(opensearch.PATH + below, words), status=frozenset({404}))


# --- ours ---

_NOT_FOUND = frozenset({404})
_REFUSED = frozenset({400, 401, 403, 404, 405, 413, 415, 429})


def of_accounts(words: Words, own: Words) -> Iterator[Probe]:
    """Tokens, usage, log-in, who am I."""
    one, mine = f"{tokens.PATH}/<token_id>", f"{tokens.PATH}/{own['token_id']}"

    def session(what: str, method: str, target: str, body: str = "{}", status: frozenset[int] = frozenset(), *more: tuple[str, str]) -> Probe:
        content = b"" if method == "GET" else fill(body, words).encode()
        return Probe(what, method, fill(target, words), (*more, *(() if method == "GET" else (JSON,))), content, session=True, status=status)

    for method, below in (("DELETE", ""), ("POST", "/rotate")):
        yield session("token of another", method, one + below, status=_NOT_FOUND)
        yield session("token of another", method, one + below, '{"tenant_id": "<tenant>", "grace": "90d"}', _NOT_FOUND)
        yield session("token of another", method, one + below, "{}", _NOT_FOUND, ("X-Scope-OrgID", fill("<tenant>", words)), ("Tenant-Id", words["tenant"]))
        yield session("token of another", method, f"{tokens.PATH}/<TOKEN_ID>{below}")
        yield session("token of another", method, f"{mine}/../<token_id>{below}")
        yield session("token of another", method, f"{mine}%2f..%2f<token_id>{below}")
        yield session("token of another", method, f"{one}{below}?tenant_id=<tenant>", status=_NOT_FOUND)
        yield session("token of another", method, f"{tokens.PATH}//<token_id>{below}")
        yield session("token of another", method, f"{tokens.PATH}/<token_id>'--{below}", status=_NOT_FOUND)
    for method in ("GET", "PUT", "PATCH", "POST", "HEAD", "OPTIONS"):
        yield session("token of another", method, one)
    for query in ("tenant_id=<tenant>", "tenant=<tenant>&all=1", "id=<token_id>", "limit=1000&offset=0"):
        yield session("tokens", "GET", f"{tokens.PATH}?{query}")
    yield session("tokens", "POST", tokens.PATH, '{"name": "x", "scopes": ["read", "admin"], "tenant_id": "<tenant>"}', _REFUSED)
    yield session("tokens", "POST", tokens.PATH, '{"name": "x", "scopes": ["read"], "expires_in": "<tenant>"}', _REFUSED)
    yield session("tokens", "POST", tokens.PATH, '{"name": ["<tenant>"], "scopes": "read"}', _REFUSED)
    for parameter in ("from", "to"):
        for value in TIMES:
            yield session("usage", "GET", address(usage.PATH, {parameter: value}, words))
    for query in (
        "step=<tenant>",
        "step=day'--",
        "tenant_id=<tenant>",
        "tenant=<tenant>&token_id=<token_id>",
        "step=hour&step=day",
        "signal=*",
        "group_by=tenant_id",
    ):
        yield session("usage", "GET", f"{usage.PATH}?{query}")
    for method in ("POST", "PUT", "DELETE"):
        yield session("usage", method, usage.PATH, '{"tenant_id": "<tenant>"}')
    for query in ("tenant_id=<tenant>", "email=<mail>", "id=1"):
        yield session("me", "GET", f"/query/api/me?{query}")
    yield session("users", "GET", "/query/api/users", status=_NOT_FOUND)
    yield session("users", "GET", "/query/api/tenants/<tenant>", status=_NOT_FOUND)
    yield from of_log_in(words)


def of_log_in(words: Words) -> Iterator[Probe]:
    """At the function alone, from made-up addresses: failures are counted by address, and all of a stack's tests have the same one."""
    mails = ("<mail>", " <mail> ", "<mail>' OR '1'='1", "<mail>' --", "%", "_%", "*", "<mail>\\u0000", "<mail>\\n", "<MAIL>", "{$ne: null}")
    for place, mail in enumerate(mails):
        for password in ("", "x", "' OR '1'='1", "$2b$12$" + "a" * 53):
            content = fill(f'{{"email": "{mail}", "password": "{password}"}}', words).encode()
            address = ("X-Real-IP", f"192.0.2.{place + 1}")
            yield Probe("log-in", "POST", "/query/api/login", (JSON, address), content, anonymous=True, only="function", status=_REFUSED)
    for body in (
        '{"email": {"$gt": ""}, "password": "x"}',
        '{"email": "<mail>", "password": null}',
        '["<mail>"]',
        '{"email": "<mail>"}',
        "",
        "\x00",
        "{" * 500,
    ):
        content = fill(body, words).encode()
        yield Probe("log-in", "POST", "/query/api/login", (JSON, ("X-Real-IP", "192.0.2.99")), content, anonymous=True, only="function", status=_REFUSED)


# --- requests as such ---


def _representative(words: Words) -> dict[str, str]:
    """A read of each backend that would show anything."""
    return {
        "loki": address("/query/loki/api/v1/query_range", {"query": _ANY_LOGS, **_NANO}, words),
        "prometheus": address("/query/prometheus/api/v1/series", {"match[]": _ANY_METRIC, **_SECONDS}, words),
        "search": address("/query/tempo/api/search", {"limit": "100", **_SECONDS}, words),
        "trace": address("/query/tempo/api/traces/<trace>", {}, words),
        "opensearch": address(opensearch.PATH, {"from": "now-1h"}, words),
    }


_TENANT_HEADERS = (
    "X-Scope-OrgID",
    "x-scope-orgid",
    "X_Scope_OrgID",
    "X-Scope-Org-ID",
    "X-Obstack-Tenant",
    "x_obstack_tenant",
    "X-Prom-Tenant",
    "THANOS-TENANT",
    "Tenant-Id",
    "X-Tenant-Id",
    "X-Tenant",
    "X-Consumer-Custom-Id",
    "X-Authenticated-Userid",
    "Ce-Tenantid",
    "ce-tenantid",
    "X-Forwarded-User",
    "X-Original-URL",
    "X-Rewrite-URL",
)


def of_headers(kind: str, target: str, words: Words) -> Iterator[Probe]:
    """Headers that another reader than ours might believe, at a request that is good otherwise."""
    victim = words["tenant"]
    for name in _TENANT_HEADERS:
        yield Probe(f"header {name} {kind}", "GET", target, ((name, victim),))
    for value in ("*", "", f"{victim}|x", f"x|{victim}", f" {victim}", f"\t{victim}\t", f"{victim},{victim}", f'"{victim}"', f"../{victim}", victim.upper()):
        yield Probe(f"header {kind}", "GET", target, (("X-Scope-OrgID", value), ("X-Obstack-Tenant", value), ("X-Scope-OrgID", victim)))
    for name, value in (
        ("Host", "opensearch:9200"),
        ("Host", victim),
        ("X-Forwarded-Host", victim),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Prefix", "/query/../"),
        ("Forwarded", f"for=127.0.0.1;host={victim}"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Method-Override", "PUT"),
        ("Connection", "close, X-Scope-OrgID, X-Obstack-Tenant, Authorization"),
        ("Accept", "application/protobuf"),
        ("Accept", "application/vnd.google.protobuf, */*"),
        ("Accept-Encoding", "gzip, deflate, identity;q=0"),
        ("Accept-Language", victim),
        ("Range", "bytes=0-10"),
        ("If-None-Match", "*"),
        ("Expect", "x-scope-orgid"),
        ("Upgrade", "h2c"),
        ("X-Loki-Response-Encoding-Flags", f"categorize-labels,{victim}"),
        ("X-Query-Tags", f"tenant={victim}"),
        ("Loki-Actor-Path", victim),
        ("Content-Encoding", "gzip"),
        ("Authorization", f"Bearer {victim}"),
        ("Cookie", f"obstack_session={victim}"),
        ("Cookie", f"tenant_id={victim}"),
        ("X-Obstack-Auth-Token", ""),
        ("traceparent", f"00-{words['trace']}-{'1' * 16}-01"),
    ):
        yield Probe(f"header {kind}", "GET", target, ((name, value),))
    for content in (b"", b"query=x", fill('{"query":{"match_all":{}},"tenant_id":"<tenant>"}', words).encode()):
        yield Probe("body of a GET", "GET", target, (JSON,), content)
    for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "SEARCH", "get"):
        yield Probe("method", method, target)


_TRICKS = (
    "/query/loki/api/v1/../../../config",
    "/query/loki/api/v1/%2e%2e/%2e%2e/config",
    "/query/loki/api/v1/%252e%252e/config",
    "/query/loki/api/v1/..%2f..%2fconfig",
    "/query/loki/api/v1/labels/..;/config",
    "/query/loki/api/v1/labels;/../config",
    "/query/loki/api/v1\\..\\config",
    "/query/loki/api/v1/labels%00",
    "/query/loki/api/v1/labels%0d%0aX-Scope-OrgID:%20<tenant>",
    "/query/loki/api/v1/label/<label>%2fvalues",
    "/query/loki//api/v1/labels",
    "//query/loki/api/v1/labels",
    "/query//loki/api/v1/labels",
    "/QUERY/loki/api/v1/labels",
    "/query/LOKI/api/v1/labels",
    "/query/loki/api/v1/delete",
    "/query/loki/api/v1/rules",
    "/query/loki/config",
    "/query/loki/metrics",
    "/query/loki/flush",
    "/query/loki/ring",
    "/query/loki/memberlist",
    "/query/prometheus/federate?match[]=%7Btenant_id%3D%22<tenant>%22%7D",
    "/query/prometheus/metrics",
    "/query/prometheus/api/v1/targets",
    "/query/prometheus/api/v1/status/tsdb",
    "/query/prometheus/api/v1/status/config",
    "/query/prometheus/api/v1/admin/tsdb/delete_series?match[]=<metric>",
    "/query/prometheus/api/v1/read",
    "/query/prometheus/api/v1/targets/metadata",
    "/query/prometheus/api/v1/metadata/../query?query=<metric>",
    "/query/prometheus/api/v1/label/__name__/values/../../../federate",
    "/query/prometheus/graph",
    "/query/tempo/api/traces/<trace>/../../../status/config",
    "/query/tempo/api/traces/%2e%2e/%2e%2e/status",
    "/query/tempo/api/traces/<trace>%7cx",
    "/query/tempo/api/traces/<trace>;x",
    "/query/tempo/status/config",
    "/query/tempo/flush",
    "/query/tempo/api/metrics/summary",
    "/query/tempo/jaeger/api/traces/<trace>",
    "/query/opensearch/_search",
    "/query/opensearch/logs-tenant-<tenant>-*/_search",
    "/query/api/logs/../../opensearch/_cat/indices",
    "/query/../metrics",
    "/query/../healthz",
    "/query/%2e%2e/metrics",
    "/query/..%2fmetrics",
    "/metrics",
    "/query/page/../main.py",
    "/query/page/..%2fsession.py",
    "/query/page/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/query/page//etc/passwd",
    "/query/?q=<text>#/traces/<trace>",
    "/query",
    "/ingest/otlp/../../query/loki/api/v1/labels",
    "http://127.0.0.1/query/loki/api/v1/labels",
    "http://opensearch:9200/_cat/indices",
    "https://<tenant>/query/prometheus/api/v1/labels",
    "http://x@127.0.0.1:9200/_search",
    "query/loki/api/v1/labels",
    "*",
    "?query=<metric>",
    "/query/loki/api/v1/labels?%00=<tenant>",
    "/query/loki/api/v1/labels?start=%ff",
    "/query/loki/api/v1/labels?" + "&".join("a" for _ in range(1100)),
    "/query/loki/api/v1/label/" + "a" * 300 + "/values",
)


def of_paths(words: Words) -> Iterator[Probe]:
    """Paths that one reader might resolve otherwise than another. What the gateway makes of them it does by the same rules as Kong."""
    for trick in _TRICKS:
        for way in ("gateway", "function"):
            yield Probe(f"path {trick[:40]}", "GET", fill(trick, words), only=way)
    for trick in _TRICKS[::5]:
        yield Probe("path", "POST", fill(trick, words), (FORM,), fill("query=<metric>&match[]=<metric>", words).encode())
