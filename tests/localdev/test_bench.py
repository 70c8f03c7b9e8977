"""The measurement measures what it says: right bodies, fair turns, honest load, figures in their place. No figure is asserted."""

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from string import Template

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from localdev.bench import __main__ as command
from localdev.bench import backlog, bodies, events, ingest, load, placement, report, rounds, servers, sinks, stack, stand_in, start
from localdev.bench.load import LoadError, Outcome, Target
from localdev.bench.report import Table
from localdev.bench.rounds import Effort, Generator, Spread, Turn
from localdev.bench.servers import Server
from localdev.functions import Function
from localdev.install.go_build import WRAPPERS
from localdev.install.servers import bench_collector
from localdev.paths import STACK
from localdev.ports import free_port
from shared import envelope
from shared.codecs import otlp
from shared.codecs.compression import unsnappy
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from shared.codecs.prompb.remote2_pb2 import Request
from shared.contract import MAX_RECORD_BYTES
from tests.localdev.conftest import Bench

NOW = 10**9
TENANT = "00000000-0000-4000-8000-000000000001"
OLD = "00000000-0000-7000-8000-000000000002"
SHAPES = {"logs": otlp.LOGS, "metrics": otlp.METRICS, "traces": otlp.TRACES}


class TestBodies:
    @pytest.mark.parametrize("size", ingest.SIZES)
    @pytest.mark.parametrize("signal", SHAPES)
    def test_a_request_has_as_many_records_as_it_says_and_ingest_takes_them_all(self, signal: str, size: int) -> None:
        body, shape = bodies.SIGNALS[signal](size), SHAPES[signal]
        message = otlp.parse(shape, body)
        now = message.resource_logs[0].scope_logs[0].log_records[0].time_unix_nano if isinstance(message, ExportLogsServiceRequest) else NOW
        checked = otlp.check(shape, message, body, now)
        assert (checked.records, checked.rejected) == (size, 0)
        assert checked.value is body, "written anew: that would be measured too"

    def test_remote_write_has_its_samples(self) -> None:
        for message, make in ((WriteRequest, bodies.series_1), (Request, bodies.series_2)):
            series = message.FromString(make(ingest.SAMPLES)).timeseries
            assert sum(len(one.samples) for one in series) == ingest.SAMPLES

    def test_encodings_can_be_undone(self) -> None:
        assert gzip.decompress(bodies.ENCODINGS["gzip"](b"abc")) == b"abc"
        assert unsnappy(bodies.ENCODINGS["snappy"](b"abc"), 10) == b"abc"
        assert bodies.ENCODINGS["identity"](b"abc") == b"abc"


