"""The view of logs in detail: the time that is chosen, live, and what a filter or a long query comes to."""

import re
import time
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from playwright.sync_api import expect

from tests.browser import people
from tests.browser.people import Sent
from tests.browser.visitor import Visitor, visible
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack

BURST = 150
"""Lines at a time, of which live shows a hundred."""
NO_WEBSOCKET = """window.WebSocket = class extends EventTarget {
  constructor() { super(); setTimeout(() => this.dispatchEvent(new Event("close"))); }
  close() {}
}"""
KEPT_WEBSOCKET = "window.WebSocket = class extends WebSocket { constructor(...given) { super(...given); window.tail = this; } }"


def given(visitor: Visitor) -> dict[str, str]:
    """The parameters of the address."""
    return dict(parse_qsl(urlsplit(visitor.page.url).fragment.partition("?")[2]))


def submit(visitor: Visitor) -> None:
    visitor.at("#logs-form [type=submit]").click()


def address_has(visitor: Visitor, part: str) -> None:
    expect(visitor.page).to_have_url(re.compile(re.escape(part)))


def last_hour() -> dict[str, str]:
    """To the millisecond, of which a field shows the second."""
    now = time.time_ns() // 10**9 * 1000
    return {"range": "custom", "from": str(now - 3_599_877), "to": str(now + 456)}


def in_field(milliseconds: str) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(milliseconds) // 1000))


def test_part_of_the_time_is_not_live_and_stays_chosen(visitor: Visitor, sent: Sent) -> None:
    visitor.see("logs", q=sent.word, range="1h", live="1")
    expect(visitor.at("#log-live")).to_be_checked()
    visible(visitor.at("#log-histogram rect.kind"))
    visitor.at("#log-histogram svg").focus()
    visitor.page.keyboard.press("ArrowLeft")
    visible(visitor.at("#log-histogram .tip"))
    visitor.page.keyboard.press("Enter")
    address_has(visitor, "range=custom")
    expect(visitor.at("#log-live")).not_to_be_checked()
    expect(visitor.at("#log-pause")).to_be_hidden()
    zoomed = given(visitor)
    visitor.at("#log-severity").select_option("debug")
    address_has(visitor, "severity=debug")
    assert given(visitor) == {**zoomed, "severity": "debug"}
    visitor.page.get_by_role("button", name="Zoom out").click()
    until(lambda: int(given(visitor)["from"]) < int(zoomed["from"]), what="the time is longer")
    expect(visitor.at("#log-live")).not_to_be_checked()


def test_of_live_and_a_fixed_time_the_last_chosen_holds(visitor: Visitor) -> None:
    visitor.see("logs", range="1h", live="1")
    visitor.at("#logs-range").select_option("custom")
    submit(visitor)
    address_has(visitor, "range=custom")
    expect(visitor.at("#log-live")).not_to_be_checked()
    visitor.at("label:has(#log-live)").click()
    address_has(visitor, "live=1")
    expect(visitor.at("#log-live")).to_be_checked()
    expect(visitor.at("#logs-range")).to_have_value("15m")


@pytest.mark.parametrize("query", [{"sort": "oldest"}, {"mode": "logql", "q": 'count_over_time({service_name=~".+"}[1m])'}])
def test_live_is_off_where_nothing_can_be(visitor: Visitor, query: dict[str, str]) -> None:
    visitor.see("logs", live="1", **query)
    expect(visitor.at("#log-live")).not_to_be_checked()
    expect(visitor.at("#log-pause")).to_be_hidden()


