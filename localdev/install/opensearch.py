"""OpenSearch's minimal distribution: the zip that its own integration tests use. It has no security, ISM or other plugin in it."""

import zipfile
from pathlib import Path

from localdev.install import maven, tools, versions
from localdev.install.component import Component
from localdev.service import Progress


def _build(folder: Path, progress: Progress) -> None:
    maven.fetch("opensearch", folder, progress)
    archive = folder / f"opensearch-{versions.OPENSEARCH}.zip"
    progress("unpacking")
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)
    archive.unlink()
    # zipfile drops the executable bits.
    for script in (home(folder) / "bin").iterdir():
        script.chmod(0o755)


opensearch = Component("opensearch", versions.OPENSEARCH, _build, maven.fingerprint("opensearch"), needs_mb=300)


def install(progress: Progress) -> None:
    tools.jdk.install(progress)
    opensearch.install(progress)


def home(folder: Path | None = None) -> Path:
    return (folder or opensearch.home) / f"opensearch-{versions.OPENSEARCH}"
