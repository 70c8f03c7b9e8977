// One trace as a waterfall: spans that open, branches that close, and the way to its logs.
import { $, button, copyButton, h, notice, pair } from "./dom.js";
import { change, go, linkTo, place, timeIn } from "./address.js";
import { ask, trouble } from "./ask.js";
import { COLOURS } from "./axis.js";
import { clock, duration, plural, quoted } from "./format.js";
import { factList } from "./records.js";
import { ordered, spansOf } from "./spans.js";

const MOST_SPANS = 3000;

export async function show({ given, id, signal }) {
  const back = h("p", { class: "count" }, h("a", { href: linkTo("traces", timeIn(given)) }, "← Traces"));
  try {
    const spans = spansOf(await ask(`/query/tempo/api/traces/${id}`, {}, signal));
    const shown = spans.length
      ? waterfall(id, spans)
      : [
          notice(
            "The trace is empty",
            "It was found, but has no spans yet. Look again in a few seconds.",
            button("Look again", () => change({})),
          ),
        ];
    $("one-trace").replaceChildren(back, ...shown);
    const wanted =
      given.get("span") && [...$("one-trace").querySelectorAll("details.span")].find((row) => row.dataset.span === given.get("span").toLowerCase());
    if (wanted) ((wanted.open = true), wanted.scrollIntoView({ block: "center" }));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 404) error.message = `There is no trace ${id}`;
    $("one-trace").replaceChildren(
      back,
      h("h1", { class: "unseen" }, "Trace"),
      trouble(error, () => change({})),
    );
  }
}

function waterfall(id, spans) {
  const rows = ordered(spans),
    start = spans.reduce((a, span) => (span.start < a ? span.start : a), spans[0].start),
    end = spans.reduce((a, span) => (span.end > a ? span.end : a), spans[0].end);
  const whole = { id, start, total: Number(end - start) || 1, services: [...new Set(rows.map(({ span }) => span.service))] };
  const ticks = h("div", { class: "ticks" }, ...[0, 0.25, 0.5, 0.75, 1].map((part) => h("span", {}, duration(Math.round(whole.total * part)))));
  const drawn = rows.slice(0, MOST_SPANS).map((row) => ({ ...row, element: spanRow(row, whole) }));
  foldable(drawn);
  return [
    head(whole, spans, rows[0].span),
    h("div", { class: "card waterfall" }, h("div", { class: "scale" }, h("span", {}, "Service and operation"), ticks), ...drawn.map((row) => row.element)),
    ...(rows.length > MOST_SPANS ? [h("p", { class: "count muted" }, `The first ${MOST_SPANS} of ${rows.length} spans.`)] : []),
  ];
}

function head({ id, start, total, services }, spans, root) {
  const at = Number(start / 1000000n),
    failed = spans.filter((span) => span.failed);
  const open = () => {
    const row = [...$("one-trace").querySelectorAll("details.span")].find((one) => one.dataset.span === failed[0].id);
    if (row) ((row.open = true), row.querySelector("summary").focus());
  };
  return h(
    "div",
    { class: "trace-head" },
    h("h1", {}, `${root.service}: ${root.name || "(no name)"}`),
    h(
      "p",
      { class: "muted" },
      h("span", {}, clock(at)),
      h("span", {}, duration(total)),
      h("span", {}, plural(spans.length, "span")),
      h("span", {}, plural(services.length, "service")),
      failed.length ? h("b", { class: "bad-mark" }, plural(failed.length, "error")) : "",
    ),
    h(
      "div",
      { class: "row" },
      h("a", { class: "button", id: "trace-logs", href: logsOf(id, at, total) }, "Logs of this trace"),
      failed.length > 0 && button("Go to the first error", open),
      copyButton(id, "Copy trace ID"),
    ),
    h("p", { class: "muted" }, h("code", {}, id)),
  );
}

/** Logs by full text that name this id, in its time and five minutes around. */
const logsOf = (id, at, total) => linkTo("logs", { q: id, range: "custom", from: at - 300e3, to: at + Math.ceil(total / 1e6) + 300e3 });

