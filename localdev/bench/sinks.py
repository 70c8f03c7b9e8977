"""`sinks`: Kafka → Loki beside the Collector (`backlog`), sink_opensearch beside ready-made bulk bodies, and one instance of a sink beside two."""

import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from localdev.backends import opensearch
from localdev.bench import away, backlog, bodies, events, placement, servers
from localdev.bench.events import Series
from localdev.bench.ingest import Say
from localdev.bench.load import LoadError
from localdev.bench.report import Table
from localdev.bench.rounds import Effort, Generator, Spread, Turn
from localdev.bench.servers import Server
from localdev.ports import free_port, ports
from shared.contract import LOGS_INDEX
from shared.envelope import Record

SIZES = (10, 512)
BULK = "/_bulk?filter_path=items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
"""As sink_opensearch asks, so that the answers are as long."""
_LINES = (("Content-Type", "application/x-ndjson"),)
WARM_ROUNDS = 6
"""Not counted: OpenSearch compiles its code while it runs."""
_EVENTS = {10: 800, 512: 40}
"""Events, by log records in each, that two cores bring to OpenSearch in about a second."""
_TRIGGERS_CONNECTIONS = 32
"""As many as the trigger has under way for a sink: 4 in each of 8 partitions."""
_INSTANCE_SHARE = 0.35
"""Of a core, as a container has it: two of them, the load and the stand-in fit into two cores."""


def to_opensearch(effort: Effort, say: Say) -> list[Table]:
    """Log records a second through sink_opensearch, and as ready-made bulk bodies of the same documents."""
    rows = []
    with servers.function("sink_opensearch") as sink, Generator() as generator:
        backend, kafka = servers.backend("opensearch", ports()["OPENSEARCH_PORT"]), servers.backend("kafka", ports()["KAFKA_PORT"])
        places: list[tuple[str, Mapping[int, int]]] = [("all on all cores", {})]
        if len(cores := placement.cores()) > 1:
            apart = {backend.pid: cores[0], kafka.pid: cores[0], sink.pid: cores[1], generator.pid(): cores[1]}
            places.append(("OpenSearch on one core, the rest on another", apart))
        else:
            say("OpenSearch gets no core of its own: there is one core only, or processes can't be bound to them")
        for size, under_way in ((10, effort.connections), (10, _TRIGGERS_CONNECTIONS), (512, effort.connections)):
            for words, where in places:
                with placement.bound(where):
                    ours, theirs = _beside_ready_made(sink, backend, generator, size, replace(effort, connections=under_way))
                rows.append(_opensearch_row(f"{size} log records, {under_way} under way, {words}", size, ours, theirs))
                say("  ".join(rows[-1]))
    columns = (
        "log records an event, events under way, who runs where",
        "log records/s",
        "ratio, median (min to max)",
        "CPU of the sink per log record, µs",
        "CPU of OpenSearch, µs",
        "ratio if OpenSearch were the limit",
    )
    return [Table("OpenSearch, sink_opensearch / ready-made bulk bodies, one for each event", columns, rows)]


Costed = tuple[Turn, float]
"""A turn, and what CPU OpenSearch, or all instances, used in it."""


def _beside_ready_made(sink: Server, backend: Server, generator: Generator, size: int, effort: Effort) -> tuple[list[Costed], list[Costed]]:
    """Turns of the sink, and of the bulk bodies; with OpenSearch's µs per log record."""
    tenant_id = str(uuid4())
    posted = Series.of(events.record(tenant_id, bodies.logs(size)), sink.port)
    generator.closed(sink, posted, 1, 0, at_least=1)
    hits = stored(tenant_id, size, most=size)
    identity = instance(hits[0])
    ready = Series(backend.port, BULK, _LINES, bulk_body(hits, identity), ("bench",), (), identity)
    count = max(effort.connections, round(_EVENTS[size] * effort.seconds))
    ours, theirs = list[Costed](), list[Costed]()
    for _ in range(effort.rounds + WARM_ROUNDS):
        for server, series, kept in ((sink, posted, ours), (backend, ready, theirs)):
            before = backend.cpu_seconds()
            done = generator.closed(server, series.times(count), effort.connections, 0, at_least=count)
            kept.append((done, (backend.cpu_seconds() - before) * 1e6 / (done.outcome.requests * size)))
    stored(tenant_id, size * (1 + 2 * (effort.rounds + WARM_ROUNDS) * count))
    return ours[WARM_ROUNDS:], theirs[WARM_ROUNDS:]


def _opensearch_row(name: str, size: int, ours: Sequence[Costed], theirs: Sequence[Costed]) -> tuple[str, ...]:
    rates = [[turn.outcome.throughput * size for turn, _ in side] for side in (ours, theirs)]
    backend = [[cpu for _, cpu in side] for side in (ours, theirs)]
    return (
        name,
        " / ".join(f"{Spread.of(side).median:,.0f}" for side in rates),
        Spread.ratio(*rates).show(2),
        f"{Spread.of([turn.cpu_ms * 1000 / size for turn, _ in ours]).median:.1f}",
        " / ".join(f"{Spread.of(side).median:.1f}" for side in backend),
        Spread.ratio(backend[1], backend[0]).show(2),
    )


