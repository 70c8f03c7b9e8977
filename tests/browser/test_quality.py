"""What holds in every view: nothing that axe calls serious (WCAG 2.1 AA), light, dark and narrow, with a picture of each; and a small first page."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import Visit
from tests.browser.people import Sent, Tenant
from tests.browser.visitor import Visitor, visible

pytestmark = pytest.mark.stack

LOOKS: dict[str, dict[str, Any]] = {"light": {}, "dark": {"scheme": "dark"}, "narrow": {"width": 390, "height": 844}}
AXE = Axe()
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""The rest of a page doesn't change with its colours."""


def serious(visitor: Visitor, options: dict[str, Any]) -> list[str]:
    """What axe has against the page as it is now: rule, where, why."""
    found = AXE.run(visitor.page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [
        f"{visitor.page.url}: {one['id']} at {node['target']}: {node['failureSummary']}"
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("look", LOOKS)
def test_every_view_can_be_used_by_everybody(visit: Visit, artefacts: Path, customer: Tenant, sent: Sent, request: pytest.FixtureRequest, look: str) -> None:
    visitor = visit(**LOOKS[look])
    found = []

    def judge(name: str) -> None:
        found.extend(serious(visitor, COLOURS if look == "dark" else {}))
        visitor.shoot(artefacts, f"{look}-{name}")

    visitor.go()
    visible(visitor.at("#login-form"))
    judge("login")
    visitor.log_in(customer.admin)
    visitor.is_ready()
    views: list[tuple[str, str, dict[str, str], str]] = [
        ("logs", "logs", {"q": sent.word, "severity": "error"}, "#log-histogram rect.kind"),
        ("logql", "logs", {"mode": "logql", "q": f'{{service_name="shop-{sent.word}"}}'}, "#log-histogram rect.kind"),
        ("logs-empty", "logs", {"q": "nothinghasthis"}, "#log-notice .notice"),
        ("metrics", "metrics", {"m": sent.gauge, "range": "15m"}, "#metric-chart svg path"),
        ("metrics-to-choose", "metrics", {}, "#metric-notice .notice"),
        ("traces", "traces", {}, "#trace-list a"),
        ("trace", f"traces/{sent.trace_id}", {"span": sent.span_id}, "details.span .facts"),
        ("usage", "usage", {}, "#usage-chart rect"),
        ("tokens", "tokens", {}, "#token-list table"),
        ("send", "send", {}, "#send-snippets pre"),
    ]
    for name, view, given, there in views:
        if name == "usage":
            request.getfixturevalue("counted")  # here, so that it waits less
        visitor.see(view, **given)
        visible(visitor.at(there))
        if name == "logs":
            visitor.records().locator("summary").first.click()
            visible(visitor.at("#log-list .facts"))
        judge(name)
    visitor.at("#show-keys").click()
    visible(visitor.at("#keys"))
    judge("keys")
    visitor.page.keyboard.press("Escape")
    visitor.at("#logout-more").click()
    visible(visitor.at("#logout-everywhere"))
    judge("leave")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("width", [320, 768, 1100])
def test_nothing_is_wider_than_the_window(visit: Visit, customer: Tenant, sent: Sent, width: int) -> None:
    """WCAG 2.1, 1.4.10: at 320 px nothing has to be scrolled sideways but tables and code, inside themselves."""
    visitor = visit(customer.admin, width=width, height=800)
    for view in ("logs", "metrics", "traces", f"traces/{sent.trace_id}", "usage", "tokens", "send"):
        visitor.see(view, **({"m": sent.counter} if view == "metrics" else {}))
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width, view


def test_first_paint_is_under_100_kb(visit: Visit) -> None:
    """All that goes over the line until the log-in can be used, headers too."""
    visitor = visit()
    sizes: list[int] = []
    devtools = visitor.context.new_cdp_session(visitor.page)
    devtools.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    devtools.send("Network.enable")
    visitor.go()
    visible(visitor.at("#login-form"))
    visitor.page.wait_for_load_state("networkidle")
    assert len(sizes) > 10
    assert sum(sizes) < 100_000
