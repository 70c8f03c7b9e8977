// What to ask Prometheus for a metric. Pure.

/** Functions by name: what each shows. */
export const FUNCTIONS = {
  raw: "As it is",
  rate: "Rate per second",
  increase: "Increase in the window",
  sum: "Sum",
  avg: "Average",
  max: "Maximum",
  min: "Minimum",
  mean: "Mean of the histogram",
  p50: "50th percentile",
  p90: "90th percentile",
  p95: "95th percentile",
  p99: "99th percentile",
};
const QUANTILES = { p50: 0.5, p90: 0.9, p95: 0.95, p99: 0.99 };
const BY_TYPE = {
  counter: ["rate", "increase", "raw"],
  gauge: ["raw", "avg", "sum", "max", "min"],
  buckets: ["p95", "p50", "p90", "p99", "mean", "rate"],
  native: ["p95", "p50", "p90", "p99", "mean", "rate"],
};

/** What a metric is, by its metadata where there are any, else by its name: counter, gauge, buckets (a classic histogram). */
export function typeOf(name, metadata = "") {
  if (name.endsWith("_bucket")) return "buckets";
  return metadata === "counter" || /_(total|count|sum)$/.test(name) ? "counter" : "gauge";
}

/** The functions that make sense for a type, the usual one first. */
export const functionsFor = (type) => BY_TYPE[type];

const isPlain = (name) => /^[A-Za-z_:][\w:]*$/.test(name);
const quote = (text) => JSON.stringify(text);
const label = (name) => (/^[A-Za-z_]\w*$/.test(name) ? name : quote(name));

/** `name{label="value", …}`; names that plain PromQL can't write are quoted. `filters`: [[label, value], …]. */
export function selectorOf(name, filters = []) {
  const matchers = filters.map(([key, value]) => `${label(key)}=${quote(value)}`);
  if (!isPlain(name)) return `{${[quote(name), ...matchers].join(", ")}}`;
  return matchers.length ? `${name}{${matchers.join(", ")}}` : name;
}

/** `by`: a label, "*" for all together, "" for each series by itself; `step` in seconds. */
export function expressionFor({ name, filters, type, fn, by, step }) {
  const selector = selectorOf(name, filters),
    window = `${Math.max(120, step * 4)}s`,
    group = by && by !== "*" ? ` by (${label(by)})` : "";
  const together = (how, inner) => (by ? `${how}${group} (${inner})` : inner);
  if (fn in QUANTILES) {
    const keep = type === "buckets" ? ` by (le${by && by !== "*" ? `, ${label(by)}` : ""})` : group;
    return `histogram_quantile(${QUANTILES[fn]}, sum${keep} (rate(${selector}[${window}])))`;
  }
  if (fn === "mean" && type === "native") return `histogram_avg(sum${group} (rate(${selector}[${window}])))`;
  if (fn === "mean") {
    const part = (end) => `sum${group} (rate(${selectorOf(name.replace(/_bucket$/, end), filters)}[${window}]))`;
    return `${part("_sum")} / ${part("_count")}`;
  }
  if (fn === "rate" && type === "buckets") return `sum${group} (rate(${selectorOf(name.replace(/_bucket$/, "_count"), filters)}[${window}]))`;
  if (fn === "rate" && type === "native") return `histogram_count(sum${group} (rate(${selector}[${window}])))`;
  if (fn === "rate") return together("sum", `rate(${selector}[${window}])`);
  if (fn === "increase") return together("sum", `increase(${selector}[${window}])`);
  if (["sum", "avg", "max", "min"].includes(fn)) return `${fn}${group} (${selector})`;
  return together(type === "counter" ? "sum" : "avg", selector);
}

/** "s", "B", "%" or none, by the metric's name and what is made of it. */
export function unitOf(name, fn) {
  const base = name.replace(/_(bucket|sum|total)$/, "");
  if (/_seconds$/.test(base)) return ["rate", "increase"].includes(fn) ? "" : "s";
  if (/_bytes$/.test(base)) return fn === "rate" && name.endsWith("_bucket") ? "" : "B";
  return /_ratio$/.test(base) ? "%" : "";
}

/** Names as short as they can be and still tell the series apart; service_name before other labels. */
export function seriesNames(rows) {
  const all = [...new Set(rows.flatMap((row) => Object.keys(row.metric)))]
    .filter((name) => name !== "tenant_id")
    .sort((a, b) => (b === "service_name") - (a === "service_name"));
  const text = (row, labels) => labels.map((name) => row.metric[name] ?? "").join("\u0000"),
    count = (labels) => new Set(rows.map((row) => text(row, labels))).size;
  const kept = [];
  for (const name of all) if (count([...kept, name]) > Math.max(1, count(kept))) kept.push(name);
  return rows.map((row) => {
    const given = kept.filter((name) => row.metric[name]);
    if (kept.length === 1) return row.metric[kept[0]] || `without ${kept[0]}`;
    return given.map((name) => `${name}=${row.metric[name]}`).join("  ") || row.metric.__name__ || Object.values(row.metric).find((value) => value) || "value";
  });
}

/** Where Prometheus found the mistake: "1:5: parse error: …" → {text, column}, column from 0 or null. */
export function mistakeIn(message) {
  const at = /(\d+):(\d+): (?=parse error)/.exec(message);
  return { text: at ? message.slice(at.index + at[0].length) : message, column: at && at[1] === "1" ? Number(at[2]) - 1 : null };
}
