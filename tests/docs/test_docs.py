"""What the pages promise is there: links, commands and their options, settings, metrics, tests, reasons."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import yaml

from functions.ingest_otlp import answers as otlp
from functions.ingest_otlp_grpc import answers as otlp_grpc
from functions.query import answers as query
from localdev.paths import ROOT, STACK
from shared.contract import Reason, Topic
from tests.docs import pages

EVERY_PAGE: Final = pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
TROUBLESHOOTING: Final = ROOT / "docs" / "troubleshooting.md"
WEB: Final = ("http://", "https://", "mailto:")
NOT_OURS: Final = frozenset({"OTEL_", "LOKI_ADDR", "LOKI_BEARER_TOKEN", "LOKI_USERNAME", "LOKI_PASSWORD", "PIP_", "KUBECONFIG"})
"""Settings of clients and tools."""
CODES: Final = frozenset(
    {"INVALID_ARGUMENT", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "LIVE_TRACES_EXCEEDED", "TRACE_TOO_LARGE"}
)
"""Names of gRPC's and Tempo's."""


@EVERY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    """To a file or folder of the repository, and to a heading in it."""
    for link in pages.links(page):
        if link.startswith(WEB):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no {target}"
        assert not anchor or anchor in pages.anchors(target), f"{link}: no such heading; there are {sorted(pages.anchors(target))}"


@EVERY_PAGE
def test_commands_are_there(page: Path) -> None:
    """Each `./task NAME`, and for those of ours also its sub-command and options."""
    for words in commands(page):
        task, *rest = words
        assert task in tasks() or task.startswith(("-", "…")), f"there is no ./task {task}"
        if (programme := tasks().get(task)) and rest[:1] == ["--"]:
            module, *given = programme
            check_arguments(module, [*given, *rest[1:]])


def commands(page: Path) -> Iterator[list[str]]:
    """What follows `./task` in the page's code, as words."""
    for line in pages.code(page):
        for found in re.finditer(r"\./task +([^`#;&|\n]+)", line):
            with_words = found[1].strip().rstrip(",.")
            try:
                yield shlex.split(with_words)
            except ValueError:  # an apostrophe in a sentence
                yield with_words.split()


@cache
def tasks() -> dict[str, list[str]]:
    """Task → the module of ours that it runs and the words that it gives it; nothing for one that runs something else."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "Taskfile.yml").read_text())["tasks"]
    programmes = {name: re.search(r"-m (localdev[\w.]*(?: [a-z]+)?)", str(task.get("cmd", ""))) for name, task in found.items()}
    return {name: programme[1].split() if programme else [] for name, programme in programmes.items()}


def check_arguments(module: str, words: list[str]) -> None:
    """The options are in the help of the command; of one with sub-commands in that of the sub-command named."""
    general = help_of(module, ())
    sub = next((word for word in words if re.fullmatch(r"[a-z][a-z-]+", word) and re.search(rf"^    {word}\b", general, re.MULTILINE)), None)
    known = general + (help_of(module, (sub,)) if sub else "")
    if "COMMAND\n" in general and words[0] not in {"-h", "--help"}:
        assert sub, f"{module} has no command among {words}"
    for option in (word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)):
        assert re.search(rf"(^|[\s\[,]){option}\b", known), f"{module} {sub or ''} has no {option}"


@cache
def help_of(module: str, words: tuple[str, ...]) -> str:
    """What a command says of itself; of one that hands its words on, what comes back."""
    programme = importlib.import_module(module)
    if not hasattr(programme, "main"):
        programme = importlib.import_module(f"{module}.__main__")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr("argparse.ArgumentParser._print_message", lambda _, message, __=None: said.append(message))
        programme.main([*words, "--help"])
    return "".join(said) or subprocess.run([sys.executable, "-m", module, *words, "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@EVERY_PAGE
def test_settings_and_metrics_are_in_the_code(page: Path) -> None:
    """`UPPER_CASE` names of settings, `obstack_…` names of metrics."""
    spans = "\n".join(pages.code(page))
    own = CODES | set(re.findall(r"\$([A-Z_]+)", spans))
    settings = {word for word in re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", spans) if not word.startswith(tuple(NOT_OURS)) and word not in own}
    assert not {word for word in settings if word.lower() not in source()}
    metrics = {re.sub(r"_(total|bucket|count|sum)$", "", word) for word in re.findall(r"\bobstack_[a-z_]+[a-z]\b", spans)}
    assert not {word for word in metrics if word not in source()}


@cache
def source() -> str:
    """All that git has but pages, in lower case."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S607 on PATH, as for any developer
    texts = [(ROOT / name).read_text(errors="replace") for name in names if not name.endswith((".md", ".sum", ".svg")) and (ROOT / name).is_file()]
    return "\n".join(texts).lower()


