"""Kafka as a class path: the jars of its Maven artifact and of all its runtime dependencies, in one folder.

`log4j-slf4j-impl` is in the lock although Kafka doesn't depend on it: without it SLF4J finds no provider and the broker logs nothing at all.
"""

from pathlib import Path

from localdev.install import maven, tools, versions
from localdev.install.component import Component
from localdev.service import Progress


def _build(folder: Path, progress: Progress) -> None:
    maven.fetch("kafka", folder, progress)


kafka = Component("kafka", versions.KAFKA, _build, maven.fingerprint("kafka"), needs_mb=200)


def install(progress: Progress) -> None:
    tools.jdk.install(progress)
    kafka.install(progress)


def class_path() -> str:
    return f"{kafka.home}/*"
