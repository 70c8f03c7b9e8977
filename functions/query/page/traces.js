// Traces: search by what is in them, and a list.
import { $, button, h, notice } from "./dom.js";
import { RANGES, change, go, linkTo, rangeOf, timeIn, wider } from "./address.js";
import { ask, trouble } from "./ask.js";
import { fill, suggest, wire } from "./forms.js";
import { clock, duration, plural, quoted, textOf } from "./format.js";

const BASE = "/query/tempo/api",
  MOST = 50;

export async function show({ given, signal }) {
  const time = rangeOf(given);
  fill("traces", given, time);
  for (const [tag, list] of [
    ["service.name", "service-names"],
    ["name", "operation-names"],
  ]) {
    ask(`${BASE}/search/tag/${tag}/values`, {}, signal).then(
      (found) => suggest($(list), (found.tagValues ?? []).map(textOf)),
      () => {},
    ); // without it the field is as good as before
  }
  const during = { start: Math.floor(time.from / 1e3), end: Math.ceil(time.to / 1e3) };
  try {
    const found = await ask(
      `${BASE}/search`,
      { tags: tagsOf(given), minDuration: given.get("min"), maxDuration: given.get("max"), limit: MOST, ...during },
      signal,
    );
    const list = (found.traces ?? [])
      .filter((trace) => /^[0-9a-f]{1,32}$/i.test(trace.traceID))
      .map((trace) => ({ ...trace, at: Number(trace.startTimeUnixNano ?? 0) / 1e6, ms: Number(trace.durationMs) || 0 }));
    list.sort((a, b) => b.at - a.at);
    const longest = list.reduce((most, trace) => Math.max(most, trace.ms), 1);
    $("trace-list").replaceChildren(...list.map((trace) => traceRow(trace, longest, given)));
    $("trace-notice").replaceChildren(
      list.length
        ? h("p", { class: "count muted" }, `${plural(list.length, "trace")}, newest first${list.length === MOST ? ` (the search stops at ${MOST})` : ""}`)
        : nothing(given, time),
    );
  } catch (error) {
    if (error.name === "AbortError") return;
    $("trace-list").replaceChildren();
    $("trace-notice").replaceChildren(trouble(error, () => change({})));
  }
}

/** The form's conditions as logfmt, all of which must hold. */
function tagsOf(given) {
  const service = given.get("service"),
    operation = given.get("op");
  return [service && `service.name=${quoted(service)}`, operation && `name=${quoted(operation)}`, given.get("error") && "error=true", given.get("tags")]
    .filter(Boolean)
    .join(" ");
}

function traceRow(trace, longest, given) {
  const errors = Object.values(trace.serviceStats ?? {}).reduce((sum, one) => sum + (Number(one.errorCount) || 0), 0);
  return h(
    "a",
    { href: linkTo(`traces/${trace.traceID}`, timeIn(given)) },
    h("time", {}, clock(trace.at)),
    h(
      "span",
      { class: "name" },
      h("b", {}, textOf(trace.rootServiceName) || "(root not received)"),
      " ",
      h("span", { class: "muted" }, textOf(trace.rootTraceName)),
      errors > 0 && h("b", { class: "bad-mark" }, ` ${plural(errors, "error")}`),
    ),
    h(
      "span",
      { class: "meter" },
      h("i", { vars: { "--w": `${Math.max(1, (trace.ms / longest) * 100)}%` } }),
      h("span", {}, trace.ms ? duration(trace.ms * 1e6) : "< 1 ms"),
    ),
  );
}

function nothing(given, time) {
  const range = wider(time),
    widen = range && button(`Search the ${RANGES[range][0].toLowerCase()}`, () => change({ range, from: "", to: "" }));
  if (["service", "op", "min", "max", "error", "tags"].some((name) => given.get(name))) {
    return notice(
      "No trace matches",
      "All conditions must hold. Take one away, or choose a longer time.",
      h(
        "div",
        { class: "row" },
        button("Take away all conditions", () => go("traces", timeIn(given))),
        widen,
      ),
    );
  }
  return notice(
    "No traces in this time",
    "Traces are here seconds after they were sent.",
    h("div", { class: "row" }, h("a", { class: "button", href: "#/send" }, "How to send your traces"), widen),
  );
}

const form = wire("traces", ({ id, ...rest }) => {
  const wanted = id.replace(/-/g, "").trim();
  if (!/^[0-9a-f]{1,32}$/i.test(wanted)) return rest;
  go(`traces/${wanted.toLowerCase()}`);
  return null;
});
$("trace-error").addEventListener("change", () => form.requestSubmit());
