"""`python -m localdev.soak`: do memory and descriptors stay flat under the baseline's load for long? `./task soak` calls it; the stack must be up.

Judged are our own processes: functions, trigger, gateway. Backends are shown; their caches grow by design.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression
from typing import Final

from localdev import admin, functions
from localdev.bench.report import Table
from localdev.load import command
from localdev.load.measure import Measured, Order
from localdev.load.profiles import PROFILES
from localdev.load.verdicts import Verdict

SETTLING_SECONDS: Final = 300.0
"""Pools, caches and the allocator's arenas fill up first; of a run that is shorter than four times this, a quarter."""
MOST_GROWTH: Final = 0.05
MORE_DESCRIPTORS: Final = 3
"""Of a few connections more or less at the moment one looks."""
WINDOW: Final = 0.1
"""Of the time that is looked at: its first and its last tenth are compared."""
EXAMPLES = """\
examples:
  ./task soak -- 30m
  ./task soak -- 2h --share 0.5
"""


@dataclass(frozen=True)
class Trend:
    """Of a figure over time: means of the first and the last window, and what a straight line through all of it rises by from begin to end."""

    first: float
    last: float
    rise: float

    @property
    def growth(self) -> float:
        """From the first window to the last, as a part of the first."""
        return self.last / self.first - 1

    @property
    def slope(self) -> float:
        """The line's rise, as a part of the first window."""
        return self.rise / self.first


def trend(points: Sequence[tuple[float, float]]) -> Trend:
    """Of (when, how much), in order of time; two at least."""
    when, values = zip(*points, strict=True)
    width = max(1, round(len(points) * WINDOW))
    return Trend(fmean(values[:width]), fmean(values[-width:]), linear_regression(when, values).slope * (when[-1] - when[0]))


def judge(measured: Measured) -> command.Judgement:
    """Verdicts on our own processes, and the trends of all of them."""
    seconds = measured.order.seconds
    moments = [moment for moment in measured.moments if min(SETTLING_SECONDS, seconds / 4) <= moment.at <= seconds]
    ours = {*(function.name for function in functions.catalogue()), "trigger", "gateway"}
    if len(moments) < 2:
        return [Verdict("memory and descriptors", f"seen {len(moments)} times", "seen often", holds=False)], []
    verdicts, rows = list[Verdict](), list[tuple[str, ...]]()
    for name in moments[0].memory:
        memory = trend([(moment.at, moment.memory[name] / 2**20) for moment in moments])
        descriptors = trend([(moment.at, moment.descriptors[name]) for moment in moments])
        rows.append(
            (name, *(f"{figure:,.1f}" for figure in (memory.first, memory.last)), f"{memory.growth:+.1%}", f"{memory.slope:+.1%}", *_shown(descriptors))
        )
        if name in ours:
            grown = f"{memory.growth:+.1%} ({memory.first:,.1f} → {memory.last:,.1f} MiB)"
            verdicts.append(Verdict(f"memory of {name}", grown, f"≤ {MOST_GROWTH:+.0%}", memory.growth <= MOST_GROWTH))
            most = descriptors.first + MORE_DESCRIPTORS
            verdicts.append(Verdict(f"descriptors of {name}", f"{descriptors.last:.1f}", f"≤ {most:.1f}", descriptors.last <= most))
    columns = ("process", "RSS first, MiB", "RSS last, MiB", "growth", "of the line", "descriptors first", "last", "rise of the line")
    title = f"First and last tenth of {moments[0].at:.0f} to {moments[-1].at:.0f} s, and a line through all of it"
    return verdicts, [Table(title, columns, rows)]


def _shown(descriptors: Trend) -> tuple[str, str, str]:
    return f"{descriptors.first:.1f}", f"{descriptors.last:.1f}", f"{descriptors.rise:+.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Do it; the exit code."""
    parser = argparse.ArgumentParser(prog="./task soak --", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("duration", nargs="?", type=admin.lifetime, default=admin.lifetime("30m"), help="for how long: 30m, 2h (default 30m)")
    command.add_arguments(parser)
    arguments = parser.parse_args(argv)
    order = Order("soak", command.scaled(PROFILES["baseline"], arguments), arguments.duration.total_seconds(), arguments.patience)
    return command.run(order, arguments, judge)


if __name__ == "__main__":
    sys.exit(main())
