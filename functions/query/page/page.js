// Obstack's first page: logs, metrics, traces of the tenant that is logged in. No framework; the address after # is the whole state, so a link shows the same.
// Everything that comes from the backends is hostile text: it only ever becomes a text node or a checked number, never HTML, an address or a style.

const RANGES = { "15m": ["Last 15 minutes", 900], "1h": ["Last hour", 3600], "6h": ["Last 6 hours", 21600], "24h": ["Last 24 hours", 86400], "7d": ["Last 7 days", 604800] };
const DEFAULT_RANGE = "1h";
const COLOURS = ["#4c7ee8", "#e0803a", "#2fa36b", "#c9529a", "#8a63d2", "#1fa2b8", "#b9982a", "#d9483f", "#6f8296", "#7a9a3c", "#a3623c", "#5566c9"];
const MOST_SERIES = 24, MOST_SPANS = 3000, LIVE_MS = 5000, BARS = 60;

// --- building blocks -------------------------------------------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

/** An element with properties, dataset-free attributes and children; strings become text nodes. */
function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "vars") for (const [key, given] of Object.entries(value)) element.style.setProperty(key, given);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

class Trouble extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** JSON from our own origin. A 401 ends in the log-in form. */
async function ask(path, parameters = {}, options = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value != null)).toString();
  let response;
  try {
    response = await fetch(query ? `${path}?${query}` : path, { headers: { accept: "application/json" }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("Obstack can't be reached. Check your connection, then try again.", 0);
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const text = await response.text();
  let message = text.slice(0, 400);
  try {
    message = JSON.parse(text).error || message;
  } catch { /* a backend's plain text */ }
  if (response.status === 401 && !path.endsWith("/login")) showLogin(path.endsWith("/me") ? "" : "Your session has ended. Log in again to go on.");
  throw new Trouble(message || `The answer was ${response.status}.`, response.status);
}

const REMEDIES = {
  0: "",
  400: "Check what you wrote and try again.",
  403: "Ask whoever runs your Obstack account.",
  404: "Check the ID. Recent data takes a few seconds to arrive, and old data is deleted after its retention.",
  422: "Check the expression, or choose a shorter time range.",
  429: "Wait a moment, then try again.",
  503: "What you send in the meantime is kept and will be here. Try again in a minute.",
  504: "Choose a shorter time range or a narrower search.",
};

function notice(title, text, ...more) {
  return h("div", { class: "notice" }, h("h2", {}, title), h("p", {}, text), ...more);
}

function trouble(error, retry) {
  const remedy = REMEDIES[error.status] ?? "Try again in a minute.";
  const title = error.status === 400 || error.status === 422 ? "That can't be read" : error.status === 404 ? "Not found" : "That didn't work";
  return h("div", { class: "notice bad", role: "alert" }, h("h2", {}, title), h("p", {}, sentence(error.message)), remedy && h("p", {}, remedy),
    retry && h("button", { type: "button", onclick: retry }, "Try again"));
}

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1).replace(/[.\s]*$/, "") + "." : "");
const two = (number) => String(number).padStart(2, "0");
const plural = (number, one, many) => `${number.toLocaleString()} ${number === 1 ? one : many}`;

function clock(milliseconds, precise = true) {
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return "–";
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}${precise ? "." + String(date.getMilliseconds()).padStart(3, "0") : ""}`;
}

function axisTime(milliseconds, span) {
  const date = new Date(milliseconds);
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (span > 2 * 86400e3) return `${date.toLocaleDateString(undefined, { month: "short", day: "numeric" })} ${time}`;
  return span < 600e3 ? `${time}:${two(date.getSeconds())}` : time;
}

function duration(nanoseconds) {
  if (nanoseconds === 0) return "0";
  if (nanoseconds < 1e3) return `${nanoseconds} ns`;
  if (nanoseconds < 1e6) return `${short(nanoseconds / 1e3)} µs`;
  if (nanoseconds < 1e9) return `${short(nanoseconds / 1e6)} ms`;
  return nanoseconds < 60e9 ? `${short(nanoseconds / 1e9)} s` : `${Math.floor(nanoseconds / 60e9)} min ${Math.round((nanoseconds % 60e9) / 1e9)} s`;
}

const short = (number) => (number >= 100 ? Math.round(number) : Number(number.toPrecision(3))).toString();

function quantity(value, unit) {
  if (!Number.isFinite(value)) return String(value);
  if (unit === "s" && value !== 0 && Math.abs(value) < 1) return duration(Math.abs(value) * 1e9).replace(/^/, value < 0 ? "-" : "");
  const [base, names] = unit === "B" ? [1024, ["", "Ki", "Mi", "Gi", "Ti"]] : [1000, ["", "k", "M", "G", "T"]];
  let scaled = Math.abs(value), step = 0;
  while (scaled >= base && step < names.length - 1) [scaled, step] = [scaled / base, step + 1];
  const text = scaled === 0 ? "0" : scaled < 0.001 ? scaled.toExponential(1) : short(scaled);
  return `${value < 0 ? "-" : ""}${text}${names[step] || unit ? " " : ""}${names[step]}${unit}`;
}

function niceStep(span, count) {
  const rough = span / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= rough * 0.999);
}

function timeStep(span, count) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800].map((seconds) => seconds * 1e3);
  return steps.find((step) => span / step <= count) ?? steps.at(-1);
}

// --- state: the address after # --------------------------------------------------------------------------------------------------------------------------

function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view = "", id = ""] = path.split("/");
  return { view: ["logs", "metrics", "traces"].includes(view) ? view : "logs", id: /^[0-9a-f]{1,32}$/i.test(id) ? id.toLowerCase().padStart(32, "0") : "", given: new URLSearchParams(query) };
}

function go(view, given, replace = false) {
  const query = new URLSearchParams(Object.entries(given).filter(([, value]) => value !== "" && value != null)).toString();
  const hash = `#/${view}${query ? "?" + query : ""}`;
  if (hash === location.hash) return render();
  if (replace) history.replaceState(null, "", hash);
  else location.hash = hash;
  return replace ? render() : undefined;
}

