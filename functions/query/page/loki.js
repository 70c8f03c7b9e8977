// Logs by LogQL (Loki): pages of query_range, counts over time, and the tail by WebSocket or, where none can be opened, by asking again.
import { ask } from "./ask.js";
import { linkTo } from "./address.js";
import { quoted, textOf, timeStep } from "./format.js";
import { LEVELS, levelOf, recordRow, sayTooMany } from "./records.js";

const BASE = "/query/loki/api/v1",
  TAIL = "/query/loki/loki/api/v1/tail",
  PAGE = 100,
  POLL_MS = 3000,
  AGAIN_MS = 2000,
  COUNT_MS = 10_000;

export const labels = (time, signal) => ask(`${BASE}/labels`, range(time), signal).then((found) => found.data ?? []);
export const valuesOf = (label, time, signal) =>
  ask(`${BASE}/label/${encodeURIComponent(label)}/values`, range(time), signal).then((found) => found.data ?? []);

const nano = (milliseconds) => `${Math.round(milliseconds)}000000`;
const range = ({ from, to }) => ({ start: nano(from), end: nano(to) });

/** A matcher put into the query's first selector; without one, a new query of it. */
export function withMatcher(query, label, value) {
  const matcher = `${label}=${quoted(value)}`,
    at = query.indexOf("{");
  if (at < 0) return `{${matcher}}`;
  return `${query.slice(0, at + 1)}${matcher}${/^\s*\}/.test(query.slice(at + 1)) ? "" : ", "}${query.slice(at + 1)}`;
}

