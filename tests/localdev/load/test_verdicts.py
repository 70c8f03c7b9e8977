"""Each bar holds below it and not above it; nothing seen is no proof."""

from collections.abc import Callable
from pathlib import Path

import pytest

from localdev.chaos.watch import Moment
from localdev.load import report, verdicts
from localdev.load.generator import Push
from localdev.load.measure import Found, Measured, Order
from localdev.load.profiles import LOGS, PROFILES
from localdev.load.verdicts import backlog

SECONDS = 40.0


def push(due: float, latency: float = 0.01, tenant: int = 1) -> Push:
    return Push(tenant, LOGS, due, due + latency, 0.0, 20, 2000, "")


def moment(at: float, lag: int = 0) -> Moment:
    return Moment(at, {"sink_loki": lag}, {"gateway": 50 * 2**20}, {"gateway": at / 10}, {"gateway": 9})


def good(name: str = "baseline") -> Measured:
    """A run in which all went well."""
    measured = Measured(Order(name, PROFILES[name], SECONDS))
    measured.pushes = [push(number / 10) for number in range(400)]
    measured.moments = [moment(float(at)) for at in range(42)]
    measured.caught_up = 41.0
    measured.topic = [(1.0, 0.002)] * 50
    measured.queryable = {"loki": [(1.0, 1.5)] * 40}
    measured.never = {"loki": 0}
    measured.found = {"loki": Found(8000)}
    return measured


def failing(measured: Measured) -> set[str]:
    return {one.what for one in verdicts.judge(measured) if not one.holds}


@pytest.mark.parametrize("name", PROFILES)
def test_all_hold_when_all_went_well(name: str) -> None:
    assert not failing(good(name))


def _lose(measured: Measured) -> None:
    measured.found["loki"] = Found(8000, missing=1)


def _double(measured: Measured) -> None:
    measured.found["loki"] = Found(8000, doubled=1)


def _refuse(measured: Measured) -> None:
    measured.given_up = ["400"]


def _bury(measured: Measured) -> None:
    measured.letters = [("id", "sink_loki", "invalid", "")]


def _hide(measured: Measured) -> None:
    measured.never = {"loki": 1}


def _stay_behind(measured: Measured) -> None:
    measured.caught_up = None


@pytest.mark.parametrize("name", ["baseline", "peak"])
@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (_lose, "lost: records sent that are missing in a backend"),
        (_double, "records that are there twice"),
        (_refuse, "batches given up by their clients"),
        (_bury, "dead letters"),
        (_hide, "probes that were never found"),
        (_stay_behind, "lag back to 0"),
    ],
)
def test_what_must_not_be_under_any_load(name: str, harm: Callable[[Measured], None], what: str) -> None:
    measured = good(name)
    harm(measured)
    assert failing(measured) == {what}


def _slow_push(measured: Measured) -> None:
    measured.pushes += [push(1.0, 0.31)] * 5


def _slow_topic(measured: Measured) -> None:
    measured.topic += [(1.0, 0.51)] * 2


def _slow_reads(measured: Measured) -> None:
    measured.queryable["loki"] += [(1.0, 5.1)] * 4


def _very_slow_reads(measured: Measured) -> None:
    measured.queryable["loki"] += [(1.0, 15.1)]


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (_slow_push, "push p99"),
        (_slow_topic, "2xx → topic p99"),
        (_slow_reads, "event → queryable in loki, p95"),
        (_very_slow_reads, "event → queryable in loki, p99"),
    ],
)
def test_latency_is_judged_at_the_baseline_alone(harm: Callable[[Measured], None], what: str) -> None:
    baseline, peak = good("baseline"), good("peak")
    harm(baseline)
    harm(peak)
    assert failing(baseline) == {what}
    assert not failing(peak)


def test_what_was_never_seen_holds_no_bar() -> None:
    measured = good()
    measured.topic, measured.queryable, measured.found = [], {"loki": []}, {}
    assert failing(measured) == {
        "2xx → topic p99",
        "event → queryable in loki, p95",
        "event → queryable in loki, p99",
        "lost: records sent that are missing in a backend",
    }


def test_the_noisy_tenant_is_judged_by_what_the_others_feel() -> None:
    measured = good("noisy")
    measured.pushes += [push(15.0, 9.0, tenant=0)] * 100  # its own, in a noisy window
    assert not failing(measured)
    measured.pushes += [push(15.0, 0.021)] * 10
    assert failing(measured) == {"the others' push p99 beside the noisy tenant / without"}


def test_after_an_outage_the_backlog_is_taken_and_then_worked_off() -> None:
    measured = good("outage")
    measured.pushes += [push(20.0, 3.0)]
    measured.moments = [moment(float(at), 5 if at < 20 else 900 if at < 31 else 4) for at in range(42)]
    assert backlog(measured) == (3.0, 11.0)


def test_a_backlog_that_stays_is_told() -> None:
    measured = good("outage")
    measured.moments = [moment(float(at), 5 if at < 20 else 900) for at in range(42)]
    assert backlog(measured) is None


@pytest.mark.parametrize("name", PROFILES)
def test_the_report_has_all_its_parts(name: str, tmp_path: Path) -> None:
    measured = good(name)
    found = verdicts.judge(measured)
    page = report.write(measured, found, report.tables(measured, found), tmp_path)
    text = page.read_text()
    drawn = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert drawn == ["cpu.svg", "descriptors.svg", "lag.svg", "memory.svg", "push.svg", "queryable.svg", "throughput.svg"]
    assert all(f"({plot})" in text for plot in drawn)
    assert all(one.what in text for one in found)


def test_the_report_of_a_run_in_which_nothing_was_taken_can_be_written(tmp_path: Path) -> None:
    measured = Measured(Order("baseline", PROFILES["baseline"], SECONDS), given_up=["503"])
    found = verdicts.judge(measured)
    report.write(measured, found, report.tables(measured, found), tmp_path)
    assert (tmp_path / "report.json").exists()
