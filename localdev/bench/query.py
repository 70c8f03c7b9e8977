"""`query`: each read through the function, and the same question asked of the backend itself, in turns.

What the function asks of a backend is overheard once, so both sides ask the same, confined to the same tenant by the same means. A backend's times differ from
one question to the next, often by more than the function adds; so the difference is also taken with a stand-in that gives the backend's answer at once.
"""

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import aiohttp
import orjson
import uvloop

from localdev import seed
from localdev.backends import tempo
from localdev.bench import history, load, servers
from localdev.bench.history import LARGE_TRACE, MANY_SPANS, SECONDS, SERIES, SPANS, STEP, trace_id
from localdev.bench.ingest import Say
from localdev.bench.load import LoadError
from localdev.bench.questions import Answer, Question, ask, asker, listening
from localdev.bench.report import Table
from localdev.bench.rounds import Effort
from localdev.bench.servers import Server
from localdev.ports import free_port, ports
from shared.contract import QUERY_PREFIX

BACKENDS: Final = ("PostgreSQL", "Loki", "OpenSearch", "Prometheus", "prom-label-proxy", "Tempo")
"""For whoever reads the figures."""

_TENANTS: Final = 5
_BEHIND_PROXY: Final = 5
"""The place of Prometheus itself in `Result.sides`."""
_FILLED_SECONDS: Final = 60.0
"""Until all that was sent is found."""
_PROXY_PORT: Final = "PROM_LABEL_PROXY_PORT"
_PORTS: Final = {"/loki": "LOKI_PORT", "/prometheus": _PROXY_PORT, "/tempo": "TEMPO_PORT", "/api/logs": "OPENSEARCH_PORT"}
_URLS: Final = ("LOKI_URL", "PROM_LABEL_PROXY_URL", "TEMPO_URL", "OPENSEARCH_URL")
"""Settings of the function."""
_PLAIN: Final = {"Accept-Encoding": "identity"}
"""So that the function carries the most bytes."""


@dataclass(frozen=True)
class Case:
    """A read. `path`: below /query; `least`: lines, samples, names, spans, … that must be in its answer; `large`: its first byte is of interest."""

    name: str
    path: str
    least: int
    large: bool = False
    session: bool = False
    """Asked with a user's cookie, else with a token."""

    @property
    def backend_port(self) -> str:
        """Name of its port."""
        return next(port for base, port in _PORTS.items() if self.path.startswith(base))