function rangeOf(given) {
  const now = Date.now(), range = given.get("range");
  if (range === "custom") {
    const from = Number(given.get("from")), to = Number(given.get("to")) || now;
    if (from > 0 && to > from) return { range, from, to, fixed: true };
  }
  const known = Object.hasOwn(RANGES, range) ? range : DEFAULT_RANGE;
  return { range: known, from: now - RANGES[known][1] * 1e3, to: now, fixed: false };
}

let asked = 0;
let timer = 0;

/** Show the place that the address names; an answer that comes after the next question is thrown away. */
async function render() {
  const { view, id, given } = place(), mine = ++asked;
  clearTimeout(timer);
  const open = id ? "trace" : view;
  for (const section of document.querySelectorAll("#main > section")) section.hidden = section.id !== open;
  for (const link of document.querySelectorAll("nav a")) link.dataset.view === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  document.title = `${id ? "Trace " + id.slice(0, 8) : view[0].toUpperCase() + view.slice(1)} · Obstack`;
  const show = { logs: showLogs, metrics: showMetrics, traces: showTraces, trace: showTrace }[open];
  $("main").classList.add("loading");
  try {
    await show(given, () => mine === asked, id);
  } finally {
    if (mine === asked) $("main").classList.remove("loading");
  }
}

// --- log in, log out -------------------------------------------------------------------------------------------------------------------------------------

function showLogin(message = "") {
  asked++;
  clearTimeout(timer);
  $("app").hidden = true;
  $("login").hidden = false;
  $("login-error").textContent = message;
  document.title = "Log in · Obstack";
  $("email").focus();
}

function showApp(user) {
  $("tenant").textContent = user.tenant.name;
  $("tenant").title = `Tenant ${user.tenant.id}`;
  $("who-email").textContent = user.email;
  $("login").hidden = true;
  $("app").hidden = false;
  render();
}

const json = (body) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  $("login-error").textContent = "";
  try {
    const user = await ask("/query/api/login", {}, json({ email: $("email").value, password: $("password").value }));
    $("password").value = "";
    showApp(user);
  } catch (error) {
    $("login-error").textContent = sentence(error.message);
    $("password").focus();
  } finally {
    button.disabled = false;
  }
});

$("logout").addEventListener("click", async () => {
  await ask("/query/api/logout", {}, json({})).catch(() => {});
  for (const id of ["log-list", "timeline", "trace-list", "one-trace", "plot", "legend", "metric-names", "service-names", "tenant", "who-email"]) $(id).replaceChildren();
  showLogin();
});

// --- logs ------------------------------------------------------------------------------------------------------------------------------------------------

let older = null;
const seen = new Set();

async function showLogs(given, current) {
  const time = rangeOf(given), q = given.get("q") ?? "";
  fillForm("logs", given, time);
  const asking = { q, from: Math.round(time.from), to: time.fixed ? Math.round(time.to) : "" };
  try {
    const found = await ask("/query/api/logs/search", { ...asking, size: 100, timeline: BARS });
    if (!current()) return;
    seen.clear();
    older = found.next && { ...asking, to: asking.to || Math.round(time.to) + 600e3, cursor: found.next };
    $("log-list").replaceChildren(...found.hits.map((hit) => logRow(hit)));
    $("timeline").replaceChildren(...(found.total ? [timeline(found.timeline ?? [], time, q)] : []));
    $("log-count").textContent = found.total ? `${found.total_exact ? "" : "More than "}${plural(found.total, "record", "records")}, newest first` : "";
    $("log-notice").replaceChildren(...(found.total ? [] : [emptyLogs(q, time)]));
  } catch (error) {
    if (!current() || error.status === 401) return;
    older = null;
    $("log-list").replaceChildren();
    $("timeline").replaceChildren();
    $("log-count").textContent = "";
    $("log-notice").replaceChildren(trouble(error, render));
  }
  $("log-more").hidden = !older;
  if ($("live").checked && !time.fixed) timer = setTimeout(() => live(q, time, current), LIVE_MS);
}

function emptyLogs(q, time) {
  const wider = Object.keys(RANGES)[Object.keys(RANGES).indexOf(time.range) + 1];
  const widen = wider && h("button", { type: "button", onclick: () => go("logs", { q, range: wider }) }, `Search the ${RANGES[wider][0].toLowerCase()}`);
  if (q) return notice("No log record matches", "All words must be in a record. Try fewer words, put | between alternatives, or a * at the end of a word.", widen);
  return notice("No logs in this time", "Point an OpenTelemetry SDK or Collector at this address, with your token in the header x-obstack-auth-token. Records are here seconds after they were sent.",
    h("p", {}, h("code", {}, `${location.origin}/ingest/otlp`)), widen);
}

