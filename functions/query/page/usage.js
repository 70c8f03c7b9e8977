// Usage: what this tenant sent and read, by signal over time.
import { $, h, notice, table } from "./dom.js";
import { change, go, place, rangeOf, timeIn, zoom } from "./address.js";
import { ask, trouble } from "./ask.js";
import { drawBars } from "./bars.js";
import { choices } from "./forms.js";
import { clock, quantity } from "./format.js";
import { keepFresh } from "./live.js";

const RANGES = { "24h": ["Last 24 hours", 1], "7d": ["Last 7 days", 7], "30d": ["Last 30 days", 30], "90d": ["Last 90 days", 90] };
const MEASURES = { bytes: ["Bytes sent", "B"], records: ["Records sent", ""], requests: ["Requests", ""] },
  KINDS = ["logs", "metrics", "remote-write", "traces", "read", "other"],
  NAMES = { "remote-write": "Metrics by remote write", read: "Reads", other: "Others" },
  DAY = 86400e3;
const placeOf = (signal) => (KINDS.includes(signal) ? KINDS.indexOf(signal) : KINDS.length - 1);
const nameOf = (signal) => NAMES[signal] ?? `${signal[0].toUpperCase()}${signal.slice(1)}`;

export async function show({ given, signal }) {
  const measure = Object.hasOwn(MEASURES, given.get("measure")) ? given.get("measure") : "bytes",
    range = Object.hasOwn(RANGES, given.get("range")) ? given.get("range") : "7d",
    custom = rangeOf(given),
    live = given.get("live") === "1" && !custom.fixed;
  choices(
    $("usage-range"),
    [...Object.entries(RANGES).map(([value, [text]]) => [value, text]), ...(custom.fixed ? [["custom", "A chosen part"]] : [])],
    custom.fixed ? "custom" : range,
  );
  choices(
    $("usage-measure"),
    Object.entries(MEASURES).map(([value, [text]]) => [value, text]),
    measure,
  );
  [$("usage-live").checked, $("usage-live").disabled] = [live, custom.fixed];
  const look = () => draw(measure, custom.fixed ? custom : { from: Date.now() - RANGES[range][1] * DAY, to: Date.now() }, signal);
  await look();
  // The signal may have ended while this was waiting for an answer.
  if (live && !signal.aborted) keepFresh($("usage-chart"), signal, look);
}

async function draw(measure, { from, to }, signal) {
  const [label, unit] = MEASURES[measure],
    step = to - from > 8 * DAY ? "day" : "hour",
    width = step === "day" ? DAY : 3600e3;
  try {
    const { usage } = await ask("/query/api/usage", { from: Math.round(from), to: Math.round(to), step }, signal);
    $("usage-notice").replaceChildren(
      ...(usage.length
        ? []
        : [notice("Nothing in this time", "What you send is counted within seconds.", h("a", { class: "button", href: "#/send" }, "How to send your data"))]),
    );
    $("usage-figures").hidden = !usage.length;
    if (!usage.length) return;
    const start = Math.floor(from / width) * width,
      bars = new Map();
    for (const row of usage) {
      const bar = bars.get(row.at) ?? [row.at, ...KINDS.map(() => 0)];
      bar[placeOf(row.signal) + 1] += row[measure];
      bars.set(row.at, bar);
    }
    const kinds = KINDS.map((name) => ({ name: nameOf(name), class: `signal-${name}` }));
    drawBars($("usage-chart"), {
      bars: [...bars.values()],
      kinds,
      from: start,
      to: Math.ceil(to / width) * width,
      step: width,
      unit,
      height: 260,
      label: `${label} by signal and ${step} (UTC)`,
      onzoom: (low, high) => (high - low < width * 1.5 && step === "hour" ? null : zoom(low, high)),
    });
    $("usage-totals").replaceChildren(totals(usage));
    $("usage-table").replaceChildren(days(usage, step));
  } catch (error) {
    if (error.name === "AbortError") return;
    $("usage-figures").hidden = true;
    $("usage-notice").replaceChildren(trouble(error, () => change({})));
  }
}

const cells = ({ requests, records, bytes }) => [requests.toLocaleString(), records.toLocaleString(), quantity(bytes, "B")];
const plus = (a, b) => ({ requests: a.requests + b.requests, records: a.records + b.records, bytes: a.bytes + b.bytes });

function totals(usage) {
  const by = Map.groupBy(usage, (row) => row.signal),
    sums = [...by].map(([signal, rows]) => [signal, rows.reduce(plus)]).sort((a, b) => placeOf(a[0]) - placeOf(b[0]));
  const all = sums.map(([, sum]) => sum).reduce(plus);
  return table(
    "Totals",
    ["Signal", "Requests", "Records", "Bytes"],
    [...sums.map(([signal, sum]) => [nameOf(signal), ...cells(sum)]), [h("b", {}, "All"), ...cells(all)]],
    [1, 2, 3],
  );
}

function days(usage, step) {
  const when = (at) => (step === "day" ? new Date(at).toISOString().slice(0, 10) : clock(at, false).slice(0, 16));
  return table(
    step === "day" ? "By day (UTC)" : "By hour",
    ["Time", "Signal", "Requests", "Records", "Bytes"],
    usage.toReversed().map((row) => [when(row.at), nameOf(row.signal), ...cells(row)]),
    [2, 3, 4],
  );
}

const leave = () =>
  go("usage", {
    measure: $("usage-measure").value,
    ...($("usage-range").value === "custom" ? timeIn(place().given) : { range: $("usage-range").value, live: $("usage-live").checked ? 1 : "" }),
  });
for (const id of ["usage-range", "usage-measure", "usage-live"]) $(id).addEventListener("change", leave);
$("usage-form").addEventListener("submit", (event) => event.preventDefault());
