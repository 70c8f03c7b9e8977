// Logs: full text or LogQL, counts over time, rows that open, live.
import { $, button, h, notice } from "./dom.js";
import { RANGES, change, go, place, rangeOf, timeIn, wider, zoom } from "./address.js";
import { trouble } from "./ask.js";
import { drawBars } from "./bars.js";
import { drawLines } from "./chart.js";
import { choices, fill, refuse, wire } from "./forms.js";
import { plural, textOf } from "./format.js";
import { givesLines, labels, lines, lokiRow, numbers, valuesOf, withMatcher } from "./loki.js";
import { seriesNames } from "./promql.js";
import { LEVELS } from "./records.js";
import { MOST_WORDS, search, searchRow } from "./search.js";

const KINDS = [
  { name: "Errors", class: "error" },
  { name: "Warnings", class: "warn" },
  { name: "Others", class: "plain" },
];
const MOST_ROWS = 1000,
  EVERYTHING = '{service_name=~".+"}';

let source = null;
let row = null;
const seen = new Set(); // keys of the rows that are shown
const keys = new WeakMap(); // row → its key
let waiting = []; // what came while paused, newest first
let paused = false;

export async function show({ given, signal }) {
  const time = rangeOf(given),
    logql = given.get("mode") === "logql",
    query = (given.get("q") ?? "").trim() || EVERYTHING,
    numeric = logql && !givesLines(query),
    live = given.get("live") === "1" && !time.fixed && given.get("sort") !== "oldest" && !numeric;
  fill("logs", given, time);
  [$("log-live").checked, $("log-live").disabled] = [live, numeric];
  showMode(logql, live);
  waiting = [];
  pause(false);
  if (logql) helpWithLabels(time, signal);
  if (numeric) return drawNumbers(query, time, signal);
  source = logql ? lines(query, given, time, signal) : search(given, time, signal);
  row = (record, fresh) => (logql ? lokiRow(record, query, change, fresh) : searchRow(record, given, change, fresh));
  try {
    const found = await source.first();
    clear();
    add(found.records, (rows) => $("log-list").append(...rows));
    $("log-more").hidden = !found.more;
    $("log-more").textContent = given.get("sort") === "oldest" ? "Newer records" : "Older records";
    if (found.severities) showSeverities(found.severities, given.get("severity") ?? "");
    if (found.services)
      choices(
        $("log-service"),
        found.services.map(([name, count]) => [textOf(name), `${textOf(name)} (${count.toLocaleString()})`]),
        given.get("service") ?? "",
        "Any",
      );
    count(found);
    if (!found.records.length) $("log-notice").replaceChildren(logql ? emptyLogql(query, time) : emptySearch(given, time));
  } catch (error) {
    if (error.name === "AbortError") return;
    clear();
    $("log-notice").replaceChildren(trouble(error, () => change({})));
  }
  // The signal may have ended while this was waiting for an answer.
  if (live && !signal.aborted) source.live(take, (error) => $("log-notice").replaceChildren(trouble(error, () => change({}))));
}

function clear() {
  seen.clear();
  for (const id of ["log-list", "log-histogram", "log-chart", "log-notice"]) $(id).replaceChildren();
  $("log-count").textContent = "";
  $("log-more").hidden = true;
}

function add(records, put, fresh = false) {
  // Live answers overlap. Pages don't, and a record that was written twice is shown twice.
  const unseen = fresh ? records.filter((record) => !seen.has(record.key)) : records;
  const rows = unseen.map((record) => {
    const made = row(record, fresh);
    seen.add(record.key);
    keys.set(made, record.key);
    return made;
  });
  put(rows);
  return rows;
}

function count({ total, exact, bars, from, to, step }) {
  $("log-count").textContent = total ? `${exact ? "" : "More than "}${plural(total, "record")}` : "";
  if (bars?.length) drawBars($("log-histogram"), { bars, kinds: KINDS, from, to, step, label: "Log records over time", onzoom: zoom });
  else $("log-histogram").replaceChildren();
}

// --- live ---

function take(records, counts) {
  if (counts && !paused) count(counts);
  if (records.length || $("log-notice").querySelector(".bad")) $("log-notice").replaceChildren();
  if (!records.length) return;
  if (paused) {
    const known = new Set(waiting.map((record) => record.key));
    waiting = [...records.filter((record) => !seen.has(record.key) && !known.has(record.key)), ...waiting].slice(0, MOST_ROWS);
    $("log-pause").textContent = `Resume (${waiting.length} new)`;
  } else putOnTop(records);
}

function putOnTop(records) {
  const list = $("log-list");
  add(records, (rows) => list.prepend(...rows), true);
  while (list.children.length > MOST_ROWS) {
    seen.delete(keys.get(list.lastChild));
    list.lastChild.remove();
  }
}

function pause(on) {
  paused = on;
  $("log-pause").textContent = on ? "Resume" : "Pause";
  if (!on && waiting.length) putOnTop(waiting.splice(0));
}

// --- LogQL ---

async function helpWithLabels(time, signal) {
  const names = await labels(time, signal).catch(() => []),
    chosen = $("log-label").value;
  if (!signal.aborted)
    choices(
      $("log-label"),
      names.map((name) => [name, name]),
      names.includes(chosen) ? chosen : "",
      "Choose…",
    );
}