/** Ask again while someone is looking, and put on top what is new. */
async function live(q, time, current) {
  if (!current()) return;
  if (document.visibilityState === "visible") {
    try {
      const from = Date.now() - (time.to - time.from);
      const found = await ask("/query/api/logs/search", { q, from: Math.round(from), size: 100, timeline: BARS });
      if (!current()) return;
      const fresh = found.hits.filter((hit) => !seen.has(keyOf(hit))).map((hit) => logRow(hit, true));
      const list = $("log-list");
      list.prepend(...fresh);
      while (list.children.length > 1000) list.lastChild.remove();
      if (found.total) {
        $("timeline").replaceChildren(timeline(found.timeline ?? [], { ...time, from, to: Date.now() }, q));
        $("log-notice").replaceChildren();
        $("log-count").textContent = `${found.total_exact ? "" : "More than "}${plural(found.total, "record", "records")}, newest first`;
      }
    } catch (error) {
      if (!current() || error.status === 401) return;
      $("log-notice").replaceChildren(trouble(error, render));
    }
  }
  timer = setTimeout(() => live(q, time, current), LIVE_MS);
}

$("log-more").addEventListener("click", async (event) => {
  const { to, ...asking } = older, mine = asked;
  event.target.disabled = true;
  try {
    const found = await ask("/query/api/logs/search", { ...asking, to, size: 100 });
    if (mine !== asked) return;
    const rows = found.hits.map((hit) => logRow(hit));
    $("log-list").append(...rows);
    rows[0]?.querySelector("summary").focus();
    older = found.next && { ...asking, to, cursor: found.next };
    $("log-more").hidden = !older;
  } catch (error) {
    if (mine === asked && error.status !== 401) $("log-notice").replaceChildren(trouble(error));
  } finally {
    event.target.disabled = false;
  }
});

const keyOf = (hit) => [hit.timestamp, hit.service, hit.span_id, hit.body].join("\n");
const textOf = (value) => (typeof value === "string" ? value : value == null ? "" : JSON.stringify(value));

function levelOf(hit) {
  const number = hit.severity_number || { T: 1, D: 5, I: 9, N: 9, W: 13, E: 17, C: 21, F: 21 }[textOf(hit.severity)[0]?.toUpperCase()] || 0;
  return number ? ["trace", "debug", "info", "warn", "error", "fatal"][Math.min(5, Math.floor((number - 1) / 4))] : "none";
}

function logRow(hit, fresh = false) {
  seen.add(keyOf(hit));
  const level = levelOf(hit), row = h("details", { class: `sev-${level}${fresh ? " fresh" : ""}` });
  const when = Date.parse(textOf(hit.timestamp).replace(/(\.\d{3})\d+/, "$1"));
  row.append(h("summary", {},
    h("time", { title: textOf(hit.timestamp) }, clock(when)),
    h("span", { class: "level" }, (textOf(hit.severity) || "–").slice(0, 12).toUpperCase()),
    h("span", { class: "service", title: textOf(hit.service) }, textOf(hit.service) || "–"),
    h("span", { class: "body" }, textOf(hit.body).slice(0, 4000) || "(no text)")));
  row.addEventListener("toggle", () => row.children.length === 1 && row.append(logFacts(hit, when)), { once: true });
  return row;
}

function logFacts(hit, when) {
  const facts = h("div", { class: "facts" });
  const body = textOf(hit.body);
  if (body.length > 4000) facts.append(h("div", { class: "body" }, body));
  const main = h("dl", {}, ...pair("Time", textOf(hit.timestamp)));
  if (/^[0-9a-f]{32}$/i.test(hit.trace_id)) main.append(...pair("Trace", h("a", { href: `#/traces/${hit.trace_id}` }, hit.trace_id)));
  if (hit.span_id) main.append(...pair("Span", textOf(hit.span_id)));
  facts.append(main, ...factList("Attributes", hit.attributes), ...factList("Resource", hit.resource));
  const near = { q: `"${textOf(hit.service).replace(/["\\]/g, "\\$&")}"`, range: "custom", from: when - 60e3, to: when + 60e3 };
  if (hit.service && when) facts.append(h("div", {}, h("button", { type: "button", onclick: () => go("logs", near) }, "What this service logged around then")));
  return facts;
}

const pair = (name, value) => [h("dt", {}, name), h("dd", {}, value)];

function factList(title, values) {
  const entries = flatten(values);
  return entries.length ? [h("div", {}, h("h3", {}, title), h("dl", {}, ...entries.flatMap(([name, value]) => pair(name, value))))] : [];
}

function flatten(value, prefix = "", into = [], depth = 0) {
  for (const [name, inner] of Object.entries(value ?? {})) {
    if (into.length > 300) break;
    if (inner && typeof inner === "object" && !Array.isArray(inner) && depth < 8) flatten(inner, `${prefix}${name}.`, into, depth + 1);
    else into.push([prefix + name, textOf(inner)]);
  }
  return into;
}

