"""What a soak run says of memory and descriptors."""

import pytest

from localdev import soak
from localdev.chaos.watch import Moment
from localdev.load.measure import Measured, Order
from localdev.load.profiles import PROFILES
from localdev.soak import trend

SECONDS = 2000


def measured(memory: list[float], descriptors: list[int]) -> Measured:
    """One process of ours and a backend, which grows however it likes."""
    made = Measured(Order("soak", PROFILES["baseline"], SECONDS))
    made.moments = [
        Moment(at, {}, {"gateway": int(size * 2**20), "loki": at * 2**20 + 1}, {}, {"gateway": files, "loki": at + 1})
        for at, (size, files) in enumerate(zip(memory, descriptors, strict=True))
    ]
    return made


def failing(made: Measured) -> set[str]:
    verdicts, _ = soak.judge(made)
    return {one.what for one in verdicts if not one.holds}


FLAT_MEMORY, FLAT_DESCRIPTORS = [100.0] * SECONDS, [40] * SECONDS


def test_flat_is_fine_and_backends_may_grow() -> None:
    verdicts, _ = soak.judge(measured(FLAT_MEMORY, FLAT_DESCRIPTORS))
    assert [one.what for one in verdicts] == ["memory of gateway", "descriptors of gateway"]
    assert all(one.holds for one in verdicts)


def test_growth_while_settling_does_not_count() -> None:
    assert not failing(measured([50.0 + min(at, 300) / 6 for at in range(SECONDS)], FLAT_DESCRIPTORS))


def test_growth_after_that_does() -> None:
    assert failing(measured([100.0 + at / 200 for at in range(SECONDS)], FLAT_DESCRIPTORS)) == {"memory of gateway"}


def test_one_high_moment_is_no_growth() -> None:
    assert not failing(measured([*FLAT_MEMORY[:-1], 140.0], FLAT_DESCRIPTORS))


def test_descriptors_that_are_not_given_back() -> None:
    assert failing(measured(FLAT_MEMORY, [40 + at // 100 for at in range(SECONDS)])) == {"descriptors of gateway"}


def test_hardly_seen_is_not_steady() -> None:
    assert failing(measured([1.0], [1])) == {"memory and descriptors"}


def test_a_trend_has_windows_and_a_line() -> None:
    rising = trend([(float(at), 100.0 + at) for at in range(101)])
    assert (rising.first, rising.last) == pytest.approx((104.5, 195.5))
    assert rising.rise == pytest.approx(100)
