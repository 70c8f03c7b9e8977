"""How the stack looks on a terminal: a live table, or plain lines where there is none (a pipe, a build log)."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from localdev.supervisor.board import State, Status

STYLES = {State.READY: "green", State.FAILED: "bold red", State.BACKOFF: "red", State.INSTALLING: "cyan", State.STARTING: "yellow"}
_QUIET_SECONDS = 10.0


def table(services: dict[str, Status]) -> Table:
    """All services: state, for how long, what is going on."""
    columns = Table(box=None, pad_edge=False)
    columns.add_column("service")
    columns.add_column("state")
    columns.add_column("for", justify="right")
    columns.add_column("pid", justify="right")
    columns.add_column("restarts", justify="right")
    columns.add_column("", overflow="ellipsis", no_wrap=True, style="dim")
    for name, status in services.items():
        style = STYLES.get(status.state, "dim")
        restarts = str(status.restarts) if status.restarts else ""
        columns.add_row(name, f"[{style}]{status.state}[/]", age(status.since), str(status.pid or ""), restarts, first_line(status.detail))
    return columns


def age(since: float) -> str:
    """For how long, of a moment in seconds since 1970."""
    seconds = int(max(0, time.time() - since))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def first_line(text: str) -> str:
    """It alone, and nothing in it is markup."""
    return text.partition("\n")[0].replace("[", "\\[")


class LiveTable:
    """For a terminal: the table, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def show(self, services: dict[str, Status]) -> None:
        """Redraw."""
        self._live.update(table(services), refresh=True)


class PlainLines:
    """For anything else: a line for each change of state, and every few seconds one for what is still going on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._states: dict[str, State] = {}
        self._spoke = self._began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def show(self, services: dict[str, Status]) -> None:
        """Print what is new."""
        for name, status in services.items():
            if self._states.get(name) != status.state:
                self._states[name] = status.state
                if status.state is not State.WAITING:
                    self._say(f"{name}: {status.state} {first_line(status.detail)}")
        if time.monotonic() - self._spoke > _QUIET_SECONDS:
            busy = [f"{name} {status.state} ({first_line(status.detail)})" for name, status in services.items() if status.state is not State.READY]
            self._say(f"waiting for {', '.join(busy)}")

    def _say(self, line: str) -> None:
        self._spoke = time.monotonic()
        print(f"{self._spoke - self._began:6.1f} s  {line.rstrip()}", flush=True)


def for_terminal(console: Console) -> LiveTable | PlainLines:
    """The display that suits where the output goes."""
    return LiveTable(console) if console.is_terminal and sys.stdout.isatty() else PlainLines()
