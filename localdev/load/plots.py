"""What happened over time, as SVG files."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

from localdev.bench.load import percentile
from localdev.chaos.watch import Moment
from localdev.load.measure import Measured
from localdev.load.profiles import SIGNALS

PARTS: Final = 60
"""Of a run, for figures that need many values each."""
Line = tuple[Sequence[float], Sequence[float]]
"""Of x and of y."""

mpl.rcParams.update({"svg.hashsalt": "obstack", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3, "font.size": 9})


def draw(measured: Measured, folder: Path) -> dict[str, Path]:
    """All of them, into the folder; title → file."""
    moments = measured.moments
    plots: dict[str, tuple[str, dict[str, Line]]] = {
        "Throughput, records/s taken": ("throughput", _throughput(measured)),
        "Push latency, ms": ("push", _percentiles(measured, [(push.due, push.latency * 1000) for push in measured.pushes])),
        "Event → queryable, s": ("queryable", {backend: _line(sorted(found)) for backend, found in measured.queryable.items()}),
        "Lag, batches": ("lag", {sink: ([moment.at for moment in moments], [moment.lag[sink] for moment in moments]) for sink in _names(moments, "lag")}),
        "CPU, cores": ("cpu", {name: _cores(moments, name) for name in _names(moments, "cpu")}),
        "Resident memory, MiB": (
            "memory",
            {name: _line([(moment.at, moment.memory[name] / 2**20) for moment in moments]) for name in _names(moments, "memory")},
        ),
        "Open descriptors": (
            "descriptors",
            {name: _line([(moment.at, moment.descriptors[name]) for moment in moments]) for name in _names(moments, "descriptors")},
        ),
    }
    return {title: _draw(title, lines, folder / f"{name}.svg") for title, (name, lines) in plots.items()}


def _draw(title: str, lines: Mapping[str, Line], path: Path) -> Path:
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for number, (name, (x, y)) in enumerate(lines.items()):
        axes.plot(x, y, label=name, linewidth=1.2, linestyle=("-", "--")[number // 10 % 2])
    axes.set_title(title)
    axes.set_xlabel("seconds")
    axes.set_ylim(bottom=0)
    if lines:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    figure.savefig(path, format="svg", metadata={"Date": None})
    return path


def _names(moments: Sequence[Moment], of: str) -> Iterable[str]:
    return getattr(moments[0], of) if moments else ()


def _line(points: Iterable[tuple[float, float]]) -> Line:
    x, y = zip(*points, strict=True) if (points := list(points)) else ((), ())
    return x, y


def _throughput(measured: Measured) -> dict[str, Line]:
    """By signal: records of the pushes answered in each second."""
    last = int(max((push.answered for push in measured.pushes), default=0)) + 1
    taken = {signal: [0.0] * last for signal in SIGNALS}
    for push in measured.pushes:
        taken[push.signal][int(max(0.0, push.answered))] += push.records
    return {signal: (range(last), values) for signal, values in taken.items()}


def _percentiles(measured: Measured, points: Iterable[tuple[float, float]]) -> dict[str, Line]:
    """p50, p95 and p99 of each part of the run."""
    length = max(measured.order.seconds / PARTS, 1.0)
    parts: dict[int, list[float]] = {}
    for at, value in points:
        parts.setdefault(int(at // length), []).append(value)
    ordered = [(part * length, sorted(values)) for part, values in sorted(parts.items())]
    return {f"p{percent}": _line([(at, percentile(values, percent)) for at, values in ordered]) for percent in (50, 95, 99)}


def _cores(moments: Sequence[Moment], name: str) -> Line:
    """Cores used between each two moments."""
    return _line([(later.at, max(0.0, later.cpu[name] - one.cpu[name]) / (later.at - one.at)) for one, later in pairwise(moments)])