def test_chosen_time_keeps_what_its_fields_do_not_show(visitor: Visitor, sent: Sent) -> None:
    chosen = last_hour()
    visitor.see("logs", **chosen)
    visitor.at("#log-q").fill(sent.word)
    submit(visitor)
    address_has(visitor, "q=")
    assert given(visitor) == {**chosen, "q": sent.word}
    earlier = str(int(chosen["from"]) // 1000 * 1000 - 60_000)
    visitor.at("#logs-from").fill(in_field(earlier))
    submit(visitor)
    address_has(visitor, f"from={earlier}")
    assert given(visitor) == {**chosen, "q": sent.word, "from": earlier}


def test_time_that_is_none_is_told_at_its_field(visitor: Visitor) -> None:
    chosen = last_hour()
    visitor.see("logs", **chosen)
    before = visitor.page.url
    for name, text, why in (("to", in_field(chosen["from"]), "This must be after"), ("to", "", "Say until when"), ("from", "", "Say from when")):
        visitor.at(f"#logs-{name}").fill(text)
        submit(visitor)
        expect(visitor.at(f"#logs-{name}")).to_be_focused()
        assert why in str(visitor.at(f"#logs-{name}").evaluate("field => field.validationMessage"))
        assert visitor.page.url == before
    for name in ("from", "to"):
        visitor.at(f"#logs-{name}").fill(in_field(chosen[name]))
    visitor.at("#log-q").fill("again")
    submit(visitor)
    address_has(visitor, "q=again")
    assert given(visitor) == {**chosen, "q": "again"}


def test_filter_finds_a_value_of_several_lines(visitor: Visitor, stack: Stack, live_token: str) -> None:
    word = f"several{time.time_ns()}"
    people.send_logs(stack.gateway, live_token, word, ["it failed"], where=f'in "C:\\{word}"\n  at one', long="x" * 1000)

    def found() -> int:
        visitor.see("logs", q=f"shop-{word}", range="15m")
        return visitor.records("it failed").count()

    until(found, 60, "the record is found")
    visitor.records().locator("summary").click()
    facts = visible(visitor.at("#log-list .facts"))
    expect(facts.get_by_role("button", name="Copy the value of long")).to_be_visible()
    expect(facts.get_by_role("button", name="Filter for long")).to_have_count(0)
    facts.get_by_role("button", name="Filter for where").click()
    expect(visitor.at("#log-q")).to_have_value(f'shop-{word} "in \\"C:\\\\{word}\\"   at one"')
    visitor.is_ready()
    expect(visitor.records("it failed")).to_have_count(1)
    visitor.at("#log-severity").select_option("error")
    address_has(visitor, "severity=error")
    assert "\n" in given(visitor)["q"]
    visitor.is_ready()
    expect(visitor.records("it failed")).to_have_count(1)


def test_long_query_is_asked_whole_or_told(visitor: Visitor, sent: Sent) -> None:
    visitor.see("logs", mode="logql", range="1h")
    query = f'{{service_name="shop-{sent.word}"}} |= "refused" != "{"x" * 12_000}"'
    visitor.at("#log-q").fill(query)
    submit(visitor)
    expect(visitor.records()).to_have_count(1)
    assert given(visitor)["q"] == query
    visitor.see("logs")
    visitor.at("#log-q").fill("x" * 1001)
    submit(visitor)
    expect(visitor.at("#log-q")).to_be_focused()
    assert "1,000 characters" in str(visitor.at("#log-q").evaluate("field => field.validationMessage"))
    assert not given(visitor)


def burst(stack: Stack, token: str, word: str) -> None:
    """More lines than live shows at a time, readable when this returns."""
    query = f'{{service_name="shop-{word}"}}'
    people.send_logs(stack.gateway, token, word, [f"line {number}" for number in range(BURST)])
    with httpx2.Client(base_url=stack.gateway, headers={"authorization": f"Bearer {token}"}, timeout=30) as client:

        def seen() -> int:
            found = client.get("/query/loki/api/v1/query_range", params={"query": query, "limit": 2 * BURST}).raise_for_status()
            return sum(len(stream["values"]) for stream in found.json()["data"]["result"])

        until(lambda: seen() == BURST, 60, "the burst is in Loki")


def too_many(visitor: Visitor) -> None:
    visible(visitor.at("#said").get_by_text("More records came than live can show"))


def test_live_without_websocket_says_that_lines_are_left_out(visitor: Visitor, stack: Stack, live_token: str) -> None:
    word = f"polled{time.time_ns()}"
    visitor.page.add_init_script(NO_WEBSOCKET)
    visitor.see("logs", mode="logql", q=f'{{service_name="shop-{word}"}}', range="15m", live="1")
    people.send_logs(stack.gateway, live_token, word, [f"line {number}" for number in range(BURST)])
    too_many(visitor)
    expect(visitor.records()).to_have_count(100)


def test_live_says_what_a_slow_or_broken_connection_left_out(visitor: Visitor, stack: Stack, live_token: str) -> None:
    word, page = f"tailed{time.time_ns()}", visitor.page
    page.add_init_script(KEPT_WEBSOCKET)
    page.clock.install()
    visitor.see("logs", mode="logql", q=f'{{service_name="shop-{word}"}}', range="15m", live="1")
    page.wait_for_function("window.tail?.readyState === WebSocket.OPEN")
    # What Loki says to a reader that is too slow.
    dropped = '{"streams": null, "dropped_entries": [{"labels": {"service_name": "shop"}, "timestamp": "1"}]}'
    page.evaluate("data => tail.dispatchEvent(new MessageEvent('message', { data }))", dropped)
    too_many(visitor)
    page.clock.pause_at(time.time() + 5)
    expect(visitor.at("#said")).to_be_empty()
    page.evaluate("new Promise((closed) => (tail.addEventListener('close', closed), tail.close())).then(() => true)")
    burst(stack, live_token, word)
    page.clock.fast_forward(60_000)
    too_many(visitor)
    expect(visitor.records()).to_have_count(100)
