// Metrics: a metric chosen, filtered and put through the function that suits it, or PromQL by hand; a line chart with exemplars.
import { $, button, h, notice, option } from "./dom.js";
import { RANGES, change, go, place, rangeOf, timeIn, wider, zoom } from "./address.js";
import { ask, trouble } from "./ask.js";
import { MOST_SERIES, drawLines } from "./chart.js";
import { choices, fill, suggest, wire } from "./forms.js";
import { clock, plural, quantity, sentence, timeStep } from "./format.js";
import { keepFresh } from "./live.js";
import { FUNCTIONS, expressionFor, functionsFor, mistakeIn, selectorOf, seriesNames, typeOf, unitOf } from "./promql.js";
import { isTrace } from "./records.js";

const BASE = "/query/prometheus/api/v1",
  STEPS = ["15", "60", "300", "3600"],
  UNITS = ["s", "B", "%", "none"],
  MOST_POINTS = 10_000,
  MOST_MARKS = 60;

let names = new Set();
let types = {};
let built = ""; // the metric that functions and labels are offered for

export async function show({ given, signal }) {
  const time = rangeOf(given),
    byHand = given.get("mode") === "promql",
    wanted = (given.get("m") ?? "").trim(),
    live = given.get("live") === "1" && !time.fixed;
  fill("metrics", given, time);
  [$("metric-live").checked, $("metric-live").disabled] = [live, time.fixed];
  for (const part of document.querySelectorAll("#metrics-form [data-only]")) part.hidden = part.dataset.only !== (byHand ? "promql" : "builder");
  wrong(null);
  const during = duringOf(time);
  let shown = null;
  const failed = (error) => error.name !== "AbortError" && clear(trouble(error, () => change({})));
  try {
    const [list, metadata] = await Promise.all([ask(`${BASE}/label/__name__/values`, during, signal), ask(`${BASE}/metadata`, {}, signal).catch(() => ({}))]);
    names = new Set(list.data);
    types = metadata.data ?? {};
    suggest($("metric-names"), list.data);
    const expression = (given.get("expr") ?? "").trim();
    if (byHand && expression) shown = { expression, unit: "", fn: "" };
    else if (byHand) clear(notice("Write PromQL", "For example:", example(list.data)));
    else if (wanted) shown = await chosen(wanted, given, time, during, signal);
    else {
      fillBuilder({ labels: [], type: "gauge", fn: "raw", by: "", filters: [] });
      clear(names.size ? pickMetric(list.data) : noMetrics(time));
    }
    if (shown) await draw(shown, given, time, signal);
  } catch (error) {
    failed(error);
  }
  // The signal may have ended while this was waiting for an answer.
  if (live && shown && !signal.aborted) keepFresh($("metric-chart"), signal, () => draw(shown, given, rangeOf(given), signal).catch(failed));
}

const duringOf = ({ from, to }) => ({ start: Math.floor(from / 1e3), end: Math.ceil(to / 1e3) });

/** What is drawn of the metric that was chosen; the form offers what suits it. */
async function chosen(name, given, time, during, signal) {
  const filters = filtersIn(given),
    labels = (await ask(`${BASE}/labels`, { ...during, "match[]": selectorOf(name) }, signal)).data.filter(
      (label) => !["__name__", "tenant_id", "le"].includes(label),
    );
  const by = labels.includes(given.get("by")) || given.get("by") === "*" ? given.get("by") : "",
    known = types[name.replace(/_bucket$/, "")]?.[0] ?? {};
  let type = typeOf(name, known.type);
  // A native histogram is told by its values alone.
  if (type === "gauge" && (known.type === "histogram" || (await isNative(name, filters, during, signal)))) type = "native";
  const offered = functionsFor(type),
    fn = offered.includes(given.get("fn")) ? given.get("fn") : offered[0];
  fillBuilder({ labels, type, fn, by, filters });
  built = name;
  $("metric-help").textContent = [known.type === "unknown" ? "" : known.type, known.help].filter(Boolean).join(": ");
  const expression = expressionFor({ name, filters, type, fn, by, step: stepOf(given, time) });
  return { expression, unit: unitOf(name, fn), fn, selector: selectorOf(name, filters), name };
}

async function isNative(name, filters, { end }, signal) {
  const found = await ask(`${BASE}/query`, { query: `count(histogram_count(${selectorOf(name, filters)}))`, time: end }, signal);
  return found.data.result.length > 0;
}

