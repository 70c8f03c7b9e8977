"""The YAML files of stack/ that are ours, read strictly: a key that nobody reads is a typing error, and would otherwise be passed over in silence."""

from pathlib import Path
from typing import Any

import yaml


def rows(path: Path, part: str, keys: str) -> dict[str, dict[str, Any]]:
    """A part of a file, name → row. Raises ValueError for a row that has other keys than these, words with spaces between."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())[part]
    for name, row in found.items():
        if unknown := row.keys() - set(keys.split()):
            raise ValueError(f"{path.name}: {name}: {', '.join(sorted(map(str, unknown)))}: not known; there are: {', '.join(keys.split())}")
    return found
