"""A real Chromium in front of the real stack, and what its tests leave behind: pictures of every view, and of a failure all there is."""

import re
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, sync_playwright

from localdev import paths
from tests.browser import chromium, people
from tests.browser.people import Person, Sent, Tenant
from tests.browser.visitor import Visitor
from tests.conftest import Stack

FAILED = pytest.StashKey[bool]()
_FOLDER = pytest.StashKey[Path]()

Visit = Callable[..., Visitor]


@pytest.fixture(scope="session")
def artefacts(stack: Stack, pytestconfig: pytest.Config) -> Path:
    """Where pictures go: empty at the start of a run. They are of a stack of the tests' own, and so are the secrets in them."""
    folder = paths.local() / "browser"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pytestconfig.stash[_FOLDER] = folder
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where the pictures are."""
    if folder := config.stash.get(_FOLDER, None):
        terminalreporter.write_line(f"pictures of the page: {folder}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures know at their end whether the test failed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module and no longer: while Playwright runs, this thread has an event loop, and tests that want one of their own would fail."""
    with sync_playwright() as playwright:
        started = chromium.launch(playwright)
        yield started
        started.close()


@pytest.fixture(scope="session")
def customer(stack: Stack) -> Tenant:
    """A tenant with data (`sent`)."""
    return people.new_tenant("Customer")


@pytest.fixture(scope="session")
def newcomer(stack: Stack) -> Tenant:
    """A tenant that has sent nothing, and must see nothing."""
    return people.new_tenant("Newcomer")


@pytest.fixture(scope="session")
def sent(stack: Stack, customer: Tenant) -> Sent:
    """The customer's data, readable."""
    return people.send_everything(stack.gateway, customer)


@pytest.fixture(scope="session")
def counted(stack: Stack, customer: Tenant, sent: Sent) -> None:
    """The usage that goes with it. Only who looks at usage waits for it."""
    people.wait_for_usage(stack.gateway, customer.admin)


@pytest.fixture(scope="session")
def cookie_of(stack: Stack) -> Callable[[Person], str]:
    """The cookie of a person's session, the same for all tests: for those that are about something else than logging in."""
    kept: dict[Person, str] = {}

    def cookie(person: Person) -> str:
        if person not in kept:
            answer = httpx2.post(f"{stack.gateway}/query/api/login", json={"email": person.email, "password": person.password}, timeout=30)
            kept[person] = answer.raise_for_status().cookies["obstack_session"]
        return kept[person]

    return cookie


@pytest.fixture
def visit(browser: Browser, stack: Stack, artefacts: Path, cookie_of: Callable[[Person], str], request: pytest.FixtureRequest) -> Iterator[Visit]:
    """`visit()`: somebody with a browser that has never been here; `visit(person)` is logged in. At the end no browser may have had anything to complain of."""
    made: list[Visitor] = []

    def come(person: Person | None = None, **how: Any) -> Visitor:
        made.append(Visitor(browser, stack.gateway, **how))
        if person:
            made[-1].is_in_by(cookie_of(person))
        return made[-1]

    yield come
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    complaints = [complaint for visitor in made for complaint in visitor.complaints]
    failed = request.node.stash.get(FAILED, False) or bool(complaints)
    for place, visitor in enumerate(made):
        visitor.leave(artefacts / f"failed-{name}-{place}" if failed else None)
    assert not complaints


@pytest.fixture
def visitor(visit: Visit, customer: Tenant, sent: Sent) -> Visitor:
    """The customer's administrator, logged in."""
    return visit(customer.admin)


@pytest.fixture(scope="session")
def live_token(customer: Tenant) -> str:
    """To send more as the customer."""
    return people.new_token(customer)
