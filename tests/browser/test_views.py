"""Each view with a customer's data in it, and the same views of a customer who has none."""

import re
import time

import pytest
from playwright.sync_api import Locator, expect

from tests.browser import people
from tests.browser.conftest import Visit
from tests.browser.people import Sent, Tenant
from tests.browser.visitor import Visitor, visible
from tests.conftest import Stack
from tests.waiting import until

pytestmark = pytest.mark.stack


def test_search_leads_to_the_record_its_trace_and_back(visitor: Visitor, sent: Sent) -> None:
    visitor.see("logs", range="1h")
    visitor.at("#log-q").fill(f"{sent.word} refused")
    visitor.at("#log-q").press("Enter")
    expect(visitor.records()).to_have_count(1)
    assert "q=" in visitor.page.url
    expect(visitor.at("#log-count")).to_have_text("1 record")
    expect(visitor.at("#log-histogram rect.kind")).to_have_count(1)
    # The whole line once, spaces and all, with what was looked for marked.
    assert visitor.records().locator(".body").first.text_content() == f"  the card of {sent.word} was refused"
    expect(visitor.at("#log-list mark")).to_have_text([sent.word, "refused"])
    visitor.records().locator("summary").click()
    facts = visible(visitor.at("#log-list .facts"))
    expect(facts).to_contain_text(sent.trace_id)
    expect(facts).to_contain_text("order.id")
    facts.get_by_role("link", name="Open the trace").click()
    expect(visitor.at("details.span")).to_have_count(4)
    failed = visitor.at(f"details.span[data-span='{sent.span_id}']")
    expect(failed).to_have_attribute("open", "")
    expect(failed.locator(".facts")).to_contain_text("the card was refused")
    visitor.at("#trace-logs").click()
    expect(visitor.records()).to_have_count(2)


def test_text_of_a_customer_stays_text(visitor: Visitor, sent: Sent) -> None:
    visitor.see("logs", q=f"onerror {sent.word}")
    expect(visitor.records().locator(".body").first).to_have_text(f"<img src=x onerror=alert(1)> {sent.word}")
    expect(visitor.at("#log-list img")).to_have_count(0)


def test_filters_and_pages_of_the_search(visitor: Visitor, sent: Sent) -> None:
    visitor.see("logs", q=sent.word)
    expect(visitor.records()).to_have_count(100)
    visitor.at("#log-more").click()
    expect(visitor.records()).to_have_count(sent.records)
    expect(visitor.at("#log-more")).to_be_hidden()
    visitor.at("#log-severity").select_option("warn")
    expect(visitor.records()).to_have_count(24 * 2 + 2)
    visitor.at("#log-service").select_option(f"shop-{sent.word}")
    expect(visitor.at("#log-list .service")).to_have_text([f"shop-{sent.word}"] * 50)
    visitor.page.go_back()
    expect(visitor.at("#log-service")).to_have_value("")


def test_histogram_zooms_into_a_part(visitor: Visitor, sent: Sent) -> None:
    visitor.see("logs", q=sent.word)
    visible(visitor.at("#log-histogram rect.kind"))
    visitor.at("#log-histogram svg").focus()
    visitor.page.keyboard.press("ArrowLeft")
    visible(visitor.at("#log-histogram .tip"))
    visitor.page.keyboard.press("Enter")
    expect(visitor.page).to_have_url(re.compile("range=custom"))
    visible(visitor.records())


def test_logql(visitor: Visitor, sent: Sent) -> None:
    visitor.see("logs")
    visitor.at("label:has(#log-mode-logql)").click()
    expect(visitor.page).to_have_url(re.compile("mode=logql"))
    visitor.at("#log-q").fill(f'{{service_name="shop-{sent.word}"}} |= "refused"')
    visitor.at("#log-q").press("Enter")
    expect(visitor.records()).to_have_count(1)
    visible(visitor.at("#log-histogram rect.kind"))
    visitor.records().locator("summary").click()
    visible(visitor.at("#log-list .facts").get_by_role("link", name="Open the trace"))
    visitor.quiet = ["/query/loki/"]
    visitor.at("#log-q").fill("{service_name=")
    visitor.at("#log-q").press("Enter")
    visible(visitor.at("#log-notice [role=alert]"))
    visitor.at("#log-q").fill(f'sum(count_over_time({{service_name="shop-{sent.word}"}}[5m]))')
    visitor.at("#log-q").press("Enter")
    visible(visitor.at("#log-chart svg path"))


