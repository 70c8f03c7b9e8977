"""The operators' view: the platform's own admin sees the whole pipeline, and nobody else that there is such a view."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from localdev.supervisor import control
from tests.browser.conftest import Visit
from tests.browser.people import Person, Sent, Tenant
from tests.browser.test_quality import COLOURS, LOOKS, serious
from tests.browser.visitor import visible
from tests.conftest import Stack

pytestmark = pytest.mark.stack


@pytest.fixture
def operator(stack: Stack) -> Person:
    """Who runs the platform."""
    return Person(stack.demo["platform"]["email"], stack.demo["platform"]["password"])


@pytest.mark.parametrize("look", LOOKS)
def test_operators_see_the_whole_pipeline(visit: Visit, artefacts: Path, operator: Person, sent: Sent, stack: Stack, look: str) -> None:
    visitor = visit(operator, **LOOKS[look])
    visitor.see("operations")
    for sink in ("sink_loki", "sink_opensearch", "sink_prom", "sink_tempo"):
        expect(visitor.at("#operations-sinks tbody tr").filter(has_text=sink)).to_have_count(1)
    for name in (*stack.functions, "trigger", "gateway"):
        expect(visitor.at("#operations-processes tbody tr").filter(has=visitor.page.get_by_role("cell", name=name, exact=True))).to_contain_text("up")
    for chart in ("#operations-lag", "#operations-taken"):
        # Nothing is drawn until monitoring has run for a minute or two. A line that is flat, as that of no lag, has no height, and counts as hidden.
        expect(visitor.at(f"{chart} svg path").first).to_have_attribute("d", re.compile("^M.+L"), timeout=200_000)
    expect(visitor.at("#operations-rates")).to_contain_text("Answers 200 at the gateway")
    expect(visitor.at("#operations-state")).to_contain_text("All processes are up")
    visitor.shoot(artefacts, f"{look}-operations")
    assert serious(visitor, COLOURS if look == "dark" else {}) == []


@pytest.mark.parametrize("width", [320, 768, 1100])
def test_it_is_no_wider_than_the_window(visit: Visit, operator: Person, width: int) -> None:
    visitor = visit(operator, width=width, height=800)
    visitor.see("operations")
    visible(visitor.at("#operations-sinks table"))
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_process_that_is_away_is_seen_without_loading_the_page_anew(visit: Visit, artefacts: Path, operator: Person) -> None:
    visitor = visit(operator)
    visitor.see("operations")
    expect(visitor.at("#operations-state")).to_contain_text("All processes are up")
    row = visitor.at("#operations-processes tbody tr").filter(has_text="replay")
    control.stop("replay")
    try:
        expect(row).to_contain_text("down", timeout=60_000)
        expect(visitor.at("#operations-state")).to_contain_text("1 process down")
        visitor.shoot(artefacts, "operations-down")
    finally:
        control.start("replay")
    expect(row).to_contain_text("up", timeout=60_000)


def test_the_view_stands_still_when_its_switch_is_off(visit: Visit, operator: Person) -> None:
    visitor = visit(operator)
    visitor.page.clock.install()
    visitor.see("operations")
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.at("#operations-live").uncheck()
    visitor.page.clock.run_for(60_000)
    visitor.page.evaluate("fetch('/query/api/me')")  # what was asked before is known once this is
    assert [url for url in asked if url.endswith("/query/api/operations")] == []
    visitor.at("#operations-live").check()
    with visitor.page.expect_request("**/query/api/operations"):
        visitor.page.clock.run_for(16_000)


def test_for_others_there_is_no_such_view(visit: Visit, customer: Tenant, sent: Sent) -> None:
    visitor = visit(customer.admin)
    visitor.quiet.append("/query/api/operations")
    visitor.see("logs")
    expect(visitor.at("#operations-link")).to_be_hidden()
    visitor.see("operations")
    expect(visitor.at("#operations-notice")).to_contain_text("Not found")
    expect(visitor.at("#operations-figures")).to_be_hidden()
