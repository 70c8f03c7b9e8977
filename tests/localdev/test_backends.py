"""What the backends' services do before they start."""

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localdev.backends import folders, opensearch, s3
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


def test_all_who_ask_for_the_secret_of_s3_at_once_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, at the first start of all; for its owner alone."""
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path))
    together = threading.Barrier(8)

    def ask(_: int) -> str:
        together.wait()
        return s3.secret_key()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(100):
            secrets = set(pool.map(ask, range(8)))
            assert [len(secret) for secret in secrets] == [32]
            path = tmp_path / "s3.secret"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            path.unlink()
