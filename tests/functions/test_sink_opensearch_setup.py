"""OpenSearch's set-up: template and policies by repeated runs, with and without Index State Management, and which indices are old."""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest

from functions.sink_opensearch import indices, ism, setup
from shared.contract import Period
from shared.settings import OpenSearchSetup
from tests.backends import Asked, HttpBackend, Says

TENANT = "logs-tenant-018f2f7e-0000-7000-8000-000000000001"
JSON = {"content-type": "application/json"}


def says(status: int, body: dict[str, Any]) -> Says:
    return Says(status, json.dumps(body), JSON)


@dataclass
class OpenSearch:
    """Template, policies and names of indices in memory. ISM adds fields to a policy, and takes a change only from who knows the current version."""

    has_ism: bool = True
    indices: list[str] = field(default_factory=list)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    attached: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Says:
        path, _, query = asked.path.partition("?")
        if path.startswith("/_plugins/"):
            return self._ism(asked, path, query)
        if asked.method == "GET":
            return says(200, {name: {"aliases": {}} for name in self.indices})
        if asked.method == "DELETE":
            self.indices.remove(path[1:])
        return says(200, {"acknowledged": True})

    def _ism(self, asked: Asked, path: str, query: str) -> Says:
        if not self.has_ism:
            return says(400, {"error": f"no handler found for uri [{asked.path}] and method [{asked.method}]"})
        what, _, name = path.removeprefix("/_plugins/_ism/").partition("/")
        if asked.method == "POST":
            self.attached.append((what, name))
            return says(200, {"updated_indices": 0, "failures": False, "failed_indices": []})
        old = self.policies.get(name)
        if asked.method == "GET":
            return says(200, old) if old else says(404, {"error": {"type": "status_exception", "reason": "Policy not found"}, "status": 404})
        if query != (f"if_seq_no={old['_seq_no']}&if_primary_term=1" if old else ""):
            return says(409, {"error": {"type": "version_conflict_engine_exception", "reason": "x"}, "status": 409})
        self.writes.append(name)
        policy = {**json.loads(asked.body)["policy"], "policy_id": name, "schema_version": 23}
        self.policies[name] = {"_id": name, "_seq_no": len(self.writes), "_primary_term": 1, "policy": policy}
        return says(200, self.policies[name])


@pytest.fixture
def opensearch(backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenSearch]:
    backend.answer = opensearch = OpenSearch()
    monkeypatch.setenv("OPENSEARCH_URL", backend.url)
    # What the command sets up of logging belongs to its own process.
    monkeypatch.setattr("shared.telemetry.logs.configure", lambda *_: None)
    level = logging.getLogger("opensearch").level
    yield opensearch
    logging.getLogger("opensearch").setLevel(level)


def test_everything_is_made_once(opensearch: OpenSearch, backend: HttpBackend) -> None:
    assert [setup.main([]), setup.main([])] == [0, 0]
    assert opensearch.writes == ["logs-tenant-day", "logs-tenant-week", "logs-tenant-month"]
    assert next(asked.path for asked in backend.asked if asked.method == "PUT") == "/_index_template/logs-tenant"
    assert {what for what, _ in opensearch.attached} == {"add"}


