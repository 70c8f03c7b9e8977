"""The demo's result as a table for people."""

from collections.abc import Sequence

from rich.table import Table

from localdev.demo.checks import Result

_FIXED_WIDTH = 106
"""What the columns but the sample take."""


def table(results: Sequence[Result], width: int) -> Table:
    """Who sees what, how soon, and what of it the other customer sees; the sample gets what is left of `width` characters."""
    columns = Table(title="What each customer sees", title_justify="left")
    for name in ("customer", "backend", "what"):
        columns.add_column(name, no_wrap=True)
    for name in ("seen", "event → visible", "by the other"):
        columns.add_column(name, justify="right", no_wrap=True)
    columns.add_column("", no_wrap=True)
    columns.add_column("sample", overflow="ellipsis", no_wrap=True, max_width=max(width - _FIXED_WIDTH, 12), style="dim")
    for result in results:
        columns.add_row(
            result.owner,
            result.check.backend,
            result.check.signal,
            _seen(result),
            f"{result.seconds:.1f} s" if result.seconds is not None else "",
            str(result.other),
            "[green]✓[/]" if result.holds else "[bold red]✗[/]",
            _plain(result.error or result.seen.sample),
        )
    return columns


def _seen(result: Result) -> str:
    if result.check.at_most == result.check.at_least:
        return f"{result.seen.count} of {result.check.at_least}"
    return str(result.seen.count)


def _plain(text: str) -> str:
    """Samples are customers' data: no markup, one line."""
    return " ".join(text.split()).replace("[", "\\[")