/** Records over time, errors and warnings in their colours; a bar is a link to its time. */
function timeline(bars, time, q) {
  const width = Math.max(280, $("timeline").clientWidth), height = 84, low = height - 18, most = Math.max(1, ...bars.map((bar) => bar[1]));
  const span = time.to - time.from || 1, step = Math.max(1, Math.ceil(span / BARS));
  const x = (at) => Math.min(width, Math.max(0, ((at - time.from) / span) * width));
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Records over time" });
  drawing.append(svg("line", { x1: 0, x2: width, y1: low + 0.5, y2: low + 0.5 }));
  for (const [at, total, warnings, errors] of bars) {
    const left = x(at), wide = Math.max(1.5, x(at + step) - left - 1.5);
    let top = low;
    for (const [count, kind] of [[errors, "error"], [warnings, "warn"], [total - errors - warnings, ""]]) {
      const tall = (count / most) * (low - 4);
      if (count > 0) drawing.append(svg("rect", { x: left, y: (top -= Math.max(tall, 1)), width: wide, height: Math.max(tall, 1), class: kind || null, rx: 1 }));
    }
    const text = `${clock(at, false)}: ${plural(total, "record", "records")}${errors ? `, ${plural(errors, "error", "errors")}` : ""}${warnings ? `, ${plural(warnings, "warning", "warnings")}` : ""}`;
    if (!total) continue;
    const hit = svg("rect", { x: left, y: 0, width: wide + 1.5, height: low, class: "hit", tabindex: 0, role: "link", "aria-label": text }, svg("title", {}, text));
    const open = () => go("logs", { q, range: "custom", from: Math.round(at), to: Math.round(at + step) });
    hit.addEventListener("click", open);
    hit.addEventListener("keydown", (event) => event.key === "Enter" && open());
    drawing.append(hit);
  }
  timeTicks(drawing, time.from, time.to, x, width, height - 4);
  return drawing;
}

function timeTicks(drawing, from, to, x, width, y) {
  const step = timeStep(to - from, Math.max(2, width / 110)), zone = new Date(from).getTimezoneOffset() * 60e3;
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) {
    const left = x(at);
    drawing.append(svg("text", { x: left, y, "text-anchor": left < 30 ? "start" : left > width - 34 ? "end" : "middle" }, axisTime(at, to - from)));
  }
}

// --- metrics ---------------------------------------------------------------------------------------------------------------------------------------------

let names = new Set();
let drawn = null;

async function showMetrics(given, current) {
  const time = rangeOf(given), wanted = (given.get("m") ?? "").trim(), by = given.get("by") ?? "";
  fillForm("metrics", given, time);
  const during = { start: Math.floor(time.from / 1e3), end: Math.ceil(time.to / 1e3) };
  try {
    const list = await ask("/query/prometheus/api/v1/label/__name__/values", during);
    if (!current()) return;
    names = new Set(list.data);
    $("metric-names").replaceChildren(...list.data.slice(0, 3000).map((name) => h("option", { value: name })));
    if (!wanted) return clearChart(names.size ? pickMetric(list.data) : noMetrics(time));
    await showMetric(wanted, by, time, during, current);
  } catch (error) {
    if (current() && error.status !== 401) clearChart(trouble(error, render));
  }
}

async function showMetric(wanted, by, time, during, current) {
  const isName = names.has(wanted) || /^[A-Za-z_:][\w:]*$/.test(wanted);
  const selector = /^[A-Za-z_:][\w:]*$/.test(wanted) ? wanted : `{${JSON.stringify(wanted)}}`;
  const labels = isName ? await ask("/query/prometheus/api/v1/labels", { ...during, "match[]": selector }) : { data: [] };
  if (!current()) return;
  const choices = labels.data.filter((label) => !["__name__", "tenant_id", "le"].includes(label));
  fillBy(choices, by, isName);
  const step = Math.max(5, Math.ceil((during.end - during.start) / 240));
  const expression = isName ? expressionFor(wanted, selector, choices.includes(by) || by === "*" ? by : "", step) : wanted;
  const found = await ask("/query/prometheus/api/v1/query_range", { ...during, step, query: expression });
  if (!current()) return;
  $("metric-query").textContent = expression;
  const rows = (Array.isArray(found.data.result) ? found.data.result : []).filter((row) => row.metric), called = seriesNames(rows);
  const series = rows.map((row, index) => ({ name: called[index], points: row.values?.map(([at, value]) => [at * 1e3, Number(value)]) ?? [] }));
  if (!series.some((one) => one.points.some(([, value]) => Number.isFinite(value)))) {
    return clearChart(notice("No values in this time", "The metric or expression has no data here. Choose a longer time, or another metric.",
      isName && !names.has(wanted) && h("p", {}, "No metric of this name has come from your systems in this time.")));
  }
  $("metric-notice").replaceChildren();
  $("chart").hidden = false;
  series.sort((a, b) => (b.points.at(-1)?.[1] || 0) - (a.points.at(-1)?.[1] || 0));
  $("metric-count").textContent = series.length > MOST_SERIES ? `${MOST_SERIES} of ${series.length} series: choose a label to group by` : plural(series.length, "series", "series");
  const shown = series.slice(0, MOST_SERIES).map((one, index) => ({ ...one, colour: COLOURS[index % COLOURS.length], on: true }));
  drawn = { series: shown, from: time.from, to: time.to, step: step * 1e3, unit: unitOf(wanted, expression) };
  drawLegend();
  drawChart();
}

