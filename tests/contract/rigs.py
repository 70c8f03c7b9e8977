"""A rig per sink and type of record: how to start the sink, what a good and a bad record are, what its backend holds.

`Standin` backends behave as the real ones do (what they keep of a refused request, what a repetition does); the `Real` ones are the real ones. Both give the
words that a tenant would find.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen
from uuid import uuid4

import cramjam
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from functions.sink_loki import main as sink_loki
from functions.sink_opensearch import main as sink_opensearch
from functions.sink_prom import main as sink_prom
from functions.sink_prom.answers import WRITTEN
from functions.sink_tempo import main as sink_tempo
from localdev.backends import urls
from shared.contract import EventType
from tests import batches
from tests.backends import Asked, GrpcBackend, HttpBackend, Says, bulk_items

DAY = 86_400 * 10**9


@dataclass(frozen=True)
class Kind:
    """A sink with one of its types of record. `batch(now, *words)`: a word that begins with `bad` is one that the backend will never take."""

    name: str
    sink: ModuleType
    type: EventType
    variable: str
    batch: Callable[[int, Sequence[str]], bytes]


def _times(old: int) -> Callable[[int, Sequence[str]], list[int]]:
    return lambda now, words: [now - old if word.startswith("bad") else now for word in words]


def _spans(_: int, words: Sequence[str]) -> bytes:
    return batches.traces(*words, trace_id=[b"short" if word.startswith("bad") else uuid4().bytes for word in words])


def _logs(old: int) -> Callable[[int, Sequence[str]], bytes]:
    return lambda now, words: batches.logs(*words, at=_times(old)(now, words))


KINDS = [
    Kind("loki", sink_loki, EventType.LOGS, "LOKI_URL", _logs(30 * DAY)),
    # A moment after 2262, which date_nanos can't hold.
    Kind("opensearch", sink_opensearch, EventType.LOGS, "OPENSEARCH_URL", _logs(-300 * 365 * DAY)),
    Kind("tempo", sink_tempo, EventType.TRACES, "TEMPO_OTLP_ENDPOINT", _spans),
    Kind("prom-otlp", sink_prom, EventType.METRICS, "PROMETHEUS_URL", lambda now, words: batches.metrics(*words, at=_times(5 * DAY)(now, words))),
    Kind("prom-rw1", sink_prom, EventType.REMOTE_WRITE_1, "PROMETHEUS_URL", lambda now, words: batches.series_1(*words, at=_times(5 * DAY)(now, words))),
    Kind("prom-rw2", sink_prom, EventType.REMOTE_WRITE_2, "PROMETHEUS_URL", lambda now, words: batches.series_2(*words, at=_times(5 * DAY)(now, words))),
]


class Standin(AbstractContextManager["Standin"]):
    """A backend in memory: keeps entries by tenant, in the way of the backend that it stands for."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.kept: dict[str, list[str]] = {}
        self.server: HttpBackend | GrpcBackend = GrpcBackend(self._tempo) if kind.name == "tempo" else HttpBackend(self._http())

    @property
    def address(self) -> str:
        return self.server.endpoint if isinstance(self.server, GrpcBackend) else self.server.url

    def __enter__(self) -> "Standin":
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()

    def found(self, tenant_id: str) -> list[str]:
        """Words that the tenant finds, once for each time they are stored."""
        return sorted(self.kept.get(tenant_id, []))

    def _http(self) -> Callable[[Asked], Says]:
        return {"loki": self._loki, "opensearch": self._opensearch}.get(self.kind.name, self._prometheus)

    def _keep(self, tenant_id: str, words: Sequence[str]) -> bool:
        """Keep the good ones, each once; whether there was a bad one."""
        kept = self.kept.setdefault(tenant_id, [])
        kept.extend(word for word in words if not word.startswith("bad") and word not in kept)
        return any(word.startswith("bad") for word in words)

    def _loki(self, asked: Asked) -> Says:
        bad = self._keep(asked.headers["x-scope-orgid"], batches.words(EventType.LOGS, asked.body))
        return Says(400, Status(message="entry for stream '{}' has timestamp too old: x").SerializeToString()) if bad else Says(204)

    def _tempo(self, asked: Asked) -> bytes | tuple[str, str]:
        words = batches.words(EventType.TRACES, asked.body)
        if any(word.startswith("bad") for word in words):
            return "INTERNAL", "grpc: error unmarshalling request: invalid length for TraceID"
        self._keep(asked.headers["x-scope-orgid"], words)
        return b""

    def _prometheus(self, asked: Asked) -> Says:
        body = asked.body if self.kind.type is EventType.METRICS else bytes(cramjam.snappy.decompress_raw(asked.body))
        words = batches.words(self.kind.type, body)
        bad = any(word.startswith("bad") for word in words)
        [tenant_id] = [one for one in self.kept if one.encode() in body]
        if not bad or self.kind.type is EventType.REMOTE_WRITE_2:
            self._keep(tenant_id, words)
        return Says(400 if bad else 204, "too old sample" if bad else "", {WRITTEN: "1"})

    def _opensearch(self, asked: Asked) -> Says:
        if not asked.path.startswith("/_bulk"):
            return Says(200, '{"acknowledged":true}', {"content-type": "application/json"})

        def status(_: str, source: dict[str, Any]) -> tuple[int, str]:
            if source["body"] in self.kept.setdefault(source["tenant_id"], []):
                return 409, "version_conflict_engine_exception: it exists"
            return (400, "mapper_parsing_exception: x") if self._keep(source["tenant_id"], [source["body"]]) else (201, "")

        return bulk_items(asked, status)


