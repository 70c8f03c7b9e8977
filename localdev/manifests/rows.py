"""The functions as the generators see them, and what they write."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from localdev.functions import described
from localdev.paths import STACK
from localdev.rows import rows

SECRETS: Final = {
    "DATABASE_URL": ("database", "url"),
    "LIMITS_STORAGE_URL": ("limits", "url"),
    "SESSION_SECRET": ("sessions", "secret"),
    "OTEL_EXPORTER_OTLP_HEADERS": ("tracing", "headers"),
    "AWS_ACCESS_KEY_ID": ("object-store", "access-key-id"),
    "AWS_SECRET_ACCESS_KEY": ("object-store", "secret-access-key"),
}
"""Settings that only a secret of the platform holds: its name and key. They are those of `SecretStr` in shared/settings.py."""
OPTIONAL: Final = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "LIMITS_STORAGE_URL", "OTEL_EXPORTER_OTLP_HEADERS"})
"""Not needed where the platform gives the function a role, where each instance counts for itself, and where no spans are exported."""

_HEAD: Final = "# Made by ./task manifests of stack/functions.yml, stack/scale.yml and stack/redpanda/topics.yml; change those.\n"


@dataclass(frozen=True)
class Row:
    """A function: its rows of functions.yml and scale.yml."""

    name: str
    image: str
    row: Mapping[str, Any]
    scale: Mapping[str, Any]

    @property
    def host(self) -> str:
        """Its name where underscores aren't allowed."""
        return self.name.replace("_", "-")

    @property
    def is_grpc(self) -> bool:
        return bool(self.row["kind"] == "grpc")

    @property
    def optional(self) -> bool:
        return bool(self.row.get("optional"))

    @property
    def settings(self) -> list[str]:
        return list(self.row["settings"])


def functions() -> list[Row]:
    """All, the optional ones too. Raises KeyError for one that scale.yml doesn't know, ValueError for a key in it that nobody reads."""
    image, scale = _read("scale.yml")["image"], rows(STACK / "scale.yml", "functions", "min max target most cpu memory seconds consumers")
    return [Row(name, image.format(function=name.replace("_", "-")), row, scale[name]) for name, row in described().items()]


def platform_image() -> str:
    """The image of the trigger and of the migrations."""
    return str(_read("scale.yml")["platform"])


def topics() -> dict[str, Any]:
    """Topic → partitions and configuration."""
    return dict(_read("redpanda/topics.yml")["topics"])


def settings() -> dict[str, str]:
    """Settings in a cluster that are no secrets, as shipped."""
    lines = (STACK / "knative" / "base" / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def documents(objects: Iterable[Mapping[str, Any]]) -> str:
    """YAML, one document an object, in the order in which the keys were written."""
    return _HEAD + yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, width=160)


class _Plain(yaml.SafeDumper):
    """Writes out what is used twice; nobody wants to read anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 the library's name
        return True


def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((STACK / name).read_text()))
