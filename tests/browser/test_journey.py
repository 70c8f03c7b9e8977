"""A customer's first hour: log in, make a token, send with what the page says, see it, take the token back."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import people
from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor, visible

pytestmark = pytest.mark.stack


def test_first_hour(visit: Visit, artefacts: Path) -> None:
    visitor = visit()
    visitor.go()
    visitor.log_in(people.new_tenant("Beginner").admin)
    visible(visitor.at("#log-notice").get_by_text("No logs in this time"))
    secret = make_token(visitor, "my laptop", artefacts)
    copied = copy_the_curl_snippet(visitor)
    assert secret in copied
    run(copied)
    visible(visitor.at("#arrived-logs.arrived"), 40_000)
    visitor.at("#arrived-logs").get_by_role("link", name="Look at your logs").click()
    visible(visitor.records("Hello from curl"))
    visitor.shoot(artefacts, "journey-first-record")
    revoke(visitor, "my laptop")  # how soon it is refused then: tests/e2e/test_tokens.py
    visitor.at("#logout").click()
    visible(visitor.at("#login-form"))


def make_token(visitor: Visitor, name: str, artefacts: Path) -> str:
    """Its secret, which is shown this once."""
    visitor.at("nav a[data-view=tokens]").click()
    visitor.at("#token-name").fill(name)
    visitor.at("#token-submit").click()
    secret = visible(visitor.at("#token-secret")).inner_text()
    visible(visitor.at("#token-list").get_by_text(name))
    visitor.shoot(artefacts, "journey-token")
    return secret


def copy_the_curl_snippet(visitor: Visitor) -> str:
    """What the button puts on the clipboard."""
    visitor.at("#token-made").get_by_role("link", name="Send data with it").click()
    visible(visitor.at("[data-snippet=curl]"))
    visitor.page.get_by_role("button", name="Copy the snippet for curl").click()
    visible(visitor.at("#said").get_by_text("Copied"))
    copied = str(visitor.page.evaluate("navigator.clipboard.readText()"))
    assert copied == visitor.at("[data-snippet=curl]").text_content()
    return copied


def run(snippet: str) -> None:
    """As it is copied into a terminal."""
    assert shutil.which("curl"), "the page's snippet is for curl: install it"
    done = subprocess.run(["sh", "-c", snippet], capture_output=True, text=True, timeout=60, check=True)  # noqa: S607 on PATH
    assert re.match(r"HTTP/1.1 200", done.stdout), done.stdout


def revoke(visitor: Visitor, name: str) -> None:
    """And see that the secret is gone."""
    visitor.at("nav a[data-view=tokens]").click()
    visitor.page.get_by_role("button", name=f"Revoke {name}").click()
    visitor.at("#confirm-yes").click()
    visible(visitor.at("#token-list").get_by_text("No active token"))
    expect(visitor.at("#token-secret")).to_have_count(0)
    visitor.page.reload()
    visitor.is_ready()
    visitor.at("#token-list summary").click()
    visible(visitor.at("#token-list .state.revoked"))
