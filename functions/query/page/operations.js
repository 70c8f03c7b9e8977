// Operations: the whole pipeline as its operators' own Prometheus sees it; the function shows it to the platform's admins alone.
import { $, h, notice, table } from "./dom.js";
import { ask, trouble } from "./ask.js";
import { drawLines } from "./chart.js";
import { clock, plural, quantity } from "./format.js";

const EVERY = 15e3,
  BREAKER = ["closed", "half open", "open"];

export async function show({ signal }) {
  await refresh(signal);
  const timer = setInterval(() => $("operations-live").checked && !document.hidden && refresh(signal), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
}

async function refresh(signal) {
  try {
    const seen = await ask("/query/api/operations", {}, signal);
    $("operations-figures").hidden = !seen.configured;
    say(seen.configured ? summary(seen) : "", seen.at);
    $("operations-notice").replaceChildren(...(seen.configured ? [] : [unset()]));
    if (seen.configured) draw(seen);
  } catch (error) {
    $("operations-figures").hidden = true;
    say("");
    $("operations-notice").replaceChildren(trouble(error, () => refresh(signal)));
  }
}

/** The time is beside it: a screen reader says only what has changed. */
function say(state, at = null) {
  if ($("operations-state").textContent !== state) $("operations-state").textContent = state;
  $("operations-at").textContent = state && `as of ${clock(at, false).slice(11)}`;
}

const unset = () =>
  notice(
    "No Prometheus to ask",
    "This view asks the Prometheus that scrapes the pipeline itself.",
    h("p", {}, "Give the function query its address in the setting ", h("code", {}, "OPERATIONS_PROMETHEUS_URL"), ", then start it again."),
  );

const nameOf = (labels) => labels.function || labels.job;

function summary({ now, alerts }) {
  const down = now.up.filter(({ value }) => value !== 1),
    firing = alerts.filter(({ state }) => state === "firing");
  return [
    down.length ? `${plural(down.length, "process", "processes")} down: ${down.map(({ labels }) => nameOf(labels)).join(", ")}` : "All processes are up",
    firing.length ? `${plural(firing.length, "alert")} firing` : "no alert is firing",
    ...now.switched.map(({ labels }) => `${labels.flag} is ${labels.value}`),
  ].join(" · ");
}

function draw(seen) {
  const { now, hour, alerts, at, step } = seen;
  put("operations-alerts", () => [alertsOf(alerts)]);
  put("operations-sinks", () => [sinksOf(now)]);
  put("operations-processes", () => [processesOf(now.up, now.restarts, now.defects)]);
  put("operations-rates", () => [ratesOf(now)]);
  lines("operations-lag", hour.lag_seconds, { at, step, unit: "s", name: "group", label: "Age of the oldest record not yet done, by group" });
  lines("operations-taken", hour.taken, { at, step, name: "signal", label: "Records taken over a second, by signal" });
}

/** Nothing is drawn anew under the reader's hand. */
const held = (host) => host.childElementCount && (host.contains(document.activeElement) || host.matches(":hover"));
const put = (id, make) => held($(id)) || $(id).replaceChildren(...make());

function lines(id, series, { at, step, unit, name, label }) {
  const host = $(id);
  if (held(host)) return;
  const drawn = series.map(({ labels, points }) => ({ name: labels[name], points: points.map(([when, value]) => [when, value ?? NaN]) }));
  const last = ({ points }) => points.at(-1)?.[1] || 0;
  drawLines(host, { series: drawn.sort((a, b) => last(b) - last(a)), from: at - 3600e3, to: at, step, unit, label });
}

const bad = (text, wrong) => (wrong ? h("span", { class: "bad-mark" }, text) : text);
const valueOf = (found, name, wanted) => found.find(({ labels }) => labels[name] === wanted)?.value;
const figure = (value, unit, wrong = false) => bad(quantity(value ?? NaN, unit), wrong && value > 0);
const rate = (value, wrong) => (value == null ? "–" : bad(`${quantity(value)}/s`, wrong && value > 0));

function alertsOf(alerts) {
  if (!alerts.length) return h("p", { class: "muted calm" }, "No alert is pending or firing.");
  return table(
    "Alerts",
    ["State", "Alert", "Severity", "Since", "What", "What to do"],
    alerts.map(({ state, name, severity, since, summary: what, runbook }) => [
      bad(state, state === "firing"),
      name,
      severity,
      clock(Date.parse(since), false),
      what,
      runbook ? h("code", {}, runbook.replace(/^.*\/docs\//, "docs/")) : "–",
    ]),
  );
}

function sinksOf(now) {
  const groups = now.lag_records.map(({ labels }) => labels.group).sort();
  return table(
    "Sinks",
    ["Sink", "Behind", "Oldest", "Stores", "Puts off", "Breaker", "Waiting letters", "Dead letters, 1 h"],
    groups.map((group) => {
      const sink = group.replaceAll("-", "_"),
        oldest = valueOf(now.lag_seconds, "group", group),
        breaker = valueOf(now.breaker, "function", sink);
      return [
        sink,
        figure(valueOf(now.lag_records, "group", group)),
        bad(quantity(oldest ?? NaN, "s"), oldest > 15),
        rate(valueOf(now.stored, "function", sink)),
        rate(valueOf(now.postponed, "function", sink), true),
        breaker == null ? "–" : bad(BREAKER[breaker] ?? String(breaker), breaker > 0),
        figure(valueOf(now.waiting, "sink", sink) ?? 0, "", true),
        figure(Math.round(valueOf(now.dead, "sink", sink) ?? 0), "", true),
      ];
    }),
    [1, 2, 3, 4, 6, 7],
  );
}

function processesOf(up, restarts, defects) {
  const rows = up.map(({ labels, value }) => [nameOf(labels), value]).sort((a, b) => a[1] - b[1] || a[0].localeCompare(b[0]));
  return table(
    "Processes",
    ["Process", "State", "Restarts, 1 h", "Defects, 1 h"],
    rows.map(([name, value]) => [
      name,
      value === 1 ? h("span", { class: "state active" }, "up") : bad("down", true),
      figure(Math.round(valueOf(restarts, "service", name) ?? 0), "", true),
      figure(Math.round(valueOf(defects, "function", name) ?? 0), "", true),
    ]),
    [2, 3],
  );
}

function ratesOf(now) {
  const rows = [
    ...now.taken.map(({ labels, value }) => [`Taken over: ${labels.signal}`, rate(value)]),
    ...now.answers.map(({ labels, value }) => [`Answers ${labels.code} at the gateway`, rate(value, labels.code.startsWith("5"))]),
    ...now.refused.map(({ labels, value }) => [`Refused: ${labels.reason}`, rate(value)]),
  ];
  return table("Rates and errors", ["What", "Now"], rows, [1]);
}
