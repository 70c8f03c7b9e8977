"""The command line: what can be asked for, and what it says when no stack runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from localdev import soak
from localdev.bench.report import PAGE
from localdev.load.__main__ import main
from localdev.load.profiles import PROFILES


@pytest.mark.parametrize("words", [["no-such-profile"], ["--tenants", "0"], ["--tenants", "501"], ["--share", "0"], ["--seconds", "-1"]])
def test_what_can_not_be_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(words)
    assert refused.value.code == 2


@pytest.mark.parametrize("command", [main, soak.main], ids=["load", "soak"])
def test_without_a_stack_it_says_so(command: Callable[[list[str]], int], local: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([]) == 1
    assert "no stack is running; ./task up starts it" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*PROFILES, "soak"])
def test_the_page_of_figures_has_a_place_for_each(name: str) -> None:
    page = PAGE.read_text()
    assert page.count(f"<!-- bench load {name} -->") == page.count(f"<!-- end of bench load {name} -->") == 1
