"""`./task audit`: clean only when somebody knew every package."""

import json
from typing import Any

import pytest

from localdev import audit
from localdev.audit import CLEAN, FOUND, UNKNOWN, Report

GOOD: dict[str, Any] = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
BAD: dict[str, Any] = {"name": "redis", "version": "1.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["1.1"]}, {"id": "GHSA-x", "fix_versions": []}]}
SKIPPED: dict[str, Any] = {"name": "orjson", "skip_reason": "Dependency not found on PyPI and could not be audited: orjson (3.13.0)"}


def said(*packages: dict[str, Any]) -> Report:
    """pip-audit's answer about these."""
    return audit.read(json.dumps({"dependencies": packages, "fixes": []}), "")


def test_each_finding_is_a_line() -> None:
    """Package, id and the version that mends it."""
    assert said(GOOD, BAD).findings == ["redis 1.0: PYSEC-2026-1, mended in 1.1", "redis 1.0: GHSA-x, mended in no version yet"]


@pytest.mark.parametrize("report", [said(GOOD, SKIPPED), said(), audit.read("", "Traceback …\nConnectionError: no such host"), audit.read("[]", "")])
def test_what_nobody_knew_is_not_complete(report: Report) -> None:
    """Nor is an answer about nothing, or none at all."""
    assert not report.complete
    assert not report.findings


@pytest.mark.parametrize(
    ("reports", "code", "words"),
    [
        ([said(GOOD)], CLEAN, "1 packages, no known vulnerability"),
        ([said(SKIPPED), said(GOOD)], CLEAN, "OSV"),
        ([said(GOOD, BAD)], FOUND, "PYSEC-2026-1"),
        ([said(SKIPPED, BAD)], FOUND, "PYSEC-2026-1"),
        ([said(GOOD, SKIPPED), audit.read("", "ConnectionError: no such host")], UNKNOWN, "this says nothing"),
    ],
)
def test_exit_code(reports: list[Report], code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The second service is asked when the first didn't know them all."""
    answers = iter(reports)
    monkeypatch.setattr(audit, "ask", lambda _: next(answers))
    assert audit.main([]) == code
    out = capsys.readouterr()
    assert words in out.out + out.err
    assert not list(answers)


def test_real_pip_audit_without_a_network_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trace ends in one line that tells what is wrong; nothing is taken for clean."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    report = audit.ask("osv")
    assert not report.complete
    assert report.known == 0
    assert "api.osv.dev" in report.unknown[0]
