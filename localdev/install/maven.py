"""Files from Maven Central without Maven: `maven_fetch` under jgo, checked against a committed lock."""

import hashlib
import os
import sys
from pathlib import Path

from localdev.install.process import Run, clean_environment
from localdev.install.tools import jgo
from localdev.service import Progress

_HERE = Path(__file__).resolve().parent
LOCKS = _HERE / "maven"
_REMEDY = "check that this machine reaches Maven Central (OBSTACK_MAVEN_URL names a mirror, REQUESTS_CA_BUNDLE a certificate bundle), then try again."


def fetch(name: str, folder: Path, progress: Progress) -> None:
    """Put the files of `maven/<name>.lock` into the folder. Raises InstallError."""
    jgo.install(progress)
    progress("asking Maven Central")
    run = Run(f"{name}: download from Maven Central", _command(name, folder), name, _REMEDY, env=_environment())
    run.each(lambda line: progress(line.removeprefix("progress: ")) if line.startswith("progress: ") else None)


def fingerprint(name: str) -> str:
    """Of the lock: another dependency is another build, though the version stays."""
    return hashlib.sha256(_lock(name).read_bytes()).hexdigest()[:10]


def _lock(name: str) -> Path:
    return LOCKS / f"{name}.lock"


def _command(name: str, folder: Path) -> list[str]:
    # -P: nothing of this folder may shadow a module of jgo's.
    return [sys.executable, "-P", str(_HERE / "maven_fetch.py"), str(_lock(name)), str(folder)]


def _environment() -> dict[str, str]:
    """jgo on the path; the certificates that pip was told to use, since requests would look at its own bundle only."""
    environment = clean_environment() | {"PYTHONPATH": str(jgo.home), "PYTHONDONTWRITEBYTECODE": "1"}
    if bundle := os.environ.get("PIP_CERT"):
        environment.setdefault("REQUESTS_CA_BUNDLE", bundle)
    return environment