def cases(end: int) -> list[Case]:
    """All reads of the hour before `end` (nanoseconds)."""
    nanos = {"start": end - SECONDS * 10**9, "end": end}
    seconds = {"start": end // 10**9 - SECONDS, "end": end // 10**9}
    millis = {"from": nanos["start"] // 10**6, "to": end // 10**6}
    every, rate = '{service_name=~".+"}', "sum by (route) (rate(shop_requests_1_total[5m]))"
    loki, prom, tempo, search = "/loki/api/v1", "/prometheus/api/v1", "/tempo/api", "/api/logs/search"
    lines = _path(f"{loki}/query_range", query='{service_name="checkout"}', limit=100, **nanos)
    return [
        Case("Loki query_range, 100 lines", lines, 100),
        Case("Loki query_range, 100 lines, by session", lines, 100, session=True),
        Case("Loki query_range, 5,000 lines", _path(f"{loki}/query_range", query=every, limit=5000, **nanos), 5000, large=True),
        Case("Loki query_range, counts", _path(f"{loki}/query_range", query=f"sum by (service_name) (count_over_time({every}[1m]))", step=60, **nanos), 60),
        Case("Loki labels", _path(f"{loki}/labels", **nanos), 1),
        Case("Loki labels, by session", _path(f"{loki}/labels", **nanos), 1, session=True),
        Case("Loki series", _path(f"{loki}/series", **{"match[]": every}, **nanos), len(history.SERVICES)),
        Case("Prometheus query", _path(f"{prom}/query", query=rate, time=seconds["end"]), 5),
        Case("Prometheus query_range", _path(f"{prom}/query_range", query=rate, step=60, **seconds), 5 * SECONDS // 60 - 50),
        Case(
            f"Prometheus query_range, {SERIES} series",
            _path(f"{prom}/query_range", query='{__name__=~"shop_requests_.+"}', step=STEP, **seconds),
            SERIES * (SECONDS // STEP - 2),
            large=True,
        ),
        Case("Prometheus series", _path(f"{prom}/series", **{"match[]": '{__name__=~"shop_requests_.+"}'}, **seconds), SERIES),
        Case("Prometheus labels", _path(f"{prom}/labels", **seconds), 5),
        Case("Prometheus metadata", _path(f"{prom}/metadata"), SERIES // 20),
        Case(f"Tempo trace by id, {SPANS} spans", f"{tempo}/traces/{trace_id(0)}", SPANS),
        Case(f"Tempo trace by id, {MANY_SPANS:,} spans", f"{tempo}/traces/{LARGE_TRACE}", MANY_SPANS, large=True),
        Case("Tempo search", _path(f"{tempo}/search", tags="service.name=checkout", limit=20, **seconds), 20),
        Case("OpenSearch search, 100 hits, timeline", _path(search, size=100, timeline=60, **millis), 100),
        Case("OpenSearch search, words, facets, marks", _path(search, q="cart orders", facets=1, highlight=1, timeline=60, **millis), 100),
        Case("OpenSearch search, 500 hits", _path(search, size=500, **millis), 500, large=True),
    ]


def _path(path: str, **parameters: str | int) -> str:
    return f"{path}?{urlencode(parameters)}"


class Times:
    """Seconds until an answer was whole, and until its first byte, of each of `sides`; in the same place of all of them those that were asked together."""

    def __init__(self, sides: int) -> None:
        self.whole: list[list[float]] = [[] for _ in range(sides)]
        self.first: list[list[float]] = [[] for _ in range(sides)]
        self.cpu: list[float] = []
        """Of the function for a request, by turn."""


@dataclass(frozen=True)
class Result:
    """A case's times, one question at a time and some at once.

    `sides`: the question to the function, to the backend, to the backend again (what it differs from itself is nobody's share), to a function with a stand-in
    behind it, to the stand-in, and to Prometheus behind the proxy that confines it. `answer`: the backend's.
    """

    case: Case
    sides: Sequence[Question]
    answer: bytes
    alone: Times
    several: Times


def check(only: str) -> None:
    """Raises ValueError when no case's name has these words."""
    if not any(only in case.name for case in cases(0)):
        raise ValueError(f"no read is called like that; there are: {'; '.join(case.name for case in cases(0))}")


def run(effort: Effort, only: str, say: Say) -> list[Table]:
    """All cases whose name has the words `only`. Raises LoadError, NotReady."""
    tenant, other = seed.seed()["tenants"]
    with ExitStack() as running, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        with ExitStack() as sinks:
            sink_ports = {name: sinks.enter_context(servers.function(name)).port for name in history.SINKS}
            end = runner.run(history.fill(sink_ports, [tenant["id"], other["id"], *(str(uuid4()) for _ in range(_TENANTS - 2))]))
        function = running.enter_context(servers.function("query"))
        # The function and the proxy once more, with an ear in place of what is behind them.
        ears = free_port(), free_port()
        urls = [f"http://127.0.0.1:{port}" for port in ears]
        told = running.enter_context(servers.function("query", free_port(), **dict.fromkeys(_URLS, urls[0])))
        proxy = running.enter_context(servers.label_proxy(urls[1]))
        chosen = [case for case in cases(end) if only in case.name]
        results = runner.run(_measure(chosen, function, ((told.port, ears[0]), (proxy.port, ears[1])), tenant, effort, say))
    return tables(results, effort.connections)


async def _measure(chosen: Sequence[Case], function: Server, told: Sequence[tuple[int, int]], user: dict[str, str], effort: Effort, say: Say) -> list[Result]:
    """`told`: port of the function, and of the proxy, whose questions are overheard; and where."""
    (spoken, ear), (spoken_proxy, proxy_ear) = told
    async with asker() as session, listening(session, ear) as behind_function, listening(session, proxy_ear) as behind_proxy:
        token, cookie = {"Authorization": f"Bearer {user['token']}"}, await _log_in(session, function.port, user)
        results: list[Result] = []
        for case in chosen:
            public = Question("GET", function.port, QUERY_PREFIX + case.path, {**_PLAIN, **(cookie if case.session else token)})
            overheard = await behind_function.of(public.at(spoken))
            backend = overheard.at(ports()[case.backend_port])
            behind_function.says = (await _filled(session, backend, case.least)).body
            sides = [public, backend, backend, public.at(spoken), overheard]
            if case.backend_port == _PROXY_PORT:
                sides.append((await behind_proxy.of(overheard.at(spoken_proxy))).at(ports()["PROMETHEUS_PORT"]))
            _same(case, [await ask(session, question) for question in sides])
            results.append(Result(case, sides, behind_function.says, Times(len(sides)), Times(len(sides))))
        for number in range(effort.rounds):
            for result in results:
                behind_function.says = result.answer
                for times, at_once in ((result.alone, 1), (result.several, effort.connections)):
                    await _turn(session, result.sides, times, at_once, effort.seconds, function)
            say(f"round {number + 1} of {effort.rounds}")
        return results


async def _log_in(session: aiohttp.ClientSession, port: int, user: dict[str, str]) -> dict[str, str]:
    """The header that makes a request this user's."""
    credentials = orjson.dumps({"email": user["email"], "password": user["password"]})
    answer = await ask(session, Question("POST", port, f"{QUERY_PREFIX}/api/login", {"Content-Type": "application/json"}, credentials))
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in answer.cookies.items())}


async def _filled(session: aiohttp.ClientSession, question: Question, least: int) -> Answer:
    """The answer, once it has as much in it. Raises LoadError."""
    deadline = time.monotonic() + _FILLED_SECONDS
    while True:
        try:
            answer = await ask(session, question)
            if (there := count(orjson.loads(answer.body))) >= least:
                return answer
            fault = f"{question.path[:200]}: {there} in the answer of port {question.port}, and not {least}"
        except LoadError as error:  # a trace that isn't there yet is a 404
            fault = str(error)
        if time.monotonic() > deadline:
            raise LoadError(fault)
        await asyncio.sleep(0.2)


def _same(case: Case, answers: Sequence[Answer]) -> None:
    counts = [count(orjson.loads(answer.body)) for answer in answers]
    if len(set(counts)) > 1:
        raise LoadError(f"{case.name}: {counts[0]} in the answer through the function, {counts[1:]} without it: not the same question")


def count(answer: Any) -> int:
    """Lines or samples, names, traces or log records, spans: of what the answer of any backend has. Raises LoadError."""
    match answer:
        case {"data": {"result": [*results]}}:
            return sum(len(result.get("values", [1])) for result in results)
        case {"data": [*found] | {**found}} | {"hits": {"hits": [*found]}} | {"hits": [*found]} | {"traces": [*found]}:
            return len(found)
        case {"batches": [*_]}:
            return len(tempo.spans(answer))
    raise LoadError(f"an answer of an unknown form: {str(answer)[:200]}")


async def _turn(session: aiohttp.ClientSession, questions: Sequence[Question], times: Times, at_once: int, seconds: float, function: Server) -> None:
    """All sides, one after the other and in any order, with so many questions at once, again and again for so long; the figures go into `times`."""
    shuffled, asked = random.Random(len(times.whole[0])), 0  # noqa: S311 no secret
    gc.collect()
    gc.disable()  # a pause of ours would count as a server's
    try:
        before, until = function.cpu_seconds(), time.perf_counter() + seconds
        while not asked or time.perf_counter() < until:
            for side in shuffled.sample(range(len(questions)), len(questions)):
                answers = await asyncio.gather(*(ask(session, questions[side]) for _ in range(at_once)))
                # The quickest beside the quickest: which of those at once comes first is chance.
                times.whole[side] += sorted(answer.whole for answer in answers)
                times.first[side] += sorted(answer.first for answer in answers)
            asked += 1
        times.cpu.append((function.cpu_seconds() - before) / (asked * at_once))
    finally:
        gc.enable()


def tables(results: Sequence[Result], at_once: int) -> list[Table]:
    """Times and shares, one at a time and so many; the first bytes of large answers; the proxy's part of Prometheus' reads."""
    made = [
        _shares("Reads, one at a time, ms: p50 / p95", [(result, result.alone) for result in results]),
        _shares(f"Reads, {at_once} at a time, ms: p50 / p95", [(result, result.several) for result in results]),
    ]
    if large := [result for result in results if result.case.large]:
        made.append(_first_bytes(large))
    if confined := [result for result in results if len(result.sides) > _BEHIND_PROXY]:
        made.append(_proxy(confined))
    return made


def _shares(title: str, rows: Sequence[tuple[Result, Times]]) -> Table:
    columns = (
        "read",
        "the backend's answer",
        "through query",
        "the backend itself",
        "difference",
        "the backend's from itself",
        "query's own share, before a stand-in",
        "CPU of query",
    )
    return Table(
        title,
        columns,
        [
            (
                result.case.name,
                f"{len(result.answer) / 1000:.1f} kB",
                *(_both(times.whole[side]) for side in (0, 1)),
                _both(_between(times.whole[0], times.whole[1])),
                _both(_between(times.whole[2], times.whole[1])),
                _both(_between(times.whole[3], times.whole[4])),
                f"{statistics.median(times.cpu) * 1000:.2f}",
            )
            for result, times in rows
        ],
    )


def _first_bytes(results: Sequence[Result]) -> Table:
    return Table(
        "The first byte of large answers, one at a time, ms: p50 / p95",
        ("read", "answer", "first byte through query", "of the backend itself", "query's own share, before a stand-in", "whole answer through query"),
        [
            (
                result.case.name,
                f"{len(result.answer) / 1000:.1f} kB",
                *(_both(result.alone.first[side]) for side in (0, 1)),
                _both(_between(result.alone.first[3], result.alone.first[4])),
                _both(result.alone.whole[0]),
            )
            for result in results
        ],
    )


def _proxy(results: Sequence[Result]) -> Table:
    return Table(
        "Prometheus by itself, one at a time, ms: p50 / p95",
        ("read", "through query", "through prom-label-proxy", "Prometheus itself", "difference by query", "by prom-label-proxy"),
        [
            (
                result.case.name,
                *(_both(times.whole[side]) for side in (0, 1, _BEHIND_PROXY)),
                _both(_between(times.whole[0], times.whole[1])),
                _both(_between(times.whole[1], times.whole[_BEHIND_PROXY])),
            )
            for result in results
            for times in [result.alone]
        ],
    )


def _between(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(ones, others, strict=True)]


def _both(seconds: Sequence[float]) -> str:
    """p50 / p95 in milliseconds."""
    ordered = sorted(seconds)
    return " / ".join(f"{load.percentile(ordered, percent) * 1000:.1f}" for percent in (50, 95))