/** A counter is shown as its rate, a histogram's buckets as their 95th percentile, anything else as it is. */
function expressionFor(name, selector, by, step) {
  const window = `${Math.max(120, step * 4)}s`, group = by && by !== "*" ? `by (${by}) ` : "";
  if (name.endsWith("_bucket")) return `histogram_quantile(0.95, sum by (le${by && by !== "*" ? `, ${by}` : ""}) (rate(${selector}[${window}])))`;
  if (/_(total|count|sum)$/.test(name)) return by ? `sum ${group}(rate(${selector}[${window}]))` : `rate(${selector}[${window}])`;
  return by ? `avg ${group}(${selector})` : selector;
}

function unitOf(wanted, expression) {
  if (/_seconds(_bucket|_sum)?$/.test(wanted)) return expression.startsWith("histogram_quantile") || wanted.endsWith("_seconds") ? "s" : "";
  return /_bytes(_total|_sum|_bucket)?$/.test(wanted) ? "B" : "";
}

/** Names as short as they can be and still tell the series apart; service_name before other labels. */
function seriesNames(rows) {
  const all = [...new Set(rows.flatMap((row) => Object.keys(row.metric)))].filter((label) => label !== "tenant_id").sort((a, b) => (b === "service_name") - (a === "service_name"));
  const text = (row, labels) => labels.map((label) => row.metric[label] ?? "").join("\u0000"), count = (labels) => new Set(rows.map((row) => text(row, labels))).size;
  const kept = [];
  for (const label of all) if (count([...kept, label]) > Math.max(1, count(kept))) kept.push(label);
  return rows.map((row) => {
    const given = kept.filter((label) => row.metric[label]);
    if (kept.length === 1) return row.metric[kept[0]] || `without ${kept[0]}`;
    return given.map((label) => `${label}=${row.metric[label]}`).join("  ") || row.metric.__name__ || Object.values(row.metric).find((value) => value) || "value";
  });
}

function fillBy(labels, by, isName) {
  const chosen = labels.includes(by) || by === "*" ? by : "";
  $("metric-by").replaceChildren(h("option", { value: "" }, "Series"), h("option", { value: "*" }, "All together"), ...labels.map((label) => h("option", { value: label }, label)));
  $("metric-by").value = chosen;
  $("metric-by").disabled = !isName;
}

function clearChart(instead) {
  drawn = null;
  $("chart").hidden = true;
  $("metric-notice").replaceChildren(instead);
  if (!$("metric-by").options.length) fillBy([], "", true);
}

function pickMetric(list) {
  const some = list.filter((name) => !/_(created|bucket)$/.test(name) && name !== "target_info").slice(0, 8);
  const buttons = some.map((name) => h("button", { type: "button", onclick: () => go("metrics", { m: name, range: $("metric-range").value }) }, h("code", {}, name)));
  return notice("Choose a metric", `${plural(list.length, "metric has", "metrics have")} come from your systems. Start typing a name above, or take one of these.`, h("div", { class: "legend" }, ...buttons));
}

function noMetrics() {
  return notice("No metrics in this time", "Point an OpenTelemetry SDK or a Prometheus with remote_write at this address, with your token. Values are here seconds after they were sent.",
    h("p", {}, h("code", {}, `${location.origin}/ingest/otlp`)), h("p", {}, h("code", {}, `${location.origin}/ingest/prometheus/v1/write`)));
}

function drawLegend() {
  $("legend").replaceChildren(...drawn.series.map((one) => {
    const last = one.points.findLast(([, value]) => Number.isFinite(value))?.[1];
    const button = h("button", { type: "button", "aria-pressed": "true" }, h("i", { class: "dot", vars: { "--c": one.colour } }), h("span", {}, one.name), h("b", {}, quantity(last ?? NaN, drawn.unit)));
    button.addEventListener("click", () => {
      one.on = !one.on;
      button.setAttribute("aria-pressed", String(one.on));
      drawChart();
    });
    return h("li", {}, button);
  }));
}

function drawChart() {
  if (!drawn) return;
  const plot = $("plot"), width = plot.clientWidth, height = plot.clientHeight;
  if (!width) return;
  const { from, to, unit } = drawn, on = drawn.series.filter((one) => one.on);
  const values = on.flatMap((one) => one.points.map(([, value]) => value)).filter(Number.isFinite);
  let low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!values.length) [low, high] = [0, 1];
  if (low > 0 && low < high * 0.6) low = 0;
  if (low === high) [low, high] = low === 0 ? [0, 1] : [Math.min(0, low), Math.max(0, high) * 1.1];
  const scale = unit === "B" ? 1024 ** Math.max(0, Math.floor(Math.log(high - low) / Math.log(1024))) : 1;
  const step = niceStep((high - low) / scale, height / 64) * scale, bottom = Math.floor(low / step) * step, top = Math.ceil((high - step * 1e-6) / step) * step;
  const ticks = Array.from({ length: Math.round((top - bottom) / step) + 1 }, (_, index) => bottom + index * step);
  const left = 12 + Math.max(...ticks.map((tick) => quantity(Number(tick.toPrecision(12)), unit).length)) * 6.6, right = 10, base = height - 24;
  const x = (at) => left + ((at - from) / (to - from)) * (width - left - right), y = (value) => base - ((value - bottom) / (top - bottom || 1)) * (base - 10);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": `Line chart of ${plural(on.length, "series", "series")}, ${quantity(low, unit)} to ${quantity(high, unit)}. Arrow keys read values.` });
  for (const tick of ticks) {
    drawing.append(svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick) }), svg("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, quantity(Number(tick.toPrecision(12)), unit)));
  }
  timeTicks(drawing, from, to, x, width, height - 5);
  for (const one of on) drawing.append(svg("path", { d: pathOf(one.points, x, y, drawn.step), stroke: one.colour }));
  plot.replaceChildren(drawing);
  hover(plot, drawing, on, x, y, { left, right: width - right, base, width });
}