class Real(ABC):
    """A real backend at a URL."""

    def __init__(self, kind: Kind, backends: dict[str, str]) -> None:
        self.kind = kind
        self.url = self.address = backends[self.backend]

    backend = ""

    @abstractmethod
    def found(self, tenant_id: str) -> list[str]:
        """Words that the tenant finds, once for each time they are stored."""


class RealLoki(Real):
    backend = "loki"

    def found(self, tenant_id: str) -> list[str]:
        query = urlencode({"query": '{service_name="checkout"}', "since": "1h", "limit": 1000})
        answer = get(f"{self.url}/loki/api/v1/query_range?{query}", {"X-Scope-OrgID": tenant_id})
        return sorted(line for stream in answer["data"]["result"] for _, line in stream["values"])


class RealOpenSearch(Real):
    backend = "opensearch"

    def found(self, tenant_id: str) -> list[str]:
        get(f"{self.url}/logs-tenant-{tenant_id}-*/_refresh", method="POST")
        answer = get(f"{self.url}/logs-tenant-{tenant_id}-*/_search?size=1000&q=tenant_id:{tenant_id}")
        return sorted(hit["_source"]["body"] for hit in answer["hits"]["hits"])


class RealPrometheus(Real):
    backend = "prometheus"

    def found(self, tenant_id: str) -> list[str]:
        query = urlencode({"query": f'{{tenant_id="{tenant_id}",__name__!="target_info"}}[1h]'})
        answer = get(f"{self.url}/api/v1/query?{query}")
        return sorted(series["metric"]["__name__"] for series in answer["data"]["result"] for _ in series["values"])


class RealTempo(Real):
    backend = "tempo"

    def __init__(self, kind: Kind, backends: dict[str, str]) -> None:
        super().__init__(kind, backends)
        self.address = urls()["tempo_otlp"]
        self.sent: list[bytes] = []

    def found(self, tenant_id: str) -> list[str]:
        ids = {
            s.trace_id.hex() for value in self.sent for r in ExportTraceServiceRequest.FromString(value).resource_spans for o in r.scope_spans for s in o.spans
        }
        names = []
        for trace_id in ids:
            answer = get(f"{self.url}/api/traces/{trace_id.rjust(32, '0')}", {"X-Scope-OrgID": tenant_id})
            names += [span["name"] for batch in answer.get("batches", []) for scope in batch["instrumentationLibrarySpans"] for span in scope["spans"]]
        return sorted(names)


REAL: dict[str, type[Real]] = {"loki": RealLoki, "opensearch": RealOpenSearch, "tempo": RealTempo}


def real(kind: Kind, backends: dict[str, str]) -> Real:
    """The real backend of a kind."""
    return REAL.get(kind.name, RealPrometheus)(kind, backends)


def get(url: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
    """JSON from a backend; an empty object when it has nothing."""
    try:
        with urlopen(Request(url, headers=headers or {}, method=method), timeout=10) as answer:  # noqa: S310 the stack's own URLs
            return json.loads(answer.read() or b"{}")
    except HTTPError as error:
        with error:
            if error.code == 404:
                return {}
            raise
