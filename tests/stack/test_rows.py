"""Our own files of stack/: a key that nobody reads is refused by file, row and name, with what there is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from localdev import functions, topics
from localdev.manifests import rows
from localdev.paths import STACK


@pytest.mark.parametrize(
    ("module", "file", "read", "typed", "told"),
    [
        (functions, "functions.yml", functions.catalogue, ("    optional: true", "    optinal: true"), "functions.yml: sink_archive: optinal: not known; "),
        (functions, "functions.yml", functions.catalogue, ("in_flight: 64}", "in_flight: 64, retries: 3}"), "functions.yml: not a function: {"),
        (functions, "functions.yml", functions.catalogue, ("ordering: ordered}", "ordering: ordered, in_flight: 4}"), "functions.yml: not a function: {"),
        (topics, "redpanda/topics.yml", topics.declared, ("{partitions: 4, ", "{partitons: 4, "), "topics.yml: telemetry.dead-letters: partitons: not known; "),
        (rows, "scale.yml", rows.functions, ("  replay: {min: 0", "  replay: {mim: 0"), "scale.yml: replay: mim: not known; there are: min, max, "),
    ],
)
def test_key_that_nobody_reads_is_refused(
    module: object, file: str, read: Callable[[], object], typed: tuple[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (STACK / file).read_text()
    assert text.count(typed[0]) == 1
    for name in {file, "functions.yml"}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((STACK / name).read_text())
    (tmp_path / file).write_text(text.replace(*typed))
    monkeypatch.setattr(module, "STACK", tmp_path)
    with pytest.raises(ValueError, match="not") as raised:
        read()
    assert told in str(raised.value)