/** Lines break where values are missing; a lonely value is a short dash. */
function pathOf(points, x, y, step) {
  let path = "", before = null;
  points.forEach(([at, value], index) => {
    if (!Number.isFinite(value)) return (before = null);
    const joined = before !== null && at - before <= step * 1.5, next = points[index + 1];
    path += `${joined ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    if (!joined && !(next && next[0] - at <= step * 1.5)) path += "h3";
    before = at;
  });
  return path;
}

function hover(plot, drawing, series, x, y, box) {
  const times = [...new Set(series.flatMap((one) => one.points.map(([at]) => at)))].sort((a, b) => a - b);
  if (!times.length) return;
  const line = svg("line", { class: "cross", y1: 6, y2: box.base }), tip = h("div", { class: "tip", role: "status" });
  let index = -1;
  const show = (next) => {
    index = Math.min(times.length - 1, Math.max(0, next));
    const at = times[index], left = x(at);
    line.setAttribute("x1", left);
    line.setAttribute("x2", left);
    if (!line.isConnected) drawing.append(line);
    const rows = series.map((one) => [one, one.points.find(([when]) => when === at)?.[1]]).filter(([, value]) => Number.isFinite(value)).sort((a, b) => b[1] - a[1]);
    tip.replaceChildren(h("span", { class: "muted" }, clock(at, false)), ...rows.slice(0, 10).map(([one, value]) => h("div", {}, h("i", { class: "dot", vars: { "--c": one.colour } }), h("span", {}, one.name), h("b", {}, quantity(value, drawn.unit)))),
      rows.length > 10 && h("span", { class: "muted" }, `and ${rows.length - 10} more`) || "");
    if (!tip.isConnected) plot.append(tip);
    tip.style.left = left < box.width / 2 ? `${left + 14}px` : "auto";
    tip.style.right = left < box.width / 2 ? "auto" : `${box.width - left + 14}px`;
  };
  const hide = () => (line.remove(), tip.remove());
  drawing.addEventListener("pointermove", (event) => {
    const at = event.clientX - drawing.getBoundingClientRect().left;
    show(times.reduce((best, time, place) => (Math.abs(x(time) - at) < Math.abs(x(times[best]) - at) ? place : best), 0));
  });
  drawing.addEventListener("pointerleave", hide);
  drawing.addEventListener("blur", hide);
  drawing.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") hide();
    if (move === undefined) return;
    event.preventDefault();
    show(index < 0 ? times.length - 1 : Number.isFinite(move) ? index + move : move < 0 ? 0 : times.length - 1);
  });
}

// --- traces ----------------------------------------------------------------------------------------------------------------------------------------------

async function showTraces(given, current) {
  const time = rangeOf(given), service = (given.get("service") ?? "").trim();
  fillForm("traces", given, time);
  const tags = service && `service.name="${service.replace(/["\\]/g, "\\$&")}"`;
  ask("/query/tempo/api/search/tag/service.name/values").then((found) => current() && $("service-names").replaceChildren(...(found.tagValues ?? []).slice(0, 500).map((value) => h("option", { value: textOf(value) }))), () => {});
  try {
    const found = await ask("/query/tempo/api/search", { tags, minDuration: given.get("min"), limit: 50, start: Math.floor(time.from / 1e3), end: Math.ceil(time.to / 1e3) });
    if (!current()) return;
    const list = (found.traces ?? []).filter((trace) => /^[0-9a-f]{1,32}$/i.test(trace.traceID)).map((trace) => ({ ...trace, at: Number(trace.startTimeUnixNano ?? 0) / 1e6, ms: trace.durationMs ?? 0 }));
    list.sort((a, b) => b.at - a.at);
    const longest = Math.max(1, ...list.map((trace) => trace.ms));
    $("trace-list").replaceChildren(...list.map((trace) => traceRow(trace, longest)));
    $("trace-notice").replaceChildren(...(list.length ? [h("p", { class: "count muted" }, `${plural(list.length, "trace", "traces")}, newest first${list.length === 50 ? " (the search stops at 50)" : ""}`)] : [emptyTraces(service || given.get("min"))]));
  } catch (error) {
    if (!current() || error.status === 401) return;
    $("trace-list").replaceChildren();
    $("trace-notice").replaceChildren(trouble(error, render));
  }
}

function emptyTraces(narrowed) {
  if (narrowed) return notice("No trace matches", "Take away the service or the duration, or choose a longer time.");
  return notice("No traces in this time", "Point an OpenTelemetry SDK or Collector at this address, with your token in the header x-obstack-auth-token.", h("p", {}, h("code", {}, `${location.origin}/ingest/otlp`)));
}