def test_every_reason_is_explained_to_clients() -> None:
    """And none that isn't one: docs/troubleshooting.md."""
    named = [cells[0].strip("`") for cells in pages.rows(TROUBLESHOOTING, "Every reason")]
    assert sorted(named) == sorted(Reason)


@pytest.mark.parametrize(
    ("heading", "codes"),
    [
        ("OTLP over HTTP", {200, 503, *otlp._CODES}),
        ("OTLP over gRPC", {"OK", *(code.name for code in (*otlp_grpc.CODES.values(), grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN))}),
        ("Prometheus remote_write", {204, 503, *otlp._CODES}),
        ("Reading", {503, 504, *query._TYPES}),
    ],
)
def test_every_answer_is_explained_to_clients(heading: str, codes: set[int | str]) -> None:
    """Each status that a function's own table has, in that table's section."""
    named = {word for cells in pages.rows(TROUBLESHOOTING, heading) for word in re.findall(r"\b[A-Z_]{2,}\b|\b\d{3}\b", cells[0])}
    assert not {str(code) for code in codes} - named


def test_pictures_name_every_function_and_topic() -> None:
    """docs/architecture.md: none is missing, and none that isn't there any more."""
    pictures = "\n".join(pages.blocks(ROOT / "docs" / "architecture.md", "mermaid"))
    functions = yaml.safe_load((STACK / "functions.yml").read_text())["functions"]
    assert not {name for name in (*functions, *Topic) if name not in pictures}
    named = set(re.findall(r"\b(?:ingest|sink)_[a-z]+(?:_[a-z]+)*\b", pictures))
    assert named <= set(functions)
    modules = re.findall(r"\b((?:shared|localdev|stack)/[\w/]+(?:\.\w+)?)\b", pictures)
    assert not {module for module in modules if not (ROOT / module).exists()}


def test_every_page_is_in_the_index() -> None:
    """docs/README.md names each page beside it."""
    index = ROOT / "docs" / "README.md"
    listed = {link.partition("#")[0] for link in pages.links(index)}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - listed == {"README.md"}


def test_requirements_name_their_tests() -> None:
    """docs/nfr.md: each row has tests, and these are there."""
    table = pages.rows(ROOT / "docs" / "nfr.md", "The table")
    assert len(table) > 10
    for number, *_, tests, _figure in table:
        paths = re.findall(r"`([\w/.]+\.(?:py|yml))(?:::(\w+))?`", tests)
        assert paths, f"{number} has no test"
        for path, function in paths:
            assert (ROOT / path).is_file(), f"{number}: there is no {path}"
            assert not function or f"def {function}(" in (ROOT / path).read_text(), f"{number}: there is no {function} in {path}"


def test_coverage_fails_under_its_bar() -> None:
    """`./task coverage` measures all our code, in the processes too, and wants more than 80 % of its lines (NFR-M1)."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]
    assert settings["report"]["fail_under"] >= 80
    assert {"functions", "shared", "localdev"} <= set(settings["run"]["source"])
    assert "subprocess" in settings["run"]["patch"]


def test_changes_are_in_the_usual_form() -> None:
    """Keep a Changelog: versions, newest first and [Unreleased] before them, with its kinds of change."""
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "[Unreleased]"
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
