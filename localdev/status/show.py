"""The picture on a terminal. A question mark is what could not be asked."""

from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from localdev.status.logs import LastError
from localdev.status.picture import Picture, ServiceRow, SinkRow
from localdev.supervisor.board import State
from localdev.supervisor.display import STYLES, age, first_line

_UNKNOWN = "?"


def show(picture: Picture, console: Console) -> None:
    """Services, sinks, what comes in, and what isn't as usual."""
    console.print(_services(picture))
    if picture.sinks:
        console.print()
        console.print(_sinks(picture))
    console.print()
    for line in _lines(picture):
        console.print(line, highlight=False)


def _services(picture: Picture) -> Table:
    table = _table("service", "state", "for", "pid", "restarts", "memory", "", numbers=(2, 3, 4, 5))
    for row in picture.services:
        style = STYLES.get(row.state, "dim")
        restarts = f"[red]{row.restarts}[/]" if row.restarts else ""
        table.add_row(row.name, f"[{style}]{row.state}[/]", age(row.since), str(row.pid or ""), restarts, _memory(row.rss_bytes), _remark(row, picture.at))
    return table


def _remark(row: ServiceRow, now: float) -> str:
    """What it is doing, else the last error in its log."""
    if row.detail and row.state is not State.READY:
        return first_line(row.detail)
    return _error(row.last_error, now) if row.last_error else ""


def _error(error: LastError, now: float) -> str:
    when = f"{_moment(error.at, now)} " if error.at else ""
    return f"{when}{error.level.lower()}: {escape(error.message)}"


def _moment(at: float, now: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%H:%M:%S" if now - at < 12 * 3600 else "%Y-%m-%d %H:%M")


def _sinks(picture: Picture) -> Table:
    table = _table("sink", "behind", "oldest", "in/s", "out/s", "put off/s", "waiting", "dead", numbers=range(1, 8))
    for row in picture.sinks:
        table.add_row(row.name, *_figures(row))
    return table


def _figures(row: SinkRow) -> list[str]:
    rates = [_number(row.published, 1), _number(row.delivered, 1), _bad(row.postponed, 1)]
    seconds = _UNKNOWN if row.lag_seconds is None else f"{row.lag_seconds:,.1f} s"
    return [_number(row.lag_records), seconds, *rates, _bad(row.letters_waiting), _bad(row.letters_dead)]


def _number(value: float | None, digits: int = 0) -> str:
    return _UNKNOWN if value is None else f"{value:,.{digits}f}"


def _bad(value: float | None, digits: int = 0) -> str:
    """Of what should be zero."""
    return f"[red]{_number(value, digits)}[/]" if value else _number(value)


def _lines(picture: Picture) -> list[str]:
    taken = ", ".join(f"{signal} {_number(rate)}/s" for signal, rate in picture.taken.items())
    lines = [f"Taken over: {taken}; requests refused: {_number(picture.refused, 1)}/s (over {picture.rates_over:.1f} s; times are UTC)"]
    if picture.switched:
        lines.append(f"[yellow]Switched: {', '.join(f'{escape(flag)} {escape(value)}' for flag, value in picture.switched.items())}[/] (./task flags -- list)")
    if picture.silent:
        lines.append(f"[yellow]No metrics from: {', '.join(picture.silent)}[/]")
    if any(row.letters_dead for row in picture.sinks):
        lines.append("Dead letters since dead_letter started: ./task dead-letters -- list shows all that are kept")
    return lines


def _memory(rss_bytes: float | None) -> str:
    return "" if rss_bytes is None else f"{rss_bytes / 2**20:,.0f} MiB"


def _table(*heads: str, numbers: range | tuple[int, ...] = ()) -> Table:
    """A last column without a head is for remarks without end: it gets what the others leave."""
    table = Table(box=None, pad_edge=False, expand=not heads[-1])
    for place, head in enumerate(heads):
        if head:
            table.add_column(head, justify="right" if place in numbers else "left", no_wrap=True)
        else:
            table.add_column(style="dim", no_wrap=True, overflow="ellipsis", ratio=1)
    return table