@pytest.mark.parametrize("mode", ["", "logql"])
def test_live_shows_a_record_that_is_sent_meanwhile(visitor: Visitor, stack: Stack, customer: Tenant, sent: Sent, live_token: str, mode: str) -> None:
    query = {"mode": mode, "q": '{service_name=~"shop-.*"}'} if mode else {}

    def seen(what: Locator) -> bool:
        if not mode:  # it asks every 5 s: its clock is put on
            visitor.page.clock.fast_forward(5_000)
        return what.count() > 0

    if not mode:
        visitor.page.clock.install()
    visitor.see("logs", range="24h", **query)
    visitor.at("label:has(#log-live)").click()
    visible(visitor.at("#log-pause"))
    visitor.is_ready()
    text = f"meanwhile {mode or 'text'} {time.time_ns()} {sent.word}"
    people.send_logs(stack.gateway, live_token, f"{sent.word}-live", [text])
    until(lambda: seen(visitor.records(text)), 40, "the record is shown")
    expect(visitor.records(text)).to_have_count(1)
    visitor.at("#log-pause").click()
    later = f"later {text}"
    people.send_logs(stack.gateway, live_token, f"{sent.word}-live", [later])
    until(lambda: seen(visitor.at("#log-pause").get_by_text(re.compile(r"Resume \([1-9]"))), 40, "the record waits")
    expect(visitor.records(later)).to_have_count(0)
    visitor.at("#log-pause").click()
    visible(visitor.records(later))


def test_metric_chosen_with_enter_is_shown_as_suits_it(visitor: Visitor, sent: Sent) -> None:
    visitor.see("metrics")
    visitor.at("#metric").fill(sent.counter)
    visitor.at("#metric").press("Enter")
    visible(visitor.at("#metric-chart svg path"))
    expect(visitor.at("#metric-fn")).to_have_value("rate")
    expect(visitor.at("#metric-query")).to_contain_text(f"rate({sent.counter}[")
    assert "fn=" not in visitor.page.url
    assert f"m={sent.counter}" in visitor.page.url
    visitor.at("#metric-chart svg").hover()
    tip = visible(visitor.at("#metric-chart .tip"))
    expect(tip).to_contain_text("north")
    visitor.at("#metric-by").select_option("*")
    expect(visitor.at("#metric-query")).to_contain_text("sum (rate(")
    expect(visitor.at("#metric-chart .legend li")).to_have_count(1)
    visitor.at("#metric-by-hand").click()
    expect(visitor.at("#metric-expr")).to_have_value(re.compile(r"sum \(rate\("))
    visible(visitor.at("#metric-chart svg path"))


def test_another_metric_does_not_keep_the_function_of_the_one_before(visitor: Visitor, sent: Sent) -> None:
    visitor.see("metrics", m=sent.counter)
    expect(visitor.at("#metric-fn")).to_have_value("rate")
    visitor.at("#metric").fill(sent.gauge)
    visitor.at("#metric").press("Enter")
    expect(visitor.at("#metric-query")).to_have_text(sent.gauge)
    expect(visitor.at("#metric-chart .legend li")).to_have_count(3)
    assert "fn=" not in visitor.page.url


def test_mistake_in_promql_is_shown_where_it_is(visitor: Visitor, sent: Sent) -> None:
    visitor.quiet = ["/query/prometheus/"]
    visitor.see("metrics", mode="promql", expr=f"sum({sent.gauge}")
    visible(visitor.at("#metric-error .error-text"))
    expect(visitor.at("#metric-expr")).to_have_attribute("aria-invalid", "true")
    visitor.at("#metric-expr").fill(f"sum({sent.gauge})")
    visitor.at("#metric-expr").press("Enter")
    visible(visitor.at("#metric-chart svg path"))
    expect(visitor.at("#metric-error")).to_be_empty()


def test_trace_is_found_by_what_is_in_it(visitor: Visitor, sent: Sent) -> None:
    visitor.see("traces")
    visitor.at("#trace-service").fill(f"bank-{sent.word}")
    visitor.at("#trace-service").press("Enter")
    expect(visitor.at("#trace-list a")).to_have_count(1)
    visitor.at("#trace-list a").click()
    expect(visitor.at("details.span")).to_have_count(4)
    expect(visitor.at("#trace h1")).to_contain_text(f"POST /orders {sent.word}")
    visitor.at("#trace .fold").first.click()
    expect(visitor.at(".span-row:visible")).to_have_count(1)


CHAIN = """async (length) => {
  const { ordered } = await import("/query/page/spans.js");
  const rows = ordered(Array.from({ length }, (_, place) => ({ id: `${place}`, parent: `${place - 1}`, start: 0n })));
  return rows.every((row, place) => row.depth === place && row.below === length - place - 1);
}"""
TREE = """async (parents) => {
  const { ordered } = await import("/query/page/spans.js");
  const spans = Object.entries(parents).map(([id, parent], place) => ({ id, parent, start: BigInt(place) }));
  return ordered(spans).map(({ span, depth, below }) => [span.id, depth, below]);
}"""