function traceRow(trace, longest) {
  return h("a", { href: `#/traces/${trace.traceID}` }, h("time", {}, clock(trace.at)),
    h("span", { class: "name" }, h("b", {}, textOf(trace.rootServiceName) || "(root not received)"), " ", h("span", { class: "muted" }, textOf(trace.rootTraceName))),
    h("span", { class: "meter" }, h("i", { vars: { "--w": `${Math.max(1, (trace.ms / longest) * 100)}%` } }), h("span", {}, trace.ms ? duration(trace.ms * 1e6) : "< 1 ms")));
}

async function showTrace(_, current, id) {
  try {
    const found = await ask(`/query/tempo/api/traces/${id}`);
    if (current()) $("one-trace").replaceChildren(...waterfall(id, spansOf(found)));
  } catch (error) {
    if (!current() || error.status === 401) return;
    const missing = error.status === 404;
    $("one-trace").replaceChildren(h("p", { class: "count" }, h("a", { href: "#/traces" }, "← Traces")), trouble(missing ? new Trouble(`No trace ${id}`, 404) : error, render));
  }
}

/** Spans of Tempo's answer, old form (batches, base64 ids) or new (resourceSpans, hex). */
function spansOf(found) {
  const trace = found.trace ?? found, spans = [];
  for (const batch of trace.resourceSpans ?? trace.batches ?? []) {
    const resource = attributesOf(batch.resource?.attributes);
    for (const scope of batch.scopeSpans ?? batch.instrumentationLibrarySpans ?? batch.ilSpans ?? []) {
      for (const span of scope.spans ?? []) {
        const start = nano(span.startTimeUnixNano), end = nano(span.endTimeUnixNano);
        spans.push({
          id: hexOf(span.spanId), parent: hexOf(span.parentSpanId), name: textOf(span.name), start, end: end < start ? start : end, resource,
          service: textOf(resource["service.name"]) || "unknown", kind: textOf(span.kind).replace("SPAN_KIND_", "").toLowerCase(),
          failed: span.status?.code === 2 || span.status?.code === "STATUS_CODE_ERROR", message: textOf(span.status?.message),
          attributes: attributesOf(span.attributes), scope: textOf((scope.scope ?? scope.instrumentationLibrary)?.name),
          events: (span.events ?? []).map((event) => ({ at: nano(event.timeUnixNano), name: textOf(event.name), attributes: attributesOf(event.attributes) })),
        });
      }
    }
  }
  return spans;
}

function nano(value) {
  try {
    return BigInt(value ?? 0);
  } catch {
    return 0n;
  }
}