function stepOf(given, { from, to }) {
  const chosen = STEPS.includes(given.get("step")) ? Number(given.get("step")) : 0,
    seconds = (to - from) / 1e3;
  return chosen && seconds / chosen <= MOST_POINTS ? chosen : Math.max(5, timeStep(to - from, 240) / 1e3);
}

async function draw({ expression, unit, fn, selector, name }, given, time, signal) {
  const step = stepOf(given, time),
    during = duringOf(time);
  let found;
  try {
    found = await ask(`${BASE}/query_range`, { ...during, step, query: expression }, signal);
  } catch (error) {
    if (![400, 422].includes(error.status)) throw error;
    clear("");
    return wrong(expression, error.message);
  }
  const rows = (Array.isArray(found.data.result) ? found.data.result : []).filter((row) => row.metric),
    called = seriesNames(rows);
  if (rows.some((row) => row.histograms)) {
    return clear(
      notice(
        "These are histograms",
        "Lines can't show a native histogram as it is: choose a percentile, or write histogram_quantile, histogram_avg or histogram_count around it.",
      ),
    );
  }
  const series = rows.map((row, index) => ({
    name: rows.length > 1 ? called[index] : (name ?? expression),
    points: row.values?.map(([at, value]) => [at * 1e3, Number(value)]) ?? [],
  }));
  if (!series.some((one) => one.points.some(([, value]) => Number.isFinite(value)))) return clear(noValues(name, rows.length > 0, time));
  series.sort((a, b) => (b.points.at(-1)?.[1] || 0) - (a.points.at(-1)?.[1] || 0));
  const shown = UNITS.includes(given.get("unit")) ? given.get("unit").replace("none", "") : unit,
    marks = selector ? await exemplarsOf(selector, during, shown, signal) : [];
  $("metric-notice").replaceChildren();
  $("chart").hidden = false;
  $("metric-query").textContent = expression;
  $("metric-by-hand").hidden = !selector;
  $("metric-count").textContent = [
    series.length > MOST_SERIES ? `${MOST_SERIES} of ${series.length} series: choose a label to group by` : plural(series.length, "series", "series"),
    `a value every ${quantity(step, "s")}`,
    marks.length && `${plural(marks.length, "exemplar")} (◆) lead to traces`,
  ]
    .filter(Boolean)
    .join(" · ");
  drawLines($("metric-chart"), {
    series,
    from: time.from,
    to: time.to,
    step: step * 1e3,
    unit: shown,
    marks,
    label: fn ? `${name}, ${FUNCTIONS[fn].toLowerCase()}` : expression,
    onzoom: zoom,
  });
}

/** Exemplars that have a trace, spread over the time. */
async function exemplarsOf(selector, during, unit, signal) {
  const found = await ask(`${BASE}/query_exemplars`, { ...during, query: selector }, signal).catch((error) => {
    if (error.name === "AbortError") throw error;
    return { data: [] }; // the chart is worth showing without them
  });
  const all = (found.data ?? [])
    .flatMap((one) => one.exemplars ?? [])
    .map(({ labels, value, timestamp }) => ({ at: Number(timestamp) * 1e3, value: Number(value), trace: labels.trace_id ?? labels.traceID ?? "" }));
  const known = all.filter((one) => isTrace(one.trace) && Number.isFinite(one.at)).sort((a, b) => a.at - b.at),
    each = Math.ceil(known.length / MOST_MARKS);
  return known
    .filter((_, index) => index % each === 0)
    .map((one) => ({ ...one, href: `#/traces/${one.trace}`, label: `Trace of ${quantity(one.value, unit)} at ${clock(one.at, false)}` }));
}

// --- what stands in place of the chart ---

function clear(instead) {
  $("chart").hidden = true;
  $("metric-chart").replaceChildren();
  $("metric-notice").replaceChildren(instead);
}

/** Say what is wrong with the expression, and show where. */
function wrong(expression, message = "") {
  const input = $("metric-expr"),
    field = $("metric-error");
  input.removeAttribute("aria-invalid");
  field.replaceChildren();
  if (expression === null) return;
  const { text, column } = mistakeIn(message);
  input.setAttribute("aria-invalid", "true");
  field.append(
    h("p", { class: "error-text" }, sentence(text)),
    column === null || expression.includes("\n")
      ? ""
      : h("pre", { "aria-hidden": "true" }, `${expression}\n${" ".repeat(Math.min(column, expression.length))}^`),
  );
}