class Endpoint:
    """An HTTP server that keeps what it was sent. `answer` is what it says."""

    def __init__(self, answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n") -> None:
        self.answer = answer
        self.tokens: Counter[str] = Counter()
        self.requests: list[tuple[str, bytes]] = []
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> "Endpoint":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = re.search(r"Content-Length: (\d+)", head)
                token = re.search(r"Authorization: Bearer (\S+)", head)
                assert length
                assert token
                self.tokens[token[1]] += 1
                self.requests.append((head, await reader.readexactly(int(length[1]))))
                if not self.answer:
                    break
                # In two pieces: an answer need not come in one.
                writer.write(self.answer[:20])
                await writer.drain()
                writer.write(self.answer[20:])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def target(self, *tokens: str) -> Target:
        return Target(self.port, "/v1/logs", (("Content-Type", "x"),), b"body", tokens or ("t",))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        yield server


class TestLoad:
    def test_every_token_has_its_turn_whatever_the_time(self, endpoint: Endpoint) -> None:
        outcome = load.closed(endpoint.target("a", "b", "c"), connections=2, seconds=0, at_least=6)
        assert outcome.requests == 6
        assert endpoint.tokens == {"a": 2, "b": 2, "c": 2}

    def test_all_that_was_sent_is_counted_and_whole(self, endpoint: Endpoint) -> None:
        outcome = load.closed(endpoint.target(), connections=3, seconds=0.05)
        assert outcome.requests == len(endpoint.requests) >= 3
        assert {body for _, body in endpoint.requests} == {b"body"}
        assert all(head.startswith("POST /v1/logs HTTP/1.1\r\n") and "Content-Type: x\r\n" in head for head, _ in endpoint.requests)
        assert outcome.p50 <= outcome.p99

    def test_an_open_loop_sends_what_its_rate_says(self, endpoint: Endpoint) -> None:
        planned = len(list(load._moments(400, 0.25)))
        assert load.opened(endpoint.target(), 400, 0.25).requests == planned > 50

    def test_an_answer_with_a_body_is_read_to_its_end(self, endpoint: Endpoint) -> None:
        endpoint.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 300\r\n\r\n" + b"x" * 300
        assert load.closed(endpoint.target(), connections=1, seconds=0, at_least=3).requests == 3

    @pytest.mark.parametrize(
        ("answer", "said"),
        [(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy", "503 Service Unavailable: busy"), (b"", "hung up")],
        ids=["refused", "hung up"],
    )
    def test_a_failure_ends_the_run_and_says_why(self, endpoint: Endpoint, answer: bytes, said: str) -> None:
        endpoint.answer = answer
        with pytest.raises(LoadError, match=said):
            load.closed(endpoint.target(), connections=1, seconds=5)

    def test_percentiles_are_those_of_figures_there_were(self) -> None:
        ordered = [float(number) for number in range(100)]
        assert (load.percentile(ordered, 50), load.percentile(ordered, 99), load.percentile([7.0], 99)) == (50, 99, 7)


class Recorder(Generator):
    """A generator that only keeps what it was asked. Server B answers 100 requests a second, server A 300."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, float]] = []

    def closed(self, server: Server, target: Target, connections: int, seconds: float, at_least: int = 0) -> Turn:  # noqa: ARG002
        self.asked.append(("closed", server.name, at_least))
        return Turn(Outcome(300 if server.name == "A" else 100, 1.0, 0.1, 0.2), cpu_ms=1.0)

    def opened(self, server: Server, target: Target, rate: float, seconds: float) -> Turn:  # noqa: ARG002
        self.asked.append(("opened", server.name, rate))
        return Turn(Outcome(50, 1.0, 0.1, 0.2), cpu_ms=1.0)


def test_servers_take_turns_and_half_load_is_half_of_the_slower_ones() -> None:
    generator = Recorder()
    target = Target(1, "/", (), b"", ("a", "b", "c"))
    measured, rate = rounds.compare(generator, [(Server(name, 1, 1), target) for name in "AB"], Effort(2, 1.0, 8))
    assert [(kind, name) for kind, name, _ in generator.asked] == [(kind, name) for kind in ("closed", "closed", "closed", "opened", "opened") for name in "AB"]
    assert [at_least for _, _, at_least in generator.asked[:4]] == [3, 3, 0, 0], "tokens are looked up before it counts"
    assert rate == 50
    assert {asked for kind, _, asked in generator.asked if kind == "opened"} == {50}
    assert [len(one.full) for one in measured] == [len(one.half) for one in measured] == [2, 2]


def test_a_ratio_is_that_of_neighbours() -> None:
    assert Spread.ratio([1.0, 2.0, 9.0], [2.0, 1.0, 3.0]) == Spread(0.5, 2.0, 3.0)
    assert Spread(0.5, 2.0, 3.0).show(1) == "2.0 (0.5 to 3.0)"


def test_children_count_as_their_server() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        alone, family = Server("child", 0, child.pid), Server("family", 0, os.getpid())
        used = alone.cpu_seconds()
        assert used >= 0.3
        assert family.cpu_seconds() >= used
        pss, rss = alone.memory()
        assert 0 < pss <= rss
        child.communicate(b"\n")


@pytest.fixture
def threads() -> Iterator[int]:
    """A process with a second thread; its pid."""
    program = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        yield child.pid
        child.communicate(b"\n")


class TestPlacement:
    @pytest.mark.skipif(not placement.cores(), reason="this system binds nobody to cores")
    def test_all_threads_are_bound_and_let_go(self, threads: int) -> None:
        *_, last = everywhere = placement.cores()

        def where() -> list[set[int]]:
            return [os.sched_getaffinity(int(thread.name)) for thread in Path(f"/proc/{threads}/task").iterdir()]

        with placement.bound({threads: last}):
            assert where() == [{last}] * 2
        assert where() == [set(everywhere)] * 2

    def test_a_share_ends_with_its_block(self, threads: int) -> None:
        try:
            with placement.limited([threads], 0.25):
                group = placement.above() / f"obstack-bench-{threads}"
                assert (group / "cgroup.procs").read_text().split() == [str(threads)]
                quota = [(group / name).read_text() for name in ("cpu.max", "cpu.cfs_quota_us") if (group / name).exists()]
                assert quota[0].split()[0] == "5000"
        except OSError as error:
            pytest.skip(f"no share to be had here: {error}")
        assert not group.exists()


class TestServers:
    @pytest.mark.parametrize("names", [("kafka", "postgres"), ("kafka", "opensearch")])
    def test_only_the_backends_asked_for_run_beside_them(self, names: tuple[str, ...]) -> None:
        services = {service.name: service for service in stack.services(names)}
        assert tuple(services) == names
        assert "--override" in services["kafka"].command()

    def test_the_collector_is_complete_and_pinned(self) -> None:
        module = (WRAPPERS / bench_collector.name / "go.mod").read_text()
        for part in ("exporter/kafkaexporter", "receiver/kafkareceiver", "exporter/otlphttpexporter"):
            assert f"{part} v{bench_collector.version}\n" in module
        assert (WRAPPERS / bench_collector.name / "go.sum").exists()
        assert servers.collector_binary() == bench_collector.binary()

    def test_the_collector_promises_what_ingest_promises(self) -> None:
        config = (STACK / "collector" / "bench.yml").read_text()
        assert "required_acks: all" in config
        assert "sending_queue: {enabled: false}" in config
        assert f"max_message_bytes: {MAX_RECORD_BYTES + 65_536}\n" in config
        assert {"LOGS_TOPIC", "METRICS_TOPIC", "TRACES_TOPIC"} <= set(Template(config).get_identifiers())

    def test_the_collector_forgets_a_record_only_when_loki_has_it(self) -> None:
        config = (STACK / "collector" / "bench-loki.yml").read_text()
        assert "message_marking: {after: true, on_error: false}" in config
        assert "sending_queue: {enabled: false}" in config


class TestEvents:
    def test_requests_are_events_of_our_own_that_differ_by_their_id_and_batch(self) -> None:
        event = events.record(TENANT, bodies.logs(2))
        requests = events.Series.of(event, 1).times(3).requests()
        read = [envelope.from_event(dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2]), body) for head, body in requests]
        assert {one.tenant_id for one in read} == {TENANT}
        assert len({one.id for one in read} | {event.id}) == 4
        for one in (event, *read):
            assert one.value.count(one.id.encode()) == 1
            assert one.value.replace(one.id.encode(), bodies.INSTANCE.encode()) == bodies.INSTANCE.encode().join(event.value.split(event.id.encode()))

    def test_bulk_bodies_are_of_documents_that_differ_as_much(self) -> None:
        old = {"resource": {"service.instance.id": OLD}, "body": "é"}
        hits = [{"_index": "i", "_id": f"186f2a1-{'d' * 32}-{place}", "_source": {"record_id": "", **old}} for place in range(2)]
        identity = sinks.instance(hits[0])
        series = events.Series(1, sinks.BULK, (), sinks.bulk_body(hits, identity), ("t",), (), identity)
        [(head, body)] = series.requests()
        action, source, *more = body.decode().splitlines()
        made = json.loads(source)
        new = made["resource"]["service.instance.id"]
        assert new != OLD
        assert json.loads(action) == {"create": {"_index": "i", "_id": f"186-{new}-0"}}
        assert made == {"record_id": f"186-{new}-0", "resource": {"service.instance.id": new}, "body": "é"}
        assert len(hits[0]["_id"]) == len(made["record_id"])
        assert len(more) == 2
        assert f"Content-Length: {len(body)}\r\n".encode() in head


class TestBacklog:
    """Loki's counters are read; the rest needs the servers."""

    PAGE = (
        b'loki_distributor_lines_received_total{is_internal_stream="false",tenant="%s"} 30\n'
        b'loki_distributor_lines_received_total{is_internal_stream="false",tenant="other"} 7\n'
        b'loki_request_duration_seconds_count{method="POST",route="otlp_v1_logs",status_code="204",ws="false"} 4\n'
        b'loki_request_duration_seconds_count{method="GET",route="ready",status_code="503",ws="false"} 1\n'
    ) % b"00000000-0000-4000-8000-000000000001"

    def test_lines_are_the_tenants_and_pushes_are_all(self) -> None:
        assert backlog.counted(self.PAGE, [TENANT]) == (30, 4)
        assert backlog.counted(self.PAGE, [TENANT, "other"]) == (37, 4)
        assert backlog.counted(b"", [TENANT]) == (0, 0)

    def test_a_refused_push_ends_the_run(self) -> None:
        with pytest.raises(LoadError, match="'429': 2"):
            backlog.counted(self.PAGE + self.PAGE.replace(b'"204",ws="false"} 4', b'"429",ws="false"} 2'), [TENANT])

    def test_a_ratio_is_of_the_sink_alone_and_with_the_trigger(self) -> None:
        ours, theirs = backlog.Turn(1000, 10, 1.0, (0.001, 0.002)), backlog.Turn(1000, 100, 2.0, (0.002,))
        assert backlog.row("10", [ours], [theirs])[1:] == (
            "1.00, 3.00 / 2.00",
            "0.50 (0.50 to 0.50)",
            "1.50 (1.50 to 1.50)",
            "1,000 / 500",
            "100 / 10",
        )


def test_two_instances_share_the_connections(endpoint: Endpoint) -> None:
    with Endpoint() as other:
        outcome = load.closed(replace(endpoint.target(), more_ports=(other.port,)), connections=4, seconds=0, at_least=4)
        assert outcome.requests == 4
        assert (len(endpoint.requests), len(other.requests)) == (2, 2)


def test_the_stand_in_takes_requests_in_pieces_and_one_after_the_other() -> None:
    written: list[bytes] = []
    transport = type("Transport", (), {"write": lambda _, data: written.append(data)})()
    connection = stand_in.StandIn()
    connection.connection_made(transport)
    for piece in (b"POST / HTTP/1.1\r\nContent-", b"Length: 5\r\n\r\nab", b"c", b"de"):
        assert written == []
        connection.data_received(piece)
    assert len(written) == 1
    connection.data_received(b"POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\nx")
    assert len(written) == 2


class TestReport:
    def test_a_measurement_replaces_its_own_tables_only(self, tmp_path: Path) -> None:
        page = tmp_path / "performance.md"
        page.write_text("head\n<!-- bench prom -->\nold\n<!-- end of bench prom -->\n<!-- bench start -->\nkept\n<!-- end of bench start -->\n")
        for _ in range(2):
            report.write("prom", ["facts"], [Table("T", ("a", "b"), [("x", "1")])], page)
        text = page.read_text()
        assert text.startswith(
            "head\n<!-- bench prom -->\n\nfacts\n\n**T**\n\n| a | b |\n| --- | ---: |\n| x | 1 |\n\n<!-- end of bench prom -->\n<!-- bench start -->\nkept\n"
        )
        assert "old" not in text

    def test_a_page_without_the_place_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "page.md").write_text("nothing")
        with pytest.raises(ValueError, match="no markers"):
            report.write("prom", [], [], tmp_path / "page.md")

    @pytest.mark.parametrize("measurement", ["ingest", "prom", "sinks", "start"])
    def test_the_page_has_a_place_for_each(self, measurement: str) -> None:
        assert re.search(f"<!-- bench {measurement} -->.*<!-- end of bench {measurement} -->", report.PAGE.read_text(), re.DOTALL)


class TestCommand:
    @pytest.mark.parametrize("arguments", [["ingest", "--quick", "--write"], ["prom", "--only", "2.0", "--write"], ["prom", "--rounds", "0"], ["what"]])
    def test_what_makes_no_sense_is_refused(self, arguments: list[str]) -> None:
        with pytest.raises(SystemExit) as refused:
            command.main(arguments)
        assert refused.value.code == 2

    def test_a_case_that_is_not_there_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        for name, known in (("ingest", "10 log records, identity, 1 tenant"), ("sinks", "OpenSearch")):
            assert command.main([name, "--only", "no such"]) == 1
            assert known in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["ingest", "prom", "sinks", "start"])
    def test_help(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            command.main([name, "--help"])
        assert ended.value.code == 0
        assert "--rounds" in capsys.readouterr().out

    def test_the_quick_cases_are_there(self) -> None:
        assert set(command.QUICK) <= {case.name for case in ingest.otlp_cases([1])}

    @pytest.mark.stack
    @pytest.mark.parametrize(
        ("arguments", "measured"),
        [
            (["prom"], ["remote_write 1.0, 2000 samples", "remote_write 2.0, 2000 samples"]),
            (["sinks", "--only", "instances"], ["10 log records, no limit", "512 log records, no limit"]),
        ],
        ids=["prom", "sinks"],
    )
    def test_a_run_measures_and_leaves_nothing_behind(self, bench: Bench, arguments: list[str], measured: list[str], tmp_path: Path) -> None:
        ran = bench(*arguments, "--rounds", "1", "--seconds", "0.2")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert [words for words in measured if words not in ran.stdout] == []
        assert not (tmp_path / "bench").exists()


def test_starts_are_told_by_function_with_what_was_waited_for() -> None:
    """Medians of seconds and MiB, and the size of the image's tree."""
    measured = {name: [start.Start(seconds, 50 * 2**20, 70 * 2**20) for seconds in (0.4, 0.9, 0.5)] for name in ("ingest_prom", "sink_loki")}
    rows = start.table(measured, {"ingest_prom": 90_400_000, "sink_loki": 93_000_000}).rows
    figures = ("0.50 (0.40 to 0.90)", "50 (50 to 50)", "70 (70 to 70)")
    assert rows == [("ingest_prom", "first 2xx", *figures, "90"), ("sink_loki", "ready", *figures, "93")]


def test_function_that_listens_not_yet_works_not_yet() -> None:
    port = free_port()
    for name in ("ingest_otlp", "ingest_prom", "ingest_otlp_grpc", "sink_loki"):
        assert not start._works(Function(name, port, (), None), "token")()
