"""Kafka: one KRaft node, speaking Redpanda's protocol."""

import subprocess

from localdev.backends import folders, probe
from localdev.install import kafka as recipe
from localdev.install import tools
from localdev.install.process import failure
from localdev.ports import ports
from localdev.service import Service

_NAME = "kafka"
_CLUSTER_ID = "b2JzdGFjay1sb2NhbC0wMQ"
"""Any 16 bytes in base64; one cluster per data folder, so it may be the same everywhere."""


def service() -> Service:
    return Service(
        name=_NAME,
        command=lambda: _java("kafka.Kafka", str(folders.config(_NAME) / "server.properties"), heap="512m"),
        ready=lambda: probe.kafka_serves(ports()["KAFKA_PORT"]),
        install=recipe.install,
        prepare=_prepare,
        stop_seconds=20,
    )


def _java(*arguments: str, heap: str) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={folders.config(_NAME) / 'log4j2.properties'}"
    # What its libraries do, and newer Java warns of.
    quiet = ["--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"]
    memory = [f"-Xmx{heap}", f"-Xms{heap}", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError"]
    return [str(tools.java()), *memory, *quiet, logging, "-cp", recipe.class_path(), *arguments]


def _prepare() -> None:
    folder = folders.make(folders.data(_NAME))
    config = folders.render("kafka/server.properties", folders.config(_NAME) / "server.properties", folders.values(DATA=folder))
    folders.render("kafka/log4j2.properties", folders.config(_NAME) / "log4j2.properties", {})
    if (folder / "meta.properties").exists():
        return
    command = _java("kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(config), heap="128m")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        output = (done.stdout + done.stderr).splitlines()
        raise failure("kafka: format the log folder", f"exit status {done.returncode}", output, f"check that {folder} is writable and not full.", _NAME)