def test_changed_age_reaches_policies_and_their_indices(opensearch: OpenSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    assert setup.main([]) == 0
    opensearch.attached.clear()
    monkeypatch.setenv("OPENSEARCH_DELETE_DAYS", "90")
    assert setup.main([]) == 0
    assert opensearch.writes[3:] == ["logs-tenant-day", "logs-tenant-week", "logs-tenant-month"]
    _, warm, _ = opensearch.policies["logs-tenant-week"]["policy"]["states"]
    assert warm["transitions"] == [{"state_name": "delete", "conditions": {"min_index_age": "97d"}}]
    assert [index for what, index in opensearch.attached if what == "change_policy"] == [
        "logs-tenant-*.*.*",
        "logs-tenant-*.w*,-logs-tenant-*.*.*",
        "logs-tenant-*.*,-logs-tenant-*.*.*,-logs-tenant-*.w*",
    ]


@pytest.mark.parametrize("period", Period)
def test_policy_of_each_period_finds_its_indices(period: Period) -> None:
    """Among those whose pattern fits, the policy with the highest priority is the period's."""
    settings = OpenSearchSetup(opensearch_url="http://x", opensearch_warm_nodes="temp=warm")
    templates = {other: ism.policy(other, settings)["policy"]["ism_template"][0] for other in Period}
    assert len({one["priority"] for one in templates.values()}) == 3
    name = f"{TENANT}-{indices.suffix(period, 20_000)}"
    fitting = [other for other, one in templates.items() if re.fullmatch(one["index_patterns"][0].replace(".", r"\.").replace("*", ".*"), name)]
    assert max(fitting, key=lambda other: templates[other]["priority"]) is period
    assert {"allocation": {"require": {"temp": "warm"}}} in ism.policy(period, settings)["policy"]["states"][1]["actions"]


def test_opensearch_without_ism_is_set_up_all_the_same(opensearch: OpenSearch, backend: HttpBackend, caplog: pytest.LogCaptureFixture) -> None:
    opensearch.has_ism = False
    assert setup.main([]) == 0
    assert [asked.path for asked in backend.asked if asked.method == "PUT"] == ["/_index_template/logs-tenant"]
    assert "no Index State Management" in caplog.text


@pytest.mark.parametrize("answer", [Says(503, ""), Says(403, '{"error":{"reason":"no permissions"}}', JSON), Says(400, '{"error":{"reason":"x"}}', JSON)])
def test_refusal_fails_the_step(opensearch: OpenSearch, backend: HttpBackend, answer: Says) -> None:
    """A Job sees it and tries again; of a missing plugin alone nothing can be expected."""
    backend.answer = lambda asked: answer if asked.path.startswith("/_plugins") else opensearch(asked)
    assert setup.main([]) == 1


def test_ages_must_be_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_WARM_DAYS", "30")
    with pytest.raises(ValueError, match="OPENSEARCH_WARM_DAYS"):
        OpenSearchSetup(opensearch_url="http://x")


def test_only_old_indices_of_ours_are_pruned(opensearch: OpenSearch) -> None:
    """By the end of their period; whatever isn't named as ours stays."""
    old = [f"{TENANT}-{end}" for end in ("2001.01.01", "2001.w52", "2001.12")]
    kept = [f"{TENANT}-2999.01.01", "logs-tenant-x-2001.01.01", f"{TENANT}-2001.13", f"{TENANT}-copy-2001.01.01", f"{TENANT}-2001.01.01-copy"]
    opensearch.indices = [*old, *kept]
    assert setup.main([]) == 0
    assert opensearch.indices == [*old, *kept]
    assert setup.main(["--prune"]) == 0
    assert opensearch.indices == kept


@pytest.mark.parametrize(
    ("suffix", "end"),
    [
        ("2026.11.24", date(2026, 11, 25)),
        ("2026.12.31", date(2027, 1, 1)),
        ("2024.02.29", date(2024, 3, 1)),
        ("2026.w48", date(2026, 11, 30)),
        ("2026.w53", date(2027, 1, 4)),
        ("2026.02", date(2026, 3, 1)),
        ("2026.12", date(2027, 1, 1)),
        ("2026.02.30", None),
        ("2026.13", None),
        ("2026.w00", None),
        ("9999.12.31", None),
        ("9999.12", None),
        ("2026", None),
        ("٢٠٢٦.11", None),
    ],
)
def test_end_of_a_period_is_read_from_the_name(suffix: str, end: date | None) -> None:
    assert indices.end(f"{TENANT}-{suffix}") == end


def test_names_are_read_as_they_are_written() -> None:
    """Every day lies before the end of its own index, and the next period begins no earlier."""
    for period in Period:
        for day in range(20_000, 20_800):
            end = indices.end(f"{TENANT}-{indices.suffix(period, day)}")
            assert end is not None
            assert date(1970, 1, 1).toordinal() + day < end.toordinal()
            assert indices.suffix(period, end.toordinal() - date(1970, 1, 1).toordinal()) != indices.suffix(period, day)
