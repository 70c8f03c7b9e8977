"""Probes that nobody thought of: queries by the languages' grammars around what the attacker knows, and requests of random parts.

They are made as templates, so that each has a twin about names that nobody has.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from functions.query import opensearch, routes
from functions.query.routes import Backend, Route
from functions.query.search_request import KNOWN
from tests.e2e import probes
from tests.e2e.probes import Probe, Words

Text = SearchStrategy[str]


@dataclass(frozen=True)
class Template:
    """A request of the route, or of the full text search (None), by what its parts are templates of."""

    route: Route | None
    path: str
    parameters: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    more: str
    posted: bool

    def probe(self, words: Words) -> Probe:
        headers = tuple((name, probes.fill(value, words)) for name, value in self.headers)
        target = probes.address(self.path, dict(self.parameters), words, self.more)
        probe = Probe("generated", "GET", target, headers)
        return probes.as_form(probe) if self.posted else probe


_METRICS = st.sampled_from(["<metric>", "mine", "up", "<histogram>_bucket", "target_info", ""])
_LABELS = st.sampled_from(["tenant_id", "<label>", "service_name", "__name__", '"tenant_id"', "__tenant_id__", "job"])
_VALUES = st.sampled_from(["<tenant>", "<value>", "<service>", "<metric>", ".*", ".+", "", "^.*$", "(?i)ZQ.*", "<tenant>|.*", "[^x]+", "(?s).", "<own>"])
_LENGTHS = st.sampled_from(["1m", "5m", "1h", "30m"])
_MATCHERS = st.builds(lambda name, op, value: f'{name}{op}"{value}"', _LABELS, st.sampled_from(["=", "!=", "=~", "!~"]), _VALUES)


def _selector(first: Text) -> Text:
    return st.builds(lambda name, matchers: f"{name}{{{','.join(matchers)}}}", first, st.lists(_MATCHERS, max_size=3)).filter(lambda text: text != "{}")


def _choice(*made: Text) -> Text:
    return st.one_of(*made)


def _wrapped(form: str, *parts: Text) -> Text:
    """`form` with each `…` replaced by the next part."""

    def join(texts: tuple[str, ...]) -> str:
        pieces = form.split("…")
        return "".join(piece + text for piece, text in zip(pieces, (*texts, ""), strict=True))

    return st.tuples(*parts).map(join)


def _promql(inner: Text) -> Text:
    forms: list[Callable[[], Text]] = [
        *(lambda f=form: _wrapped(f"{f}(…)", inner) for form in ("sum", "count", "absent", "sort", "scalar", "timestamp", "info", "abs", "group")),
        lambda: _wrapped("sum by (…) (…)", _LABELS, inner),
        lambda: _wrapped("topk without (…) (3, …)", _LABELS, inner),
        lambda: _wrapped('count_values("…", …)', st.sampled_from(["v", "tenant_id"]), inner),
        lambda: _wrapped("… … on (…) group_left (…) …", inner, st.sampled_from(["*", "+", "==", "> bool"]), _LABELS, _LABELS, inner),
        lambda: _wrapped("… … …", inner, st.sampled_from(["or", "and on ()", "unless", "or on ()", "/ ignoring (tenant_id)"]), inner),
        lambda: _wrapped('label_replace(…, "…", "…", "…", "…")', inner, _LABELS, st.sampled_from(["$1", "<tenant>", ""]), _LABELS, _VALUES),
        lambda: _wrapped('label_join(…, "…", "-", "…", "…")', inner, _LABELS, _LABELS, _LABELS),
        lambda: _wrapped("max_over_time((…)[…:…])", inner, _LENGTHS, _LENGTHS),
        lambda: _wrapped("(…) # …", inner, _VALUES),
    ]
    return _choice(*(make() for make in forms))


_SERIES = _selector(_METRICS)
PROMQL = st.recursive(
    _choice(
        _SERIES,
        _wrapped("… offset …", _SERIES, _LENGTHS),
        _wrapped("… @ …", _SERIES, st.sampled_from(["start()", "end()", "<s>", "0"])),
        _wrapped("…(…[…])", st.sampled_from(["rate", "last_over_time", "count_over_time", "absent_over_time", "changes"]), _SERIES, _LENGTHS),
        st.sampled_from(["vector(1)", "7", "time()"]),
    ),
    _promql,
    max_leaves=5,
)
_STREAMS = _selector(st.just(""))
_STAGES = _choice(
    _wrapped('|~ "…"', _VALUES),
    _wrapped('| …="…"', _LABELS, _VALUES),
    _wrapped("| label_format …=…", st.sampled_from(["tenant_id", "a"]), _choice(_LABELS, st.just('"<tenant>"'))),
    st.sampled_from(["| json", "| logfmt", "| drop tenant_id", '| line_format "{{ . }} {{ .tenant_id }}"', "| decolorize", "# <tenant>"]),
)
_LINES = st.builds(lambda stream, stages: " ".join([stream, *stages]), _STREAMS, st.lists(_STAGES, max_size=3))
LOGQL = st.recursive(
    _choice(_LINES, _wrapped("…(… […])", st.sampled_from(["rate", "count_over_time", "absent_over_time"]), _LINES, _LENGTHS)),
    lambda inner: _choice(
        _wrapped("sum by (…) (…)", _LABELS, inner),
        _wrapped("… … …", inner, st.sampled_from(["or", "and", "/"]), inner),
        _wrapped('label_replace(…, "…", "<tenant>", "…", "…")', inner, _LABELS, _LABELS, _VALUES),
    ),
    max_leaves=3,
)
_FIELDS = st.sampled_from(["resource.service.name", ".tenant_id", "name", "resource.tenant_id", "trace:id", "span.<label>", "status"])
TRACEQL = st.recursive(
    _wrapped('{ … … "…" }', _FIELDS, st.sampled_from(["=", "!=", "=~", ">"]), _choice(_VALUES, st.sampled_from(["<span>", "<trace>"]))),
    lambda inner: _wrapped("… … …", inner, st.sampled_from(["&&", "||", ">>", ">"]), inner),
    max_leaves=3,
)
WORDS = st.lists(
    st.sampled_from(["<text>", "<tenant>", "zq*", "*", "|", "+", "-", '"', "(", ")", "tenant_id:", "_index:", "~1", "\\", "AND", "{", "a"]),
    min_size=1,
    max_size=8,
).map(" ".join)
ANYTHING = _choice(
    st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=20),
    st.sampled_from(["<tenant>", "*", "", "0", "<s>", "<ns>", "<trace>", "<label>"]),
)

_QUERIES = {Backend.LOKI: LOGQL, Backend.PROMETHEUS: PROMQL, Backend.TEMPO: TRACEQL}
_HEADERS = st.lists(
    st.tuples(
        st.sampled_from([*probes._TENANT_HEADERS, "X-Loki-Response-Encoding-Flags", "Accept", "X-Forwarded-Host", "Cookie", "Range"]),
        st.sampled_from(["<tenant>", "<tenant>|<own>", "*", "", "application/protobuf", "<trace>", "categorize-labels"]),
    ),
    max_size=3,
).map(tuple)
_MORE = _choice(st.just(""), st.sampled_from(["tenant_id=<tenant>", "query=<metric>", "X-Scope-OrgID=<tenant>", "match[]=<metric>", "q=<text>", "a=%00", ";"]))
_NAMES = st.sampled_from(probes.NAMES)


@st.composite
def templates(draw: st.DrawFn) -> Template:
    """One of the allow-list's rows, or the full text search."""
    route = draw(st.sampled_from([None, *routes.ALLOWED]))
    if route is None:
        parameters = {"from": "now-1h"} | draw(st.dictionaries(st.sampled_from(sorted(KNOWN)), ANYTHING, max_size=2)) | {"q": draw(WORDS)}
        return Template(None, opensearch.PATH, tuple(parameters.items()), draw(_HEADERS), draw(_MORE), False)
    path = probes.public(route).replace("{label}", draw(_NAMES)).replace("{tag}", draw(_NAMES)).replace("{trace}", draw(st.sampled_from(probes.TRACE_IDS)))
    parameters = dict(probes.benign(route))
    for name in sorted(route.parameters):
        if name in {"query", "match[]", "q"}:
            parameters[name] = draw(_QUERIES[route.backend])
        elif draw(st.integers(0, 9)) == 0:
            parameters[name] = draw(ANYTHING)
    return Template(route, path, tuple(parameters.items()), draw(_HEADERS), draw(_MORE), "POST" in route.methods and draw(st.booleans()))