def test_spans_below_each_are_counted(visitor: Visitor) -> None:
    visitor.see("traces")
    parents = {"a": "", "b": "a", "c": "b", "d": "a", "e": "", "f": "e", "x": "y", "y": "x"}
    rows = [["a", 0, 3], ["b", 1, 1], ["c", 2, 0], ["d", 1, 0], ["e", 0, 1], ["f", 1, 0], ["x", 0, 1], ["y", 1, 0]]
    assert visitor.page.evaluate(TREE, parents) == rows


def test_longest_chain_of_spans_is_shown(visitor: Visitor) -> None:
    """Counting what is below each by going through all above it would take minutes."""
    visitor.see("traces")
    visitor.page.wait_for_function(CHAIN, arg=100_000)


def test_live_chart_shows_what_came_meanwhile(visitor: Visitor, stack: Stack, sent: Sent, live_token: str) -> None:
    name = f"{sent.gauge}_{time.time_ns()}"
    visitor.page.clock.install()
    visitor.see("metrics", m=name, range="15m")
    visitor.at("label:has(#metric-live)").click()
    expect(visitor.page).to_have_url(re.compile("live=1"))
    visitor.is_ready()
    visible(visitor.at("#metric-notice").get_by_text("No values in this time"))
    people.send_gauge(stack.gateway, live_token, name)
    visitor.page.clock.fast_forward(10_000)
    expect(visitor.at("#metric-chart .legend li")).to_have_count(3)
    expect(visitor.at("#metric-notice")).to_be_empty()


@pytest.mark.usefixtures("counted")
def test_live_usage_is_read_again(visitor: Visitor) -> None:
    visitor.page.clock.install()
    visitor.see("usage")
    visitor.at("label:has(#usage-live)").click()
    expect(visitor.page).to_have_url(re.compile("live=1"))
    visitor.is_ready()
    with visitor.page.expect_response(lambda answer: "/query/api/usage" in answer.url):
        visitor.page.clock.fast_forward(10_000)
    visible(visitor.at("#usage-chart rect"))


@pytest.mark.usefixtures("counted")
def test_usage_counts_every_signal(visitor: Visitor) -> None:
    visitor.see("usage")
    expect(visitor.at("#usage-totals tbody td:first-child")).to_have_text(["Logs", "Metrics", "Metrics by remote write", "Traces", "Reads", "All"])
    visible(visitor.at("#usage-chart rect.signal-remote-write"))
    visitor.at("#usage-measure").select_option("records")
    expect(visitor.page).to_have_url(re.compile("measure=records"))
    visible(visitor.at("#usage-chart rect.signal-logs"))


NOTHING = {
    "logs": "No logs in this time",
    "metrics": "No metrics in this time",
    "traces": "No traces in this time",
    "usage": "Nothing in this time",
    "tokens": "No active token",
}


def test_newcomer_is_told_what_to_do(visit: Visit, newcomer: Tenant) -> None:
    visitor = visit(newcomer.admin)
    for view, said in NOTHING.items():
        visitor.see(view)
        visible(visitor.at(f"#{view} .notice").get_by_text(said))
    visitor.see("logs")
    visitor.at("#log-notice").get_by_role("link", name="How to send your logs").click()
    visible(visitor.at("[data-snippet=curl]"))


def test_newcomer_sees_nothing_of_another_tenant(visit: Visit, newcomer: Tenant, sent: Sent) -> None:
    """By the very addresses that show it to the customer."""
    visitor = visit(newcomer.admin)
    visitor.quiet = ["/query/tempo/api/traces/"]
    addresses: list[tuple[str, dict[str, str]]] = [
        ("logs", {"q": "refused | order"}),
        ("logs", {"mode": "logql", "q": '{service_name=~".+"}'}),
        ("metrics", {"mode": "promql", "expr": '{__name__=~".+"}'}),
        ("metrics", {}),
        ("traces", {}),
        (f"traces/{sent.trace_id}", {}),
        ("usage", {}),
        ("tokens", {}),
        ("send", {}),
    ]
    for view, given in addresses:
        visitor.see(view, **given)
        assert sent.word not in visitor.page.locator("body").inner_html(), view
        expect(visitor.at("#log-list details, #trace-list a, details.span, #metric-chart svg")).to_have_count(0)
    expect(visitor.at("#send-waiting .arrived")).to_have_count(0)
