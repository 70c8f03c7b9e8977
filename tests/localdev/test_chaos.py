"""The chaos run's own parts: what it sends can be told apart, what it says of an outage is what happened, and it ends when told to."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from localdev.chaos import __main__ as command
from localdev.chaos.load import Run, Sender, requests
from localdev.chaos.outage import Course, Plan
from localdev.chaos.watch import TRIGGER, Moment, lags
from shared.codecs.compression import unsnappy
from shared.codecs.prompb.remote1_pb2 import WriteRequest

PAGE = """\
# HELP obstack_group_lag_records End of the partition less the committed offset, or its beginning.
# TYPE obstack_group_lag_records gauge
obstack_group_lag_records{group="sink-loki",partition="0",topic="telemetry.logs"} 7.0
obstack_group_lag_records{group="sink-loki",partition="1",topic="telemetry.logs"} 3.0
obstack_group_lag_records{group="sink-prom",partition="0",topic="telemetry.metrics"} 0.0
obstack_group_lag_records{group="dead-letter",partition="0",topic="telemetry.dead-letters"} 5.0
"""


def test_a_sinks_lag_is_that_of_all_its_partitions() -> None:
    """A sink of which nothing is known isn't one without lag."""
    assert lags(PAGE, {"sink-loki": "sink_loki", "sink-prom": "sink_prom", "sink-tempo": "sink_tempo"}) == {"sink_loki": 10, "sink_prom": 0}


class TestRun:
    RUN = Run("r", 1000, 2000, 400, began_ns=10**18, seconds=600.0)

    def test_log_records_have_times_of_their_own_within_the_run(self) -> None:
        batches = [ExportLogsServiceRequest.FromString(make()[2]) for make in requests(self.RUN)["logs"]]
        times = [record.time_unix_nano for batch in batches for record in batch.resource_logs[0].scope_logs[0].log_records]
        assert len(set(times)) == 1000
        assert times == sorted(times)
        assert self.RUN.began_ns <= times[0] < times[-1] < self.RUN.until_ns

    def test_a_series_has_one_sample_at_a_time(self) -> None:
        batches = [WriteRequest.FromString(unsnappy(make()[2], 10**6)) for make in requests(self.RUN)["samples"]]
        places = [(series.labels[2].value, sample.timestamp) for batch in batches for series in batch.timeseries for sample in series.samples]
        assert len(set(places)) == 2000


@contextmanager
def gateway(says: int, came: list[bytes]) -> Iterator[str]:
    """The URL of one that always says the same; what came to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(says)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_sender_that_is_left_sends_no_more() -> None:
    """Neither what it waits to send nor what it sends again and again."""
    with gateway(503, []) as url, Sender(url, "t", Run("r", 400, 1, 1), 1, patience=1e9) as sender:
        under_way = sender.start(0, 1e9)
    assert all(future.done() for future in under_way)


def test_a_batch_whose_answer_is_lost_is_sent_once_more() -> None:
    """The same bytes, of each signal."""
    came: list[bytes] = []
    with gateway(200, came) as url, Sender(url, "t", Run("r", 1000, 1, 1), 1, patience=10, lost_every=4) as sender:
        for future in sender.start(0, 0):
            future.result()
    assert sorted(Counter(came).values()) == [1, 1, 1, 2, 2, 2, 2]
    assert (sender.again, sender.lost) == (0, 4)


def moment(at: float, lag: int, memory: int = 50, cpu: float = 0.0) -> Moment:
    sinks = {"sink_loki": lag, "sink_tempo": 1}
    return Moment(at, sinks, dict.fromkeys((*sinks, TRIGGER), memory * 2**20), dict.fromkeys((*sinks, TRIGGER), cpu))


class TestOutage:
    PLAN = Plan("loki", 60.0, 600.0)
    MOMENTS = (moment(0, 0), moment(10, 1), moment(40, 300, 60, 3.0), moment(70, 601, 55, 6.0), moment(80, 20), moment(90, 0))
    COURSE = Course(PLAN, MOMENTS[1], MOMENTS[3], MOMENTS[4], MOMENTS)

    def test_batches_come_before_it_and_after_it_too(self) -> None:
        assert self.PLAN.sending > self.PLAN.seconds
        run = self.PLAN.run("r")
        assert run.logs == 200 * self.PLAN.sending * 10
        assert run.seconds == self.PLAN.sending

    def test_the_story_counts_what_came_meanwhile(self) -> None:
        """From 601 behind to 20 in 10 s, while 100 more came."""
        assert self.COURSE.story() == ("loki was away for 60 s, 601 batches behind; caught up 10.0 s after it was ready: 4,086 batches/min, 13,620 records/s")

    def test_the_table_has_the_time_it_was_away(self) -> None:
        cells = [list(column.cells) for column in self.COURSE.table().columns]
        assert [column[0] for column in cells][:8] == ["sink_loki", "601", "601", "601", "0", "50 to 50", "50 to 60", "50 to 55"]
        assert cells[8][0] == "0.100"
        assert [column[2] for column in cells][:5] == ["trigger", "", "", "", ""]


@pytest.mark.parametrize("arguments", [["--outage", "kafka"], ["--outage", "loki", "--minutes", "0"], ["--outage", "loki", "--rate", "x"]])
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(arguments)
    assert refused.value.code == 2


def test_help_shows_an_outage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    assert "--outage loki --minutes 10" in capsys.readouterr().out


def test_without_a_stack_it_says_what_to_do(local: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 1
    assert "./task up starts it" in capsys.readouterr().err
