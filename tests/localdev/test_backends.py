"""What the backends' services do before they start."""

from pathlib import Path

import pytest

from localdev.backends import folders, opensearch
from localdev.install import opensearch as recipe


def test_killed_first_start_of_opensearch_does_not_stop_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(folders, "open_data", lambda _: tmp_path / "data")
    left = tmp_path / "data" / "config" / "opensearch.keystore.tmp"
    left.parent.mkdir(parents=True)
    left.touch()
    service = opensearch.service()
    assert service.prepare
    service.prepare()
    assert not left.exists()
