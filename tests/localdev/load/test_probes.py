"""Probes are found when a read shows them and not before; what never shows up is told."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from localdev.chaos.load import Run
from localdev.load.probes import BACKENDS, Probes
from shared.codecs.compression import unsnappy
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from tests import waiting

RUN = Run("r", 0, 0, 0)


@dataclass
class Pipeline:
    """Takes everything, and shows in `shown` backends at once what it took."""

    url: str = ""
    shown: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    spans: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()  # gzip is taken off by the server
        match request.path.split("/")[-1]:
            case "logs":
                logs = ExportLogsServiceRequest.FromString(body).resource_logs[0].scope_logs[0].log_records
                self.lines += [record.body.string_value for record in logs]
            case "traces":
                self.spans += [span.name for span in ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans]
            case "write":
                self.values += [int(one.samples[0].value) for one in WriteRequest.FromString(unsnappy(body, 10**6)).timeseries]
        return web.Response()

    async def show(self, request: web.Request) -> web.Response:
        assert request.headers["x-obstack-auth-token"] == "token"
        backend = next(
            name
            for part, name in (("/loki/", "loki"), ("/prometheus/", "prometheus"), ("/tempo/", "tempo"), ("/logs/search", "opensearch"))
            if part in request.path
        )
        seen = backend in self.shown
        match backend:
            case "loki":
                assert request.query["query"] == '{service_name="chaos-r"}'
                return web.json_response({"data": {"result": [{"values": [["1", line] for line in self.lines]}] if seen else []}})
            case "opensearch":
                assert (request.query["q"], request.query["sort"]) == ("r", "oldest")
                return web.json_response({"hits": [{"body": line} for line in self.lines] if seen else []})
            case "prometheus":
                assert re.fullmatch(r'chaos_number\{run="r"\}\[\d+s\]', request.query["query"])
                return web.json_response({"data": {"result": [{"values": [[1, str(value)]]} for value in self.values] if seen else []}})
        if not seen:
            return web.Response(status=404)
        return web.json_response({"batches": [{"instrumentationLibrarySpans": [{"spans": [{"name": name} for name in self.spans]}]}]})


@pytest.fixture
async def pipeline() -> AsyncIterator[Pipeline]:
    """Shows nothing yet."""
    made = Pipeline()
    app = web.Application()
    app.router.add_post("/ingest/{path:.*}", made.take)
    app.router.add_get("/query/{path:.*}", made.show)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def test_a_probe_is_found_once_it_shows_up_and_its_time_counts_from_the_event(pipeline: Pipeline) -> None:
    probes = Probes(pipeline.url, "token", RUN, 10)
    probes.__enter__()
    try:
        await waiting.until_so(lambda: min(len(pipeline.lines), len(pipeline.values), len(pipeline.spans)) >= 2)
        assert probes.found == {backend: [] for backend in BACKENDS}
        probes.stop()
        pipeline.shown = {"loki", "opensearch", "prometheus"}
        await waiting.until_so(lambda: not any(probes.missing()[backend] for backend in pipeline.shown))
        assert all(max(took for _, took in probes.found[backend]) >= 1 for backend in pipeline.shown)  # the first waited for the second, a second later
    finally:
        await asyncio.to_thread(probes.__exit__)
    assert {backend: len(found) for backend, found in probes.found.items()} == {
        "loki": len(pipeline.lines),
        "opensearch": len(pipeline.lines),
        "prometheus": len(pipeline.values),
        "tempo": 0,
    }
    assert probes.missing() == {"loki": 0, "opensearch": 0, "prometheus": 0, "tempo": len(pipeline.spans)}
    assert not probes.given_up