function hexOf(id) {
  if (typeof id !== "string" || !id) return "";
  if (/^([0-9a-f]{16}|[0-9a-f]{32})$/i.test(id)) return id.toLowerCase();
  try {
    return [...atob(id)].map((byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  } catch {
    return "";
  }
}

function attributesOf(list) {
  return Object.fromEntries((Array.isArray(list) ? list : []).map(({ key, value }) => [textOf(key), valueOf(value)]));
}

function valueOf(value) {
  if (value?.arrayValue) return JSON.stringify((value.arrayValue.values ?? []).map(valueOf));
  if (value?.kvlistValue) return JSON.stringify(attributesOf(value.kvlistValue.values));
  return textOf(Object.values(value ?? {})[0]);
}

/** Depth first by start; spans whose parent isn't there, or that are each other's parents, stand as roots. */
function ordered(spans) {
  const byStart = (a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0), ids = new Set(spans.map((span) => span.id)), children = new Map(), out = [], taken = new Set();
  for (const span of spans) if (ids.has(span.parent) && span.parent !== span.id) children.set(span.parent, [...(children.get(span.parent) ?? []), span]);
  const walk = (root) => {
    const stack = [[root, 0]];
    while (stack.length) {
      const [span, depth] = stack.pop();
      if (taken.has(span)) continue;
      taken.add(span);
      out.push([span, depth]);
      for (const child of (children.get(span.id) ?? []).sort(byStart).reverse()) stack.push([child, depth + 1]);
    }
  };
  const roots = spans.filter((span) => !ids.has(span.parent) || span.parent === span.id).sort(byStart);
  roots.forEach(walk);
  spans.forEach(walk);
  return out;
}

function waterfall(id, spans) {
  const back = h("p", { class: "count" }, h("a", { href: "#/traces" }, "← Traces"));
  if (!spans.length) return [back, notice("The trace is empty", "It was found, but has no spans yet. Look again in a few seconds.", h("button", { type: "button", onclick: render }, "Look again"))];
  const rows = ordered(spans), start = spans.reduce((a, span) => (span.start < a ? span.start : a), spans[0].start), end = spans.reduce((a, span) => (span.end > a ? span.end : a), spans[0].end);
  const total = Number(end - start) || 1, services = [...new Set(rows.map(([span]) => span.service))], failed = spans.filter((span) => span.failed).length, root = rows[0][0];
  const at = Number(start / 1000000n), logs = new URLSearchParams({ q: id, range: "custom", from: at - 300e3, to: at + Math.ceil(total / 1e6) + 300e3 });
  const head = h("div", { class: "trace-head" }, h("h1", {}, `${root.service}: ${root.name || "(no name)"}`),
    h("p", { class: "muted" }, h("span", {}, clock(at)), h("span", {}, duration(total)), h("span", {}, plural(spans.length, "span", "spans")), h("span", {}, plural(services.length, "service", "services")),
      failed ? h("span", { class: "bad-mark" }, plural(failed, "error", "errors")) : "", h("a", { href: `#/logs?${logs}` }, "Logs of this trace")),
    h("p", { class: "muted" }, h("code", {}, id)));
  const ticks = h("div", { class: "ticks" }, ...[0, 0.25, 0.5, 0.75, 1].map((part) => h("span", {}, duration(Math.round(total * part)))));
  const list = h("div", { class: "card waterfall" }, h("div", { class: "scale" }, h("span", {}, "Service and operation"), ticks), ...rows.slice(0, MOST_SPANS).map(([span, depth]) => spanRow(span, depth, start, total, services)));
  return [back, head, list, rows.length > MOST_SPANS ? h("p", { class: "count muted" }, `The first ${MOST_SPANS} of ${rows.length} spans.`) : ""];
}

function spanRow(span, depth, start, total, services) {
  const colour = COLOURS[services.indexOf(span.service) % COLOURS.length], left = (Number(span.start - start) / total) * 100, wide = (Number(span.end - span.start) / total) * 100;
  const side = left + wide < 84 ? "" : left > 16 ? "left" : "in", took = duration(Number(span.end - span.start));
  const row = h("details", { class: "span" }, h("summary", {},
    h("span", { class: "label", vars: { "--depth": Math.min(depth, 12) } }, h("i", { class: "dot", vars: { "--c": colour } }), span.failed && h("b", { class: "bad-mark", title: "Error" }, "!"),
      h("span", { title: `${span.service}: ${span.name}` }, span.name || "(no name)", " ", h("span", { class: "muted" }, span.service))),
    h("span", { class: "lane", vars: { "--x": `${Math.min(left, 99.5)}%`, "--w": `${Math.min(wide, 100 - left)}%`, "--c": span.failed ? "var(--error-bar)" : colour } }, h("i"), h("span", { class: side }, took))));
  row.addEventListener("toggle", () => row.children.length === 1 && row.append(spanFacts(span, start)), { once: true });
  return row;
}

function spanFacts(span, start) {
  const main = { Span: span.id, Parent: span.parent, Kind: span.kind, Starts: `+${duration(Number(span.start - start))}`, Took: duration(Number(span.end - span.start)), Scope: span.scope, Error: span.failed ? span.message || "yes" : "" };
  const events = span.events.map((event) => h("div", {}, h("h3", {}, `Event ${event.name} at +${duration(Number(event.at - start))}`), h("dl", {}, ...Object.entries(event.attributes).flatMap(([name, value]) => pair(name, value)))));
  return h("div", { class: "facts" }, h("dl", {}, ...Object.entries(main).filter(([, value]) => value).flatMap(([name, value]) => pair(name, value))), ...factList("Attributes", span.attributes), ...events, ...factList("Resource", span.resource));
}

// --- forms -----------------------------------------------------------------------------------------------------------------------------------------------

const local = (milliseconds) => clock(milliseconds, false).replace(" ", "T");

function fillForm(view, given, time) {
  const form = document.querySelector(`[data-form=${view}]`);
  for (const input of form.elements) {
    if (input.name === "range") input.value = time.range;
    else if (input.name === "from") input.value = time.range === "custom" ? local(time.from) : "";
    else if (input.name === "to") input.value = time.range === "custom" ? local(time.to) : "";
    else if (input.name && input.type !== "checkbox" && input.name !== "by") input.value = given.get(input.name) ?? "";
  }
  showCustom(form);
}

function showCustom(form) {
  for (const field of form.querySelectorAll(".custom")) field.hidden = form.elements.range.value !== "custom";
}

for (const form of document.querySelectorAll("[data-form]")) {
  const view = form.dataset.form, choices = Object.entries(RANGES).map(([value, [text]]) => h("option", { value }, text));
  form.elements.range.append(...choices);
  if (form.elements.from) form.elements.range.append(h("option", { value: "custom" }, "From … to …"));
  const submit = () => {
    const values = Object.fromEntries([...new FormData(form)].filter(([name]) => name !== "live"));
    const id = (values.id ?? "").replace(/-/g, "").trim();
    delete values.id;
    if (values.range === "custom") [values.from, values.to] = [Date.parse(values.from) || "", Date.parse(values.to) || ""];
    else delete values.from, delete values.to;
    if (/^[0-9a-f]{1,32}$/i.test(id)) location.hash = `#/traces/${id.toLowerCase()}`;
    else go(view, values);
  };
  form.addEventListener("submit", (event) => (event.preventDefault(), submit()));
  form.elements.range.addEventListener("change", () => {
    showCustom(form);
    if (form.elements.range.value !== "custom") return submit();
    const time = rangeOf(place().given);
    [form.elements.from.value, form.elements.to.value] = [local(time.from), local(time.to)];
  });
}
$("metric-by").addEventListener("change", () => document.querySelector("[data-form=metrics]").requestSubmit());
$("metric").addEventListener("change", () => names.has($("metric").value) && document.querySelector("[data-form=metrics]").requestSubmit());
$("live").addEventListener("change", () => render());

addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || $("app").hidden) return;
  event.preventDefault();
  document.querySelector("#main > section:not([hidden]) input")?.focus();
});
addEventListener("hashchange", () => $("app").hidden || render());
new ResizeObserver(() => drawChart()).observe($("plot"));

ask("/query/api/me").then(showApp, (error) => error.status === 401 || showLogin(sentence(error.message)));
