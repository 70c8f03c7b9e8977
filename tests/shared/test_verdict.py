"""Answer tables: first row that fits, and what no row knows."""

import logging

import pytest
from prometheus_client import REGISTRY

from shared.contract import Reason
from shared.errors import Later, Never, Trouble
from shared.verdict import Means, Refusal, Row, judge

TABLE = (
    Row({200}, Means.DONE),
    Row({400}, Refusal(Reason.INVALID), "bad label"),
    Row({400}, Refusal(Reason.REFUSED_BY_BACKEND, named=False)),
    Row({503, "UNAVAILABLE"}, Means.TRANSIENT),
    Row({429}, Means.BUSY),
    Row({404}, Means.CONFIGURATION),
)


def test_done_returns() -> None:
    """A yes needs nothing more."""
    judge(TABLE, 200, "", "x")


def test_first_row_that_fits_decides() -> None:
    """Words before the bare code."""
    with pytest.raises(Never) as named:
        judge(TABLE, 400, "a bad label it was", "x")
    assert (named.value.reason, named.value.named) == (Reason.INVALID, True)
    with pytest.raises(Never) as unnamed:
        judge(TABLE, 400, "hm", "x")
    assert (unnamed.value.reason, unnamed.value.named) == (Reason.REFUSED_BY_BACKEND, False)


def test_words_that_hold_everybody_stand_first() -> None:
    """Further back they may be a customer's."""
    disk = Row({500}, Means.TRANSIENT, "disk full", first=True)
    assert disk.fits(500, "disk full: /data")
    assert not disk.fits(500, "no good: disk full")
    assert not disk.fits(400, "disk full")


@pytest.mark.parametrize("code", [503, "UNAVAILABLE"])
def test_transient_is_later_and_quiet(code: int | str, caplog: pytest.LogCaptureFixture) -> None:
    """A busy backend is no error of anyone's."""
    with pytest.raises(Later) as later:
        judge(TABLE, code, "", "x", 7)
    assert later.value.retry_after == 7
    assert not caplog.records


@pytest.mark.parametrize(("code", "trouble"), [(503, True), (404, True), (429, False), (302, False)])
def test_what_concerns_everybody_is_trouble(code: int, trouble: bool) -> None:
    """A breaker counts it; one tenant's limit, and an answer that nobody knows, is this batch's alone."""
    with pytest.raises(Later) as later:
        judge(TABLE, code, "", "x")
    assert isinstance(later.value, Trouble) is trouble


@pytest.mark.parametrize("code", [404, 302, "NOVEL"])
def test_configuration_and_the_unknown_are_held_loudly(code: int | str, caplog: pytest.LogCaptureFixture) -> None:
    """Losing data to a code nobody thought of is worse than lag."""
    with pytest.raises(Later):
        judge(TABLE, code, "page not found", "x")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize(("code", "means"), [(404, "configuration"), (302, "unknown")])
def test_what_waits_for_a_person_is_counted(code: int, means: str) -> None:
    """By an alert he hears of it."""

    def counted() -> float:
        return REGISTRY.get_sample_value("obstack_sink_held_answers_total", {"backend": "counted", "means": means}) or 0

    before = counted()
    with pytest.raises(Later):
        judge(TABLE, code, "", "counted")
    assert counted() == before + 1
    with pytest.raises(Later):
        judge(TABLE, 503, "", "counted")
    assert counted() == before + 1
