// A log record as a row that opens. A record:
// {key, at (ms), stamp, level, severity, service, body, highlight?, trace, span, facts: [[title, {name: value}], …], raw}.
import { announce, button, copyButton, h, pair } from "./dom.js";
import { linkTo } from "./address.js";
import { clock, textOf } from "./format.js";

export const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"];
const SHOWN = 4000,
  MOST_FACTS = 300;

/** The level of a record, by OpenTelemetry's number or else by the first letter of the text: "none" without both. */
export function levelOf(number, text = "") {
  const given = Number(number) || { T: 1, D: 5, I: 9, N: 9, W: 13, E: 17, C: 21, F: 21 }[textOf(text)[0]?.toUpperCase()] || 0;
  return given ? LEVELS[Math.min(5, Math.floor((given - 1) / 4))] : "none";
}

/** Live left records out: nobody may take it for all there is. */
export const sayTooMany = () => announce("More records came than live can show: the counts have all of them");

export const isTrace = (id) => /^[0-9a-f]{32}$/i.test(id) && !/^0+$/.test(id);

/**
 * `filter(name, value)` is what narrows the search to that value, or null where nothing can;
 * `near(record)` is the address of what its service logged around then, or null.
 */
export function recordRow(record, { filter, near, fresh = false }) {
  const row = h(
    "details",
    { class: `sev-${record.level}${fresh ? " fresh" : ""}` },
    h(
      "summary",
      {},
      h("time", { title: record.stamp }, clock(record.at)),
      h("span", { class: "level" }, (record.severity || "–").slice(0, 12).toUpperCase()),
      h("span", { class: "service", title: record.service }, record.service || "–"),
      h("span", { class: "body" }, ...bodyOf(record)),
    ),
  );
  row.addEventListener("toggle", () => row.children.length === 1 && row.append(factsOf(record, filter, near)), { once: true });
  return row;
}

function bodyOf({ highlight, body }) {
  if (!highlight?.length) return [body.slice(0, SHOWN) || "(no text)"];
  let left = SHOWN;
  return highlight.map(([text, matched]) => {
    const part = textOf(text).slice(0, left);
    left -= part.length;
    return matched && part ? h("mark", {}, part) : part;
  });
}

function factsOf(record, filter, near) {
  const main = h("dl", {}, ...pair("Time", record.stamp, copyButton(record.stamp, "Copy", { "aria-label": "Copy the time" })));
  if (isTrace(record.trace))
    main.append(
      ...pair(
        "Trace",
        h("a", { href: linkTo(`traces/${record.trace}`, { span: record.span }) }, record.trace),
        copyButton(record.trace, "Copy", { "aria-label": "Copy the trace ID" }),
      ),
    );
  if (record.span) main.append(...pair("Span", record.span, copyButton(record.span, "Copy", { "aria-label": "Copy the span ID" })));
  const around = near(record);
  return h(
    "div",
    { class: "facts" },
    record.body.length > SHOWN && h("div", { class: "body" }, record.body),
    h(
      "div",
      { class: "row" },
      isTrace(record.trace) && h("a", { class: "button", href: linkTo(`traces/${record.trace}`, { span: record.span }) }, "Open the trace"),
      around && h("a", { class: "button", href: around }, "What this service logged around then"),
      copyButton(record.body, "Copy text"),
      copyButton(JSON.stringify(record.raw, null, 2), "Copy as JSON"),
    ),
    main,
    ...record.facts.flatMap(([title, values]) => factList(title, values, filter)),
  );
}

/** Names and values under a title, with buttons to narrow the search to one and to copy it. */
export function factList(title, values, filter = null) {
  const entries = flatten(values);
  if (!entries.length) return [];
  const actions = (name, value) => {
    const narrow = filter?.(name, value);
    return [
      narrow && button("Filter", narrow, { "aria-label": `Filter for ${name} = ${value.slice(0, 80)}` }),
      copyButton(value, "Copy", { "aria-label": `Copy the value of ${name}` }),
    ].filter(Boolean);
  };
  return [h("div", {}, title && h("h2", {}, title), h("dl", {}, ...entries.flatMap(([name, value]) => pair(name, value, ...actions(name, value)))))];
}

function flatten(value, prefix = "", into = [], depth = 0) {
  for (const [name, inner] of Object.entries(value ?? {})) {
    if (into.length >= MOST_FACTS) break;
    if (inner && typeof inner === "object" && !Array.isArray(inner) && depth < 8) flatten(inner, `${prefix}${name}.`, into, depth + 1);
    else into.push([prefix + name, textOf(inner)]);
  }
  return into;
}