/** Whether an expression gives log lines; any other gives numbers. */
export const givesLines = (query) => /^[\s(]*\{/.test(query);

/** One query of log lines: {first(), older(), live(take, fail)}, as `search`. */
export function lines(query, given, time, signal) {
  const backward = given.get("sort") !== "oldest",
    seen = new Set();
  let edge = range(time); // what is left to be read
  const read = async () => {
    const found = await ask(`${BASE}/query_range`, { query, ...edge, limit: PAGE, direction: backward ? "backward" : "forward" }, signal);
    const all = recordsOf(found.data.result, backward),
      records = all.filter((record) => !seen.has(record.key)),
      last = all.at(-1);
    for (const record of records) seen.add(record.key);
    if (!last) return { records, more: false };
    // Records of the same nanosecond may stand on both sides of a page's end: it is read again, unless there was nothing else.
    edge = backward ? { ...edge, end: String(last.nano + (records.length ? 1n : 0n)) } : { ...edge, start: String(last.nano + (records.length ? 0n : 1n)) };
    return { records, more: all.length >= PAGE };
  };
  return {
    async first() {
      const [page, counts] = await Promise.all([read(), countsOf(query, time, signal)]);
      return { ...page, ...counts };
    },
    older: read,
    live(take, fail) {
      tail(query, BigInt(nano(time.to)), signal, (records) => take(records, null), fail);
      const counter = setInterval(() => {
        const to = Date.now();
        countsOf(query, { from: to - (time.to - time.from), to }, signal).then((counts) => take([], counts), fail);
      }, COUNT_MS);
      signal.addEventListener("abort", () => clearInterval(counter));
    },
  };
}

/** Lines over time by level. Without counts where Loki refuses what it lists: `| json` on a line that is none ends a count, and not a list. */
async function countsOf(query, time, signal) {
  try {
    return await counted(query, time, signal);
  } catch (error) {
    if (error.status !== 400) throw error;
    return { total: 0, exact: true, bars: [] };
  }
}

async function counted(query, { from, to }, signal) {
  const step = Math.max(1000, timeStep(to - from, 60)),
    first = Math.floor(from / step) * step;
  const expression = `sum by (detected_level) (count_over_time(${query} [${step / 1e3}s]))`;
  const found = await ask(
    `${BASE}/query_range`,
    { query: expression, start: nano(first + step), end: nano(Math.ceil(to / step) * step), step: `${step / 1e3}s` },
    signal,
  );
  const bars = new Map();
  let total = 0;
  for (const { metric, values } of found.data.result ?? []) {
    const level = LEVELS.indexOf(levelOf(0, metric?.detected_level)),
      kind = level >= 4 ? 1 : level === 3 ? 2 : 3;
    for (const [at, count] of values) {
      const start = Math.round(at * 1e3) - step,
        bar = bars.get(start) ?? [start, 0, 0, 0];
      bar[kind] += Number(count);
      total += Number(count);
      bars.set(start, bar);
    }
  }
  return { total, exact: true, bars: [...bars.values()].sort((a, b) => a[0] - b[0]), from: first, to: Math.ceil(to / step) * step, step };
}

/** Numbers of a metric expression over time: what Prometheus' query_range would give, and the step in ms. */
export async function numbers(query, time, signal) {
  const step = timeStep(time.to - time.from, 200);
  const found = await ask(`${BASE}/query_range`, { query, ...range(time), step: `${Math.max(1, step / 1e3)}s` }, signal);
  return { rows: found.data.resultType === "matrix" ? found.data.result : [], step };
}

function tail(query, since, signal, take, fail) {
  let last = since,
    timer = 0;
  // Of what was there already when it is asked, Loki gives the newest `PAGE`.
  const taken = (streams, asked) => {
    const records = recordsOf(streams, true);
    if (records.length && records[0].nano > last) last = records[0].nano;
    if (records.length >= PAGE && records.at(-1).at < asked) sayTooMany();
    take(records);
  };
  const poll = async () => {
    try {
      if (document.visibilityState === "visible") {
        const found = await ask(
          `${BASE}/query_range`,
          { query, start: String(last + 1n), end: nano(Date.now() + 600e3), limit: PAGE, direction: "backward" },
          signal,
        );
        taken(found.data.result, Infinity);
      }
    } catch (error) {
      fail(error);
    }
    if (!signal.aborted) timer = setTimeout(poll, POLL_MS);
  };
  const open = () => {
    const parameters = new URLSearchParams({ query, limit: PAGE, start: String(last + 1n) });
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}${TAIL}?${parameters}`);
    let opened = 0;
    const close = () => socket.close();
    signal.addEventListener("abort", close, { once: true });
    socket.addEventListener("open", () => (opened = Date.now()));
    socket.addEventListener("message", ({ data }) => {
      try {
        const told = JSON.parse(data);
        taken(told.streams, opened);
        if (told.dropped_entries?.length) sayTooMany();
      } catch (error) {
        fail(error);
      }
    });
    socket.addEventListener("close", () => {
      signal.removeEventListener("abort", close);
      if (!signal.aborted) timer = opened ? setTimeout(open, AGAIN_MS) : setTimeout(poll, 0);
    });
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  open();
}

function recordsOf(streams, backward) {
  const records = (Array.isArray(streams) ? streams : []).flatMap(({ stream = {}, values = [] }) =>
    values.map(([stamp, line, own]) => recordOf(stamp, line, { ...stream, ...flat(own) })),
  );
  return records.sort((a, b) => (a.nano === b.nano ? 0 : a.nano > b.nano === backward ? -1 : 1));
}

/** What an entry says of itself beside its stream's labels, by kind (categorized labels) or plainly. */
const flat = (own) => ({ ...own?.structuredMetadata, ...own?.parsed });

function recordOf(stamp, line, labels) {
  const nanoseconds = BigInt(stamp),
    body = textOf(line),
    severity = textOf(labels.severity_text || labels.detected_level);
  return {
    key: [stamp, JSON.stringify(labels), body].join("\n"),
    nano: nanoseconds,
    at: Number(nanoseconds / 1000000n),
    level: levelOf(labels.severity_number, labels.severity_text || labels.detected_level),
    stamp: `${new Date(Number(nanoseconds / 1000000n)).toISOString().slice(0, 19)}.${String(nanoseconds % 1000000000n).padStart(9, "0")}Z`,
    severity: severity === "unknown" ? "" : severity,
    service: textOf(labels.service_name),
    body,
    trace: textOf(labels.trace_id),
    span: textOf(labels.span_id),
    facts: [["Labels and metadata", labels]],
    raw: { timestamp: stamp, line: body, labels },
  };
}

/** The row of a record; `narrow(changes)` changes the search. */
export function lokiRow(record, query, narrow, fresh) {
  const near = ({ service, at }) =>
    service ? linkTo("logs", { mode: "logql", q: `{service_name=${quoted(service)}}`, range: "custom", from: at - 60e3, to: at + 60e3 }) : null;
  return recordRow(record, { filter: (name, value) => () => narrow({ q: `${query} | ${name}=${quoted(value)}` }), near, fresh });
}
