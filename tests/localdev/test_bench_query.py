"""The measurement of reads asks both sides the same, counts what is in every backend's answer, and puts figures in their place. No figure is asserted."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from localdev.bench import __main__ as command
from localdev.bench import history, query, report
from localdev.bench.load import LoadError
from localdev.bench.query import Case, Result, Times
from localdev.bench.questions import Question, ask, asker, listening
from localdev.ports import free_port, ports
from shared.codecs.prompb.remote1_pb2 import WriteRequest
from tests.backends import HttpBackend, Says
from tests.localdev.conftest import Bench

END = 1_800_000_000 * 10**9
HOUR = history.SECONDS * 10**9


class TestHistory:
    def test_log_records_fill_the_hour_in_order_and_are_of_all_services(self) -> None:
        requests = [ExportLogsServiceRequest.FromString(batch) for batch in history.logs(END)]
        times = [record.time_unix_nano for request in requests for record in request.resource_logs[0].scope_logs[0].log_records]
        names = [attribute.value.string_value for one in requests for attribute in one.resource_logs[0].resource.attributes if attribute.key == "service.name"]
        assert len(times) == history.BATCHES * history.LINES
        assert times == sorted(set(times))
        assert times[0] == END - HOUR
        assert times[-1] < END
        assert set(names) == set(history.SERVICES)

    def test_samples_end_with_the_hour(self) -> None:
        series = WriteRequest.FromString(history.samples(END)).timeseries
        assert len({tuple((label.name, label.value) for label in one.labels) for one in series}) == history.SERIES
        for one in series:
            times = [sample.timestamp for sample in one.samples]
            assert times == sorted(set(times))
            assert (times[0], times[-1]) == ((END - HOUR) // 10**6 + history.STEP * 1000, END // 10**6)

    def test_every_trace_has_one_root_and_its_spans_below_it(self) -> None:
        spans = [span for value in history.traces() for span in ExportTraceServiceRequest.FromString(value).resource_spans[0].scope_spans[0].spans]
        for trace, count in ((history.trace_id(0), history.SPANS), (history.LARGE_TRACE, history.MANY_SPANS)):
            own = [span for span in spans if span.trace_id.hex() == trace]
            (root,) = [span for span in own if not span.parent_span_id]
            assert len(own) == count
            assert {span.parent_span_id for span in own} == {b"", root.span_id}
        assert len({span.trace_id for span in spans}) == history.TRACES + 1


class TestCases:
    def test_every_read_is_of_a_backend_and_within_the_hour(self) -> None:
        for case in query.cases(END):
            assert case.backend_port in ports()
            asked = parse_qs(urlsplit(case.path).query)
            for name in {"start", "end", "from", "to", "time"} & set(asked):
                digits = asked[name][0]
                assert END - HOUR <= int(digits.ljust(19, "0")) <= END

    def test_names_are_told_apart(self) -> None:
        names = [case.name for case in query.cases(END)]
        assert len(names) == len(set(names))


class TestQuestions:
    def test_what_a_server_asks_of_its_backend_is_heard_whole(self) -> None:
        async def run(port: int) -> tuple[Question, bytes]:
            async with asker() as session, listening(session, port) as ear:
                heard = await ear.of(Question("POST", port, "/a%2Fb?q=%7B%7D", {"X-Scope-OrgID": "t", "Accept-Encoding": "identity", "Cookie": "no"}, b"body"))
                ear.says = b'{"data": [1]}'
                return heard, (await ask(session, heard)).body

        port = free_port()
        heard, answer = asyncio.run(run(port))
        assert (heard.method, heard.path, heard.body, heard.port) == ("POST", "/a%2Fb?q=%7B%7D", b"body", port)
        assert heard.headers["x-scope-orgid"] == "t"
        assert "cookie" not in {name.lower() for name in heard.headers}
        assert answer == b'{"data": [1]}'

    def test_a_server_that_asks_nothing_is_an_error(self) -> None:
        async def run(silent: int) -> None:
            async with asker() as session, listening(session, free_port()) as ear:
                await ear.of(Question("GET", silent, "/"))

        with HttpBackend(lambda _: Says(200)) as backend, pytest.raises(LoadError, match="0 requests to the backend"):
            asyncio.run(run(int(backend.url.rpartition(":")[2])))

    @pytest.mark.parametrize("status", [302, 404, 503])
    def test_what_is_no_yes_ends_the_run_and_says_why(self, status: int) -> None:
        async def run(port: int) -> None:
            async with asker() as session:
                await ask(session, Question("GET", port, "/x"))

        with HttpBackend(lambda _: Says(status, "because")) as backend, pytest.raises(LoadError, match=f"/x .*{status}: because"):
            asyncio.run(run(int(backend.url.rpartition(":")[2])))


ANSWERS: Mapping[str, tuple[int, Any]] = {
    "lines": (3, {"status": "success", "data": {"resultType": "streams", "result": [{"values": [["1", "a"], ["2", "b"]]}, {"values": [["3", "c"]]}]}}),
    "vector": (2, {"status": "success", "data": {"resultType": "vector", "result": [{"value": [1, "1"]}, {"value": [1, "2"]}]}}),
    "names": (2, {"status": "success", "data": ["a", "b"]}),
    "metadata": (1, {"status": "success", "data": {"up": [{"type": "gauge"}]}}),
    "a page of hits": (1, {"total": 1, "hits": [{}]}),
    "OpenSearch's hits": (2, {"hits": {"total": {"value": 9}, "hits": [{}, {}]}}),
    "traces": (1, {"traces": [{}], "metrics": {}}),
    "spans": (3, {"batches": [{"scopeSpans": [{"spans": [{}, {}]}]}, {"instrumentationLibrarySpans": [{"spans": [{}]}]}]}),
}


class TestCount:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_each_form_of_answer_is_counted(self, name: str) -> None:
        many, answer = ANSWERS[name]
        assert query.count(answer) == many

    @pytest.mark.parametrize("answer", [{}, [], {"status": "error"}, None])
    def test_another_form_is_an_error(self, answer: Any) -> None:
        with pytest.raises(LoadError, match="unknown form"):
            query.count(answer)


class TestTables:
    def test_figures_are_in_their_places(self) -> None:
        made = query.tables([_result("x", behind=False), _result("y", behind=True)], 4)
        alone, several, first, proxy = made
        assert alone.rows[0] == ("x", "2.0 kB", "30.0 / 30.0", "20.0 / 20.0", "10.0 / 10.0", "1.0 / 1.0", "3.0 / 3.0", "4.00")
        assert [row[0] for row in several.rows] == ["x", "y"]
        assert "4 at a time" in several.title
        assert first.rows[0] == ("x", "2.0 kB", "30.0 / 30.0", "20.0 / 20.0", "3.0 / 3.0", "30.0 / 30.0")
        assert proxy.rows == [("y", "30.0 / 30.0", "20.0 / 20.0", "15.0 / 15.0", "10.0 / 10.0", "5.0 / 5.0")]
        assert all(len(row) == len(table.columns) for table in made for row in table.rows)


def _result(name: str, *, behind: bool) -> Result:
    sides = 6 if behind else 5
    times = Times(sides)
    for side, seconds in zip(range(sides), (0.030, 0.020, 0.021, 0.005, 0.002, 0.015), strict=False):
        times.whole[side] = times.first[side] = [seconds] * 3
    times.cpu = [0.004]
    return Result(Case(name, "/loki/api/v1/labels", 1, large=True), [Question("GET", 1, "/")] * sides, bytes(2000), times, times)


class TestCommand:
    def test_a_read_that_is_not_there_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert command.main(["query", "--only", "no such"]) == 1
        assert "Tempo search" in capsys.readouterr().err

    def test_the_page_has_a_place_for_it(self) -> None:
        _, begun, rest = report.PAGE.read_text().partition("<!-- bench query -->")
        assert begun
        assert "<!-- end of bench query -->" in rest

    @pytest.mark.stack
    def test_a_run_measures_and_leaves_nothing_behind(self, bench: Bench, tmp_path: Path) -> None:
        ran = bench("query", "--rounds", "1", "--seconds", "0.1", "--connections", "2")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert [case.name for case in query.cases(END) if case.name not in ran.stdout] == []
        assert not (tmp_path / "bench").exists()
