"""The generator's process, and how what was seen becomes a figure."""

import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from localdev.chaos.harm import NotBack
from localdev.chaos.load import Run
from localdev.chaos.watch import Moment
from localdev.load import measure
from localdev.load.generator import Plan, Push
from localdev.load.measure import Measured, Order
from localdev.load.profiles import LOGS, PROFILES, SAMPLES, SPANS
from localdev.load.schedule import Batch, Client
from localdev.load.sightings import trace_of


class Lags:
    """A watch that sees these lags, one after the other, a second apart, and then nothing."""

    def __init__(self, *lags: int) -> None:
        self._moments = [Moment(100.0 + at, {"sink_loki": lag, "sink_tempo": 0}, {}, {}) for at, lag in enumerate(lags)]

    def wait_for(self, condition: Callable[[Moment], bool], _: float) -> Moment | None:
        while self._moments:
            if condition(moment := self._moments.pop(0)):
                return moment
        return None


@pytest.mark.parametrize(("lags", "when"), [((0,), 10.0), ((9, 5, 7, 3, 0), 14.0), ((9, 5, 5, 5), None), ((), None)])
def test_caught_up_is_when_nothing_is_left_or_never(lags: tuple[int, ...], when: float | None) -> None:
    assert measure._caught_up(Lags(*lags), zero=90.0, patience=1) == when  # type: ignore[arg-type]


def test_a_batch_is_in_its_topic_for_others_so_long_after_its_2xx() -> None:
    measured = Measured(Order("baseline", PROFILES["baseline"], 10))
    measured.pushes = [Push(0, LOGS, float(due), due + 0.5, 0, 1, 1, trace) for due, trace in enumerate(["seen", "", "never", "before"])]
    measure._compare(measured, {"seen": 1000.75, "before": 1003.25, "stranger": 1.0}, began=1000.0)
    assert measured.topic == [(0.0, 0.25), (3.0, -0.25)]
    assert measured.unseen == 1


@pytest.mark.parametrize(
    ("headers", "trace"),
    [({"ce_traceparent": b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-00"}, "0123456789abcdef0123456789abcdef"), ({"ce_id": b"1"}, ""), ({}, "")],
)
def test_a_record_is_known_by_its_trace(headers: dict[str, bytes | str | None], trace: str) -> None:
    assert trace_of(headers) == trace


@pytest.fixture
def gateway() -> Iterator[str]:
    """The URL of one that takes everything."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def plan(gateway: str, tokens: list[str]) -> Plan:
    clients = [Client(0, signal, 5, (Batch(0.0, 0.0, 0), Batch(2.5, 2.5, 5))) for signal in (LOGS, SAMPLES, SPANS)]
    return Plan(gateway, time.time(), tokens, [Run("r", 10, 10, 10)], clients, 30)


def test_the_generators_process_tells_how_it_goes_and_ends_when_all_is_sent(gateway: str) -> None:
    with measure._generating(plan(gateway, ["token"])) as ticks:
        told = list(ticks)
    assert len(told) >= 2
    assert [tick.done for tick in told] == [False] * (len(told) - 1) + [True]
    assert sorted((push.signal, push.due) for tick in told for push in tick.pushes) == sorted(
        (signal, due) for signal in (LOGS, SAMPLES, SPANS) for due in (0.0, 2.5)
    )
    assert told[-1].cpu > 0


def test_a_generator_that_dies_is_no_end(gateway: str, capfd: pytest.CaptureFixture[str]) -> None:
    with measure._generating(plan(gateway, [])) as ticks, pytest.raises(NotBack, match="the load generator died"):
        list(ticks)
    assert "IndexError" in capfd.readouterr().err  # what it died of is said
