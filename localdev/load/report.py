"""The report: Markdown with plots, and the same figures as JSON beside it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from localdev.bench import report
from localdev.bench.report import Table
from localdev.chaos.watch import Moment
from localdev.load import plots
from localdev.load.measure import Measured
from localdev.load.profiles import SIGNALS
from localdev.load.verdicts import Verdict, backlog, p

BACKENDS: Final = ("PostgreSQL", "Loki", "OpenSearch", "Prometheus", "prom-label-proxy", "Tempo")
PERCENTS: Final = (50, 95, 99)


def facts(measured: Measured) -> list[str]:
    """What a reader needs to judge the figures."""
    order, pushes = measured.order, measured.pushes
    profile, late = order.profile, p((push.late for push in pushes), 99)
    again = ", ".join(f"{count:,} times after {why}" for why, count in measured.again.most_common()) or "never"
    sent = f"{len(pushes):,} requests of {sum(push.bytes for push in pushes) / 2**20:,.1f} MiB compressed; sent again: {again}"
    cores = measured.generator_cpu / order.seconds
    return [
        f"{report.machine(BACKENDS)}. The pipeline, its backends and the load generator share these cores.",
        f"{order.name} ({profile.what}): {profile.rates}, for {order.seconds:g} s. {sent}. The generator used {cores:.2f} cores.",
        f"Batches were sent p99 {late * 1000:.0f} ms after they were due: the generator's doing, or the client had others under way; it is in the latencies.",
    ]


def tables(measured: Measured, verdicts: Sequence[Verdict]) -> list[Table]:
    """All of them."""
    made = [
        Table("Verdict", ("bar", "measured", "must be", "holds"), [(one.what, one.measured, one.bar, "yes" if one.holds else "**NO**") for one in verdicts]),
        _pushes(measured),
        _delays(measured),
        Table(
            "Records in each backend",
            ("backend", "sent", "missing", "twice"),
            [(name, f"{one.sent:,}", f"{one.missing:,}", f"{one.doubled:,}") for name, one in measured.found.items()],
        ),
        _lags(measured.moments),
        processes(measured.moments, measured.order.seconds),
    ]
    if measured.order.profile.away:
        times = backlog(measured)
        shown = ("never", "never") if times is None else tuple(f"{seconds:.1f}" for seconds in times)
        columns = ("after the Collectors were back, s", "their backlog was taken", "lag as before")
        made.append(Table("Catching up", columns, [("seconds", *shown)]))
    return made


def write(measured: Measured, verdicts: Sequence[Verdict], made: Sequence[Table], folder: Path) -> Path:
    """`report.md`, `report.json` and the plots into the folder; the first one's path."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(measured, folder)
    parts = [f"# Under load: {measured.order.name}", *facts(measured), *(table.markdown() for table in made)]
    parts += [f"![{title}]({path.name})" for title, path in drawn.items()]
    page = folder / "report.md"
    page.write_text("\n\n".join(parts) + "\n")
    (folder / "report.json").write_text(json.dumps(_figures(measured, verdicts, made)))
    return page


def _figures(measured: Measured, verdicts: Sequence[Verdict], made: Sequence[Table]) -> dict[str, Any]:
    """Verdicts, tables, and what is behind the plots."""
    return {
        "profile": measured.order.name,
        "seconds": measured.order.seconds,
        "tenants": measured.order.profile.tenants,
        "facts": facts(measured),
        "verdicts": [asdict(one) for one in verdicts],
        "tables": {table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in made},
        "pushes": [[round(push.due, 3), push.signal, round(push.latency, 4), push.records] for push in measured.pushes],
        "topic": measured.topic,
        "queryable": measured.queryable,
        "moments": [asdict(moment) for moment in measured.moments],
        "given_up": measured.given_up[:100],
        "letters": measured.letters[:100],
    }


def _pushes(measured: Measured) -> Table:
    columns = ("push", "requests", "requests/s", "records/s", "MiB/s compressed", *(f"p{percent}, ms" for percent in PERCENTS), "slowest, ms")
    rows, seconds = [], max([measured.order.seconds, *(push.answered for push in measured.pushes)])
    for name, signals in (*((signal, (signal,)) for signal in SIGNALS), ("all", SIGNALS)):
        pushes = [push for push in measured.pushes if push.signal in signals]
        latencies = [push.latency * 1000 for push in pushes]
        rates = [
            f"{sum(figures) / seconds:,.{digits}f}"
            for figures, digits in (((push.records for push in pushes), 0), ((push.bytes / 2**20 for push in pushes), 2))
        ]
        shown = [f"{p(latencies, percent):.0f}" for percent in PERCENTS]
        rows.append((name, f"{len(pushes):,}", f"{len(pushes) / seconds:,.1f}", *rates, *shown, f"{max(latencies, default=float('nan')):.0f}"))
    return Table("Push, from when a batch is due until its 2xx", columns, rows)


def _delays(measured: Measured) -> Table:
    """In seconds."""
    delays = {"2xx → read from the topic": [took for _, took in measured.topic]}
    delays |= {f"event → queryable in {backend}": [took for _, took in found] for backend, found in measured.queryable.items()}
    missing = {"2xx → read from the topic": measured.unseen} | {f"event → queryable in {backend}": count for backend, count in measured.never.items()}
    rows = [
        (
            name,
            f"{len(values):,}",
            *(f"{p(values, percent):.3f}" for percent in PERCENTS),
            f"{max(values, default=float('nan')):.3f}",
            f"{missing.get(name, 0):,}",
        )
        for name, values in delays.items()
    ]
    return Table("Delays, s", ("", "samples", *(f"p{percent}" for percent in PERCENTS), "longest", "never seen"), rows)


def _lags(moments: Sequence[Moment]) -> Table:
    rows = [
        (sink, f"{p(values, 50):,.0f}", f"{p(values, 95):,.0f}", f"{max(values):,}", f"{values[-1]:,}")
        for sink in (moments[0].lag if moments else ())
        if (values := [moment.lag[sink] for moment in moments])
    ]
    return Table("Lag, batches", ("sink", "p50", "p95", "most", "at the end"), rows)


def processes(moments: Sequence[Moment], seconds: float) -> Table:
    """CPU while batches were sent; memory and descriptors over all."""
    during = [moment for moment in moments if moment.at <= seconds] or moments
    rows = []
    for name in moments[0].memory if moments else ():
        sizes, descriptors = [moment.memory[name] / 2**20 for moment in moments], [moment.descriptors[name] for moment in moments]
        span = during[-1].at - during[0].at
        cores = (during[-1].cpu[name] - during[0].cpu[name]) / span if span > 0 else float("nan")
        rows.append((name, f"{cores:.3f}", f"{sizes[0]:,.0f}", f"{max(sizes):,.0f}", f"{sizes[-1]:,.0f}", f"{descriptors[0]:,}", f"{max(descriptors):,}"))
    columns = ("process", "cores", "RSS at the start, MiB", "most", "at the end", "descriptors at the start", "most")
    return Table("Processes (of PostgreSQL without its sessions)", columns, rows)
