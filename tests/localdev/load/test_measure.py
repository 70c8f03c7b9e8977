"""How what was seen becomes a figure."""

from collections.abc import Callable

import pytest

from localdev.chaos.watch import Moment
from localdev.load import measure
from localdev.load.generator import Push
from localdev.load.measure import Measured, Order
from localdev.load.profiles import LOGS, PROFILES
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
