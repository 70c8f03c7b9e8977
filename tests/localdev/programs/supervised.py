"""A supervisor of the services described in a JSON file, for the tests of localdev. It tells its metrics on METRICS_PORT, if that is set."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from localdev.processes import answers
from localdev.service import InstallError, Progress, Service
from localdev.supervisor.run import run

SERVER = str(Path(__file__).with_name("server.py"))


def installer(until: str) -> Callable[[Progress], None]:
    """An installation that is done once a file exists, and fails once that file says so."""

    def install(progress: Progress) -> None:
        while not Path(until).exists():
            progress("compiling (1 of 2)")
            time.sleep(0.02)
        if text := Path(until).read_text():
            raise InstallError(text)

    return install


def service(row: dict[str, Any]) -> Service:
    """One service from its description."""
    return Service(
        name=row["name"],
        command=lambda: row.get("command") or [sys.executable, SERVER, str(row["port"]), *row["options"]],
        ready=(lambda: True) if "command" in row else answers(f"http://127.0.0.1:{row['port']}/"),
        after=tuple(row.get("after", [])),
        cwd=Path(sys.argv[1]).parent,
        install=installer(row["install"]) if "install" in row else None,
        unprivileged=row.get("unprivileged", False),
        stop_seconds=row.get("stop_seconds", 10.0),
    )


if __name__ == "__main__":
    run([service(row) for row in json.loads(Path(sys.argv[1]).read_text())], int(os.environ.get("METRICS_PORT", "0")) or None)
