"""Coming, staying and leaving: what a browser shows whom, and what is left in it."""

import re

import httpx2
import pytest
from playwright.sync_api import expect

from tests.browser import people
from tests.browser.conftest import Visit
from tests.browser.people import Person, Sent, Tenant
from tests.browser.visitor import Visitor, visible
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack


def test_wrong_password_is_told(visit: Visit, customer: Tenant) -> None:
    visitor = visit()
    visitor.go()
    visitor.log_in(Person(customer.admin.email, "not the password"))
    expect(visitor.at("#login-error")).not_to_be_empty()
    expect(visitor.at("#password")).to_be_focused()
    expect(visitor.at("#app")).to_be_hidden()
    visitor.log_in(customer.admin)
    visitor.is_ready()
    expect(visitor.at("#tenant")).to_have_text(customer.name)
    expect(visitor.at("#login-error")).to_be_empty()


def test_link_shows_the_same_after_logging_in(visit: Visit, customer: Tenant, sent: Sent) -> None:
    visitor = visit()
    visitor.go("logs", q=f"{sent.word} refused", severity="error", range="6h")
    visitor.log_in(customer.admin)
    visible(visitor.records("was refused"))
    expect(visitor.at("#log-q")).to_have_value(f"{sent.word} refused")
    expect(visitor.at("#log-severity")).to_have_value("error")
    expect(visitor.at("#logs-range")).to_have_value("6h")


def test_keyboard_alone_logs_in_and_searches(visit: Visit, customer: Tenant, sent: Sent) -> None:
    visitor = visit()
    visitor.go()
    keys = visitor.page.keyboard
    expect(visitor.at("#email")).to_be_focused()
    keys.type(customer.admin.email)
    keys.press("Tab")
    keys.type(customer.admin.password)
    keys.press("Enter")
    visitor.is_ready()
    visible(visitor.records())
    keys.press("Tab")
    expect(visitor.at("#skip")).to_be_focused()
    keys.press("/")
    expect(visitor.at("#log-q")).to_be_focused()
    keys.type(f'"card of {sent.word}"')
    keys.press("Enter")
    expect(visitor.records()).to_have_count(1)
    until(lambda: _tab_leads_to_a_record(visitor), what="Tab leads to the record")
    keys.press("Enter")
    visible(visitor.at("#log-list details[open] .facts"))
    keys.press("Escape")
    expect(visitor.at("#log-list details[open]")).to_have_count(0)
    keys.press("2")
    expect(visitor.at("nav a[aria-current]")).to_have_text("Metrics")


def _tab_leads_to_a_record(visitor: Visitor) -> bool:
    visitor.page.keyboard.press("Tab")
    return bool(visitor.at("#log-list summary:focus").count())


def test_nothing_is_left_after_logging_out(visit: Visit, stack: Stack, customer: Tenant, sent: Sent) -> None:
    visitor = visit()
    visitor.go("logs", q=sent.word)
    visitor.log_in(customer.admin)
    visible(visitor.records())
    visitor.at("nav a[data-view=usage]").click()
    visible(visitor.at("#usage-totals"))
    stolen = next(cookie for cookie in visitor.context.cookies() if cookie["name"] == "obstack_session")
    assert (stolen["httpOnly"], stolen["sameSite"]) == (True, "Strict")
    cookie = {"cookie": f"obstack_session={stolen['value']}"}
    assert httpx2.get(f"{stack.gateway}/query/api/me", headers=cookie).status_code == 200
    visitor.at("#logout").click()
    visible(visitor.at("#login-form"))
    assert not visitor.context.cookies()
    visitor.page.go_back()
    assert sent.word in visitor.page.url
    visible(visitor.at("#login-form"))
    expect(visitor.at("#app")).to_be_hidden()
    assert sent.word not in visitor.at("body").inner_html()
    assert httpx2.get(f"{stack.gateway}/query/api/me", headers=cookie).status_code == 401
    assert httpx2.get(f"{stack.gateway}/query/api/logs/search", headers=cookie).status_code == 401


def test_logging_out_everywhere_ends_the_other_browser_too(visit: Visit, newcomer: Tenant) -> None:
    here, there = visit(), visit()
    for visitor in (here, there):
        visitor.go()
        visitor.log_in(newcomer.viewer)
        visitor.is_ready()
    there.quiet = ["/query/"]
    here.at("#logout-more").click()
    here.at("#logout-everywhere").click()
    visible(here.at("#login-form"))

    def is_out() -> bool:
        there.page.reload()
        there.page.wait_for_load_state("networkidle")
        return there.at("#login-form").is_visible()

    until(is_out, what="the other browser shows the log-in")


def test_session_that_ended_leads_to_the_form_and_back(visit: Visit, customer: Tenant, sent: Sent) -> None:
    visitor = visit()
    visitor.go()
    visitor.log_in(customer.admin)
    visitor.is_ready()
    visitor.quiet = ["/query/"]
    visitor.context.clear_cookies()
    visitor.at("nav a[data-view=usage]").click()
    expect(visitor.at("#login-error")).to_have_text(re.compile("session has ended"))
    visitor.log_in(customer.admin)
    visible(visitor.at("#usage-totals"))


def test_every_tab_shows_who_is_logged_in(visit: Visit, customer: Tenant, newcomer: Tenant, sent: Sent) -> None:
    visitor = visit()
    visitor.go("logs", q=sent.word)
    visitor.log_in(customer.admin)
    visible(visitor.records())
    first = visitor.page
    visitor.context.clear_cookies()
    visitor.page = visitor.context.new_page()
    visitor.go()
    visitor.log_in(newcomer.admin)
    visitor.is_ready()
    expect(first.locator("#tenant")).to_have_text(newcomer.name)
    visible(first.locator("#log-notice .notice"))
    expect(first.locator("#log-list details")).to_have_count(0)
    visitor.at("#logout").click()
    visible(first.locator("#login-form"))
    visible(visitor.at("#login-form"))
    visitor.log_in(customer.admin)
    visible(first.locator("#log-list details"))


def test_secret_is_not_shown_to_the_next_user(visit: Visit) -> None:
    tenant, visitor = people.new_tenant("Shared desk"), visit()
    visitor.go("tokens")
    visitor.log_in(tenant.admin)
    visitor.at("#token-name").fill("mine")
    visitor.at("#token-submit").click()
    visible(visitor.at("#token-secret"))
    visitor.quiet = ["/query/"]
    visitor.context.clear_cookies()
    visitor.at("nav a[data-view=usage]").click()
    visible(visitor.at("#login-form"))
    visitor.log_in(tenant.viewer)
    expect(visitor.at("#who-email")).to_have_text(tenant.viewer.email)
    visitor.at("nav a[data-view=tokens]").click()
    visible(visitor.at("#token-list").get_by_text("mine"))
    expect(visitor.at("#token-secret")).to_have_count(0)


def test_viewer_may_look_and_not_touch(visit: Visit, customer: Tenant, sent: Sent) -> None:
    visitor = visit(customer.viewer)
    visitor.see("tokens")
    visible(visitor.at("#token-list").get_by_text("seed"))
    expect(visitor.at("#token-viewer")).to_be_visible()
    expect(visitor.at("#token-create")).to_be_hidden()
    expect(visitor.at("#token-list button")).to_have_count(0)
    visitor.see("logs", q=sent.word)
    visible(visitor.records())