/** A button before each span with others below hides and shows those; what is closed inside stays so. */
function foldable(rows) {
  const refold = () => {
    let under = Infinity;
    for (const { element, depth, folded } of rows) {
      const hidden = depth > under;
      element.hidden = hidden;
      if (!hidden) under = folded ? depth : Infinity;
    }
  };
  for (const row of rows) {
    if (!row.below) continue;
    const fold = button(
      "▾",
      () => {
        row.folded = !row.folded;
        fold.textContent = row.folded ? "▸" : "▾";
        fold.setAttribute("aria-expanded", String(!row.folded));
        refold();
      },
      { class: "fold", "aria-expanded": "true", "aria-label": `${plural(row.below, "span")} below ${row.span.name || "(no name)"}` },
    );
    row.element.append(fold);
    fold.style.setProperty("--depth", Math.min(row.depth, 12));
  }
}

function spanRow({ span, depth }, { id, start, total, services }) {
  const place = services.indexOf(span.service),
    colour = COLOURS[place % COLOURS.length],
    left = (Number(span.start - start) / total) * 100,
    wide = (Number(span.end - span.start) / total) * 100;
  const side = left + wide < 84 ? "" : left > 16 ? "left" : "in",
    took = duration(Number(span.end - span.start));
  const row = h(
    "details",
    { class: "span", "data-span": span.id },
    h(
      "summary",
      {},
      h(
        "span",
        { class: "label", vars: { "--depth": Math.min(depth, 12) } },
        h("i", { class: "dot", vars: { "--c": colour } }),
        span.failed && h("b", { class: "bad-mark" }, "Error"),
        h("span", { title: `${span.service}: ${span.name}` }, span.name || "(no name)", " ", h("span", { class: "muted" }, span.service)),
      ),
      h(
        "span",
        {
          class: "lane",
          vars: { "--x": `${Math.min(left, 99.5)}%`, "--w": `${Math.min(wide, 100 - left)}%`, "--c": span.failed ? "var(--error-bar)" : colour },
        },
        h("i"),
        h("span", { class: side }, took),
      ),
    ),
  );
  let made = false;
  row.addEventListener("toggle", () => made || ((made = true), row.querySelector("summary").after(spanFacts(span, id, start))));
  return h("div", { class: "span-row" }, row);
}

/** Traces with this value, in the time of the search that led here. */
const find = (name, value) => () =>
  go("traces", { ...timeIn(place().given), ...(name === "service.name" ? { service: value } : { tags: `${name}=${quoted(value)}` }) });

function spanFacts(span, id, start) {
  const after = (at) => `+${duration(Number(at - start))}`,
    at = Number(span.start / 1000000n),
    took = Number(span.end - span.start);
  const main = {
    Span: span.id,
    Parent: span.parent,
    Kind: span.kind,
    Starts: after(span.start),
    Took: duration(took),
    Scope: span.scope,
    Error: span.failed ? span.message || "yes" : "",
  };
  const events = span.events.map((event) => h("div", {}, h("h2", {}, `Event ${event.name} at ${after(event.at)}`), ...factList("", event.attributes)));
  const links = span.links
    .filter((link) => link.trace)
    .map((link) => h("p", {}, "Linked: ", h("a", { href: linkTo(`traces/${link.trace}`, { span: link.span }) }, link.trace)));
  return h(
    "div",
    { class: "facts" },
    h(
      "div",
      { class: "row" },
      h("a", { class: "button", href: logsOf(span.id, at, took) }, "Logs of this span"),
      copyButton(`${location.origin}${location.pathname}${linkTo(`traces/${id}`, { ...timeIn(place().given), span: span.id })}`, "Copy link to this span"),
    ),
    h(
      "dl",
      {},
      ...Object.entries(main)
        .filter(([, value]) => value)
        .flatMap(([name, value]) => pair(name, value)),
    ),
    ...factList("Attributes", span.attributes, find),
    ...events,
    ...links,
    ...factList("Resource", span.resource, find),
  );
}