def stored(tenant_id: str, count: int, most: int = 0) -> list[Mapping[str, Any]]:
    """At most so many of the tenant's documents, as OpenSearch has them, in order of their places. Raises LoadError when there aren't `count` of them."""
    _ask("/_refresh", {})
    asked = {"size": most, "track_total_hits": True}
    found = _ask(f"/{LOGS_INDEX}{tenant_id}-*/_search", asked)["hits"]
    if found["total"]["value"] != count:
        raise LoadError(f"OpenSearch has {found['total']['value']} documents of {count}: not everybody did the same work")
    return sorted(found["hits"], key=lambda hit: int(hit["_id"].rpartition("-")[2]))


def instance(hit: Mapping[str, Any]) -> str:
    """Of the service that a document came from."""
    return str(hit["_source"]["resource"]["service.instance.id"])


def bulk_body(hits: Sequence[Mapping[str, Any]], identity: str) -> bytes:
    """The bulk body that makes such documents; their ids are as long as the sink's, and have `identity` in place of most of the batch's digest."""

    def lines(hit: Mapping[str, Any]) -> bytes:
        batch, _, place = hit["_id"].rpartition("-")
        new = f"{batch[: len(batch) - len(identity) - 1]}-{identity}-{place}"
        action, source = {"create": {"_index": hit["_index"], "_id": new}}, {**hit["_source"], "record_id": new}
        return b"".join(_json(line) + b"\n" for line in (action, source))

    return b"".join(map(lines, hits))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _ask(path: str, body: object) -> Any:
    """OpenSearch's answer."""
    request = urllib.request.Request(opensearch.url() + path, _json(body), {"Content-Type": "application/json"})  # noqa: S310 our own
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def instances(effort: Effort, say: Say) -> list[Table]:
    """One instance of sink_loki beside two, with a backend that takes everything at once."""
    rows = []
    with ExitStack() as running, Generator() as generator:
        backend = running.enter_context(servers.stand_in_backend())
        url = f"http://127.0.0.1:{backend.port}"
        pair = [running.enter_context(servers.function("sink_loki", free_port(), LOKI_URL=url)) for _ in range(2)]
        for share in (None, _INSTANCE_SHARE):
            with ExitStack() as limits:
                try:
                    if share:
                        limits.enter_context(placement.limited([server.pid for server in pair], share))
                except OSError as error:
                    say(f"instances can't be held to a share of a core: {error.strerror}")
                    break
                for size in SIZES:
                    one, two = _one_and_two(generator, pair, size, effort)
                    rows.append(_instances_row(f"{size} log records, {f'at most {share:g} core each' if share else 'no limit'}", size, one, two))
                    say("  ".join(rows[-1]))
    columns = (
        "log records an event, and what an instance may use",
        "log records/s",
        "ratio, median (min to max)",
        "CPU per log record, µs",
        "ratio if each had a core",
        "cores that the sinks had",
    )
    title = f"Instances of sink_loki, {_TRIGGERS_CONNECTIONS} events under way, a stand-in for Loki, two / one"
    return [Table(title, columns, rows)]


def _one_and_two(generator: Generator, pair: Sequence[Server], size: int, effort: Effort) -> tuple[list[Costed], list[Costed]]:
    """Turns of the first alone, and of both; with the CPU seconds of those that had the turn."""
    event = events.record(str(uuid4()), bodies.logs(size))
    one, two = list[Costed](), list[Costed]()
    for number in range(effort.rounds + 1):
        for some, kept in ((pair[:1], one), (pair, two)):
            kept.append(_at_full_load(generator, some, event, effort.seconds if number else effort.seconds / 2))
    return one[1:], two[1:]


def _at_full_load(generator: Generator, some: Sequence[Server], event: Record, seconds: float) -> Costed:
    before = [server.cpu_seconds() for server in some]
    target = Series.of(event, some[0].port, tuple(server.port for server in some[1:]))
    turn = generator.closed(some[0], target, _TRIGGERS_CONNECTIONS, seconds)
    return turn, sum(server.cpu_seconds() - was for server, was in zip(some, before, strict=True))


def _instances_row(name: str, size: int, one: Sequence[Costed], two: Sequence[Costed]) -> tuple[str, ...]:
    rates = [[turn.outcome.throughput * size for turn, _ in side] for side in (two, one)]
    costs = [[cpu * 1e6 / (turn.outcome.requests * size) for turn, cpu in side] for side in (two, one)]
    cores = [[cpu / turn.outcome.seconds for turn, cpu in side] for side in (two, one)]
    return (
        name,
        " / ".join(f"{Spread.of(side).median:,.0f}" for side in rates),
        Spread.ratio(*rates).show(2),
        " / ".join(f"{Spread.of(side).median:.2f}" for side in costs),
        Spread.of([2 * one / two for two, one in zip(*costs, strict=True)]).show(2),
        " / ".join(f"{Spread.of(side).median:.2f}" for side in cores),
    )


@dataclass(frozen=True)
class Part:
    """A comparison, and the backends that it needs: a sink has Kafka for its dead letters."""

    run: Callable[[Effort, Say], list[Table]]
    backends: tuple[str, ...]
    collector: bool = False


PARTS: Mapping[str, Part] = {
    "Kafka → Loki": Part(backlog.run, ("kafka", "postgres", "loki"), collector=True),
    "OpenSearch": Part(to_opensearch, ("kafka", "postgres", "opensearch")),
    "instances": Part(instances, ("kafka", "postgres")),
    "one backend away": Part(away.run, away.BACKENDS),
}
"""What `--only` chooses from."""