function noValues(name, unknown, time) {
  const range = wider(time);
  const why = unknown
    ? "There is data, but nothing that this can be calculated of: a percentile, for one, needs new observations. Choose a longer time, or another function."
    : name && !names.has(name)
      ? "No metric of this name has come from your systems in this time."
      : "The metric or expression has no data here. Choose a longer time, or take away a filter.";
  return notice("No values in this time", why, range && button(`Show the ${RANGES[range][0].toLowerCase()}`, () => change({ range, from: "", to: "" })));
}

function pickMetric(list) {
  const some = list.filter((name) => !/_(created|sum|count)$/.test(name) && name !== "target_info").slice(0, 12);
  return notice(
    "Choose a metric",
    `${plural(list.length, "metric")} came from your systems in this time. Start typing a name above, or take one of these.`,
    h("div", { class: "legend" }, ...some.map((name) => button(h("code", {}, name), () => change({ m: name })))),
  );
}

function noMetrics(time) {
  const range = wider(time);
  return notice(
    "No metrics in this time",
    "Values are here seconds after they were sent.",
    h(
      "div",
      { class: "row" },
      h("a", { class: "button", href: "#/send" }, "How to send your metrics"),
      range && button(`Look at the ${RANGES[range][0].toLowerCase()}`, () => change({ range, from: "", to: "" })),
    ),
  );
}

function example(list) {
  const counter = list.find((name) => typeOf(name) === "counter"),
    expression = counter ? `sum(rate(${selectorOf(counter)}[5m]))` : 'count by (__name__) ({service_name=~".+"})';
  return button(h("code", {}, expression), () => change({ expr: expression }));
}

// --- the form ---

const filtersIn = (given) =>
  given
    .getAll("where")
    .map((one) => [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)])
    .filter(([label]) => label);

function fillBuilder({ labels, type, fn, by, filters }) {
  $("metric-help").textContent = "";
  $("metric-fn").replaceChildren(...functionsFor(type).map((name) => option(name, FUNCTIONS[name])));
  $("metric-fn").value = fn;
  choices($("metric-by"), [["*", "All together"], ...labels.map((label) => [label, label])], by, "Series");
  choices(
    $("metric-label"),
    labels.map((label) => [label, label]),
    "",
    "Choose…",
  );
  choices($("metric-value"), [], "", "Choose…");
  $("metric-filters").replaceChildren(
    ...filters.map(([label, value], index) =>
      h(
        "li",
        {},
        h("code", {}, `${label}="${value}"`),
        button(
          "×",
          () =>
            change({
              where: place()
                .given.getAll("where")
                .filter((_, place) => place !== index),
            }),
          { "aria-label": `Take away the filter ${label}=${value}` },
        ),
      ),
    ),
  );
}

const form = wire("metrics", ({ mode, m, fn, by, expr, value, label, ...rest }) => {
  const { given } = place(),
    same = m === built;
  if (mode === "promql") return { ...rest, mode, expr };
  // Another metric has other functions and labels; its filters may still hold.
  return { ...rest, m, ...(same ? { fn, by } : {}), where: [...given.getAll("where"), ...(label && value ? [`${label}=${value}`] : [])] };
});
for (const id of ["metric-by", "metric-fn", "metric-step", "metric-unit", "metric-live", "metric-mode-builder", "metric-mode-promql"])
  $(id).addEventListener("change", () => form.requestSubmit());
$("metric").addEventListener("change", () => names.has($("metric").value) && form.requestSubmit());
$("metric-label").addEventListener("change", async () => {
  const label = $("metric-label").value,
    { from, to } = rangeOf(place().given);
  const found = label
    ? await ask(`${BASE}/label/${encodeURIComponent(label)}/values`, { "match[]": selectorOf($("metric").value), start: from / 1e3, end: to / 1e3 }).catch(
        () => ({ data: [] }),
      )
    : { data: [] };
  choices(
    $("metric-value"),
    found.data.map((value) => [value, value]),
    "",
    "Choose…",
  );
});
$("metric-value").addEventListener("change", () => $("metric-value").value && form.requestSubmit());
$("metric-by-hand").addEventListener("click", () => go("metrics", { ...timeIn(place().given), mode: "promql", expr: $("metric-query").textContent }));