async function drawNumbers(query, time, signal) {
  source = null;
  try {
    const { rows, step } = await numbers(query, time, signal),
      names = seriesNames(rows);
    clear();
    const series = rows.map((one, index) => ({ name: names[index], points: one.values.map(([at, value]) => [at * 1e3, Number(value)]) }));
    if (!series.length)
      return $("log-notice").replaceChildren(
        notice("No values in this time", "The expression counts nothing here. Choose a longer time, or another selector."),
      );
    drawLines($("log-chart"), { series, from: time.from, to: time.to, step, label: query, onzoom: zoom });
  } catch (error) {
    if (error.name === "AbortError") return;
    clear();
    $("log-notice").replaceChildren(trouble(error, () => change({})));
  }
}

// --- nothing found ---

function widen(time) {
  const range = wider(time);
  return range && button(`Search the ${RANGES[range][0].toLowerCase()}`, () => change({ range, from: "", to: "" }));
}

function emptySearch(given, time) {
  if (given.get("q") || given.get("severity") || given.get("service")) {
    return notice(
      "No log record matches",
      "All words must be in a record. Try fewer words, put | between alternatives, or a * at the end of a word; or take away a filter.",
      h(
        "div",
        { class: "row" },
        button("Take away all filters", () => go("logs", timeIn(given))),
        widen(time),
      ),
    );
  }
  return nothing(time);
}

function emptyLogql(query, time) {
  return query === EVERYTHING
    ? nothing(time)
    : notice("No log line matches", "Labels must be exactly as they are stored: choose them above. Choose a longer time if they are right.", widen(time));
}

const nothing = (time) =>
  notice(
    "No logs in this time",
    "Records are here seconds after they were sent.",
    h("div", { class: "row" }, h("a", { class: "button", href: "#/send" }, "How to send your logs"), widen(time)),
  );

// --- the form ---

/** The levels to choose from; `counts`: records of each level, or null. */
function showSeverities(counts, chosen) {
  const above = (place) => LEVELS.slice(place).reduce((sum, level) => sum + (Number(counts[level]) || 0), 0);
  const text = (level, place) =>
    `${level[0].toUpperCase()}${level.slice(1)}${level === "fatal" ? "" : " and above"}${counts ? ` (${above(place).toLocaleString()})` : ""}`;
  choices(
    $("log-severity"),
    LEVELS.map((level, place) => [level, text(level, place)]),
    chosen,
    "Any",
  );
}

function showMode(logql, live) {
  for (const part of document.querySelectorAll("#logs-form [data-only]")) part.hidden = part.dataset.only !== (logql ? "logql" : "text");
  $("log-q").placeholder = logql ? `${EVERYTHING} |= "words"` : 'Words, "a phrase", either | or, -without';
  $("log-q-label").textContent = logql ? "LogQL" : "Search logs";
  $("log-sort").disabled = live;
  $("log-pause").hidden = !live;
}

const form = wire("logs", (values) => {
  const { mode, severity, service, ...rest } = values;
  delete rest.label;
  delete rest.value;
  const { given } = place(),
    logql = mode === "logql",
    switched = logql !== (given.get("mode") === "logql");
  if (!logql && !switched && rest.q.length > MOST_WORDS) return refuse($("log-q"), `Full text takes ${MOST_WORDS.toLocaleString()} characters at most`);
  // Of Live and a fixed time that holds which was chosen last.
  if (rest.range === "custom" && rest.live) rangeOf(given).fixed ? (rest.range = "15m") : (rest.live = "");
  if (rest.live) rest.sort = "";
  return { ...rest, q: switched ? "" : rest.q, ...(logql ? { mode } : { severity, service }), ...(rest.range === "custom" ? {} : { from: "", to: "" }) };
});
showSeverities(null, "");
for (const id of ["log-severity", "log-service", "log-sort", "log-live", "log-mode-text", "log-mode-logql"])
  $(id).addEventListener("change", () => form.requestSubmit());
$("log-label").addEventListener("change", async () => {
  const label = $("log-label").value,
    values = label ? await valuesOf(label, rangeOf(place().given)).catch(() => []) : [];
  choices(
    $("log-value"),
    values.map((value) => [value, value]),
    "",
    "Choose…",
  );
});
$("log-add").addEventListener("click", () => {
  const label = $("log-label").value,
    value = $("log-value").value;
  if (!label || !value) return $(label ? "log-value" : "log-label").focus();
  $("log-q").value = withMatcher($("log-q").value, label, value);
  form.requestSubmit();
});
$("log-pause").addEventListener("click", () => pause(!paused));
$("log-more").addEventListener("click", async (event) => {
  const mine = source;
  event.target.disabled = true;
  try {
    const found = await mine.older();
    if (mine !== source) return;
    const rows = add(found.records, (made) => $("log-list").append(...made));
    rows[0]?.querySelector("summary").focus();
    $("log-more").hidden = !found.more;
  } catch (error) {
    if (mine === source) $("log-notice").replaceChildren(trouble(error));
  } finally {
    event.target.disabled = false;
  }
});
