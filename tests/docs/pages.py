"""The repository's pages for people: their headings, links, code, and the words in them that mean something to a machine."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from localdev.paths import ROOT

PAGES: Final = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE: Final = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_LINK: Final = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name(page: Path) -> str:
    """For test ids."""
    return str(page.relative_to(ROOT))


@cache
def prose(page: Path) -> str:
    """Without code blocks."""
    return _FENCE.sub("", page.read_text())


def code(page: Path) -> Iterator[str]:
    """Lines of shell blocks, and what stands between backquotes."""
    for fence in _FENCE.finditer(page.read_text()):
        if fence[2] in {"sh", "bash"}:
            yield from fence[3].splitlines()
    yield from _SPAN.findall(prose(page))


def blocks(page: Path, language: str) -> list[str]:
    """Its blocks of this language: `mermaid` are the pictures."""
    return [fence[3] for fence in _FENCE.finditer(page.read_text()) if fence[2] == language]


def links(page: Path) -> list[str]:
    """Targets, as written; those in code are none."""
    return _LINK.findall(_SPAN.sub("", prose(page)))


@cache
def anchors(page: Path) -> frozenset[str]:
    """What can follow `#`: GitHub's names for the headings."""
    seen = [re.sub(r"[^\w\- ]", "", _LINK.sub(r"\1", heading).replace("`", "").lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))]
    return frozenset(seen)


def rows(page: Path, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    below = page.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
