"""Somebody in front of a browser: one window, with nothing in it but what he does."""

from pathlib import Path
from urllib.parse import urlencode, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, WebSocket, expect

from tests.browser.people import Person

READY = "#main:not(.loading)"
PATIENCE = 20_000
"""Milliseconds, of a machine that has other work as well."""


class Visitor:
    """`complaints`: what a browser had against the page, or the page asked of another host. `quiet` names what the visitor makes go wrong on purpose."""

    def __init__(self, browser: Browser, gateway: str, *, width: int = 1280, height: int = 860, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
        )
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=gateway)
        self.context.set_default_timeout(PATIENCE)
        self.context.tracing.start(snapshots=True)
        self.complaints: list[str] = []
        # Who isn't logged in, or mistypes, is told by a 401, and Chromium calls each a failed load.
        self.quiet = ["/query/api/me", "/query/api/login"]
        self._gateway = gateway
        self.page: Page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("request", self._watch)
        self.page.on("websocket", self._watch)

    def _hear(self, message: ConsoleMessage) -> None:
        # A violation of the page's policy comes this way too.
        loads = message.text.startswith("Failed to load resource") and any(path in message.location["url"] for path in self.quiet)
        if message.type in {"error", "warning"} and not loads:
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")

    def _watch(self, request: Request | WebSocket) -> None:
        if urlsplit(request.url).netloc != urlsplit(self._gateway).netloc and not request.url.startswith(("data:", "blob:")):
            self.complaints.append(f"asked another host: {request.url}")

    def is_in_by(self, cookie: str) -> None:
        """Be logged in without the form."""
        host = str(urlsplit(self._gateway).hostname)
        self.context.add_cookies([{"name": "obstack_session", "value": cookie, "domain": host, "path": "/query", "httpOnly": True, "sameSite": "Strict"}])

    def go(self, view: str = "", **given: str) -> None:
        """Type an address."""
        place = f"#/{view}{'?' + urlencode(given) if given else ''}" if view else ""
        self.page.goto(f"{self._gateway}/query/{place}")

    def see(self, view: str, **given: str) -> None:
        """Type the address of a view and wait until it is there. From an empty page, so that nothing of the view before is taken for it."""
        self.page.goto("about:blank")
        self.go(view, **given)
        self.is_ready()

    def is_ready(self) -> None:
        """Wait until the view has its answers."""
        expect(self.page.locator(READY)).to_be_visible(timeout=PATIENCE)

    def log_in(self, person: Person) -> None:
        """Fill the form in and send it."""
        self.page.locator("#email").fill(person.email)
        self.page.locator("#password").fill(person.password)
        self.page.get_by_role("button", name="Log in", exact=True).click()

    def at(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def records(self, text: str = "") -> Locator:
        """Rows of the list of logs that have the text."""
        return self.at("#log-list details").filter(has_text=text)

    def shoot(self, folder: Path, name: str) -> None:
        """Keep a picture of the whole page."""
        self.page.screenshot(path=folder / f"{name}.png", full_page=True)

    def leave(self, kept: Path | None) -> None:
        """Close the window; with `kept`, a path without suffix, the page's HTML, its picture and a trace (playwright show-trace) stay."""
        if kept and not self.page.is_closed():
            kept.with_suffix(".html").write_text(self.page.content())
            self.page.screenshot(path=kept.with_suffix(".png"), full_page=True)
        self.context.tracing.stop(path=kept.with_suffix(".zip") if kept else None)
        self.context.close()


def visible(locator: Locator, milliseconds: int = PATIENCE) -> Locator:
    """The first that it finds, once it can be seen."""
    expect(locator.first).to_be_visible(timeout=milliseconds)
    return locator.first
