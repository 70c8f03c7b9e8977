// Logs by full text (OpenSearch).
import { ask } from "./ask.js";
import { linkTo } from "./address.js";
import { textOf } from "./format.js";
import { LEVELS, levelOf, recordRow, sayTooMany } from "./records.js";

const PATH = "/query/api/logs/search",
  PARTS = 60,
  PAGE = 100,
  LIVE_MS = 5000,
  LIVE_PAGE = 300;

/** Characters of words that the function takes. */
export const MOST_WORDS = 1000;

/** One search: {first(), older(), live(take, fail)} of the records that the address asks for. */
export function search(given, time, signal) {
  const own = {
    q: given.get("q"),
    severity: LEVELS.includes(given.get("severity")) ? given.get("severity") : "",
    service: given.get("service"),
    sort: given.get("sort") === "oldest" ? "oldest" : "newest",
  };
  const page = { ...own, size: PAGE, highlight: own.q ? 1 : "" };
  // Without an end while the time moves: a record may be dated a little ahead of us.
  const during = { from: Math.round(time.from), to: time.fixed ? Math.round(time.to) : "" };
  let next = null;
  const read = async (more) => {
    const found = await ask(PATH, { ...page, ...during, ...more }, signal);
    next = found.next;
    return {
      records: found.hits.map(recordOf),
      more: Boolean(next),
      services: found.services,
      severities: found.severities,
      ...counted(found, during.from, during.to || Date.now()),
    };
  };
  return {
    first: () => read({ timeline: PARTS, facets: 1 }),
    older: () => read({ cursor: next }),
    live(take, fail) {
      let newest = time.to;
      const look = async () => {
        try {
          if (document.visibilityState === "visible") {
            const to = Date.now(),
              from = Math.round(to - (time.to - time.from)),
              found = await ask(PATH, { ...page, sort: "newest", size: LIVE_PAGE, from, timeline: PARTS }, signal),
              records = found.hits.map(recordOf);
            if (records.length === LIVE_PAGE && records.at(-1).at > newest) sayTooMany();
            newest = Math.max(newest, records[0]?.at || 0);
            take(records, counted(found, from, to));
          }
        } catch (error) {
          fail(error);
        }
        if (!signal.aborted) timer = setTimeout(look, LIVE_MS);
      };
      let timer = setTimeout(look, LIVE_MS);
      signal.addEventListener("abort", () => clearTimeout(timer));
    },
  };
}

function counted(found, from, to) {
  const bars = (found.timeline ?? []).map(([at, all, warnings, errors]) => [at, errors, warnings, all - warnings - errors]);
  return { total: found.total, exact: found.total_exact, bars, from, to, step: Math.max(1, Math.ceil((to - from) / PARTS)) };
}

function recordOf(hit) {
  const stamp = textOf(hit.timestamp),
    service = textOf(hit.service),
    body = textOf(hit.body),
    span = textOf(hit.span_id);
  return {
    key: [stamp, service, span, body].join("\n"),
    at: Date.parse(stamp.replace(/(\.\d{3})\d+/, "$1")),
    stamp,
    level: levelOf(hit.severity_number, hit.severity),
    severity: textOf(hit.severity),
    service,
    body,
    highlight: hit.highlight,
    trace: textOf(hit.trace_id),
    span,
    facts: [
      ["Attributes", hit.attributes],
      ["Resource", hit.resource],
    ],
    raw: hit,
  };
}

/** A phrase of full text. A line break stays one: there is no way to write it otherwise, and an attribute is found by its whole value. */
const phrase = (text) => `"${text.replace(/["\\]/g, "\\$&")}"`;

/** The row of a record; `narrow(changes)` changes the search. */
export function searchRow(record, given, narrow, fresh) {
  const near = ({ service, at }) => (service && at ? linkTo("logs", { service, range: "custom", from: at - 60e3, to: at + 60e3 }) : null);
  const filter = (name, value) => {
    if (name === "service.name") return () => narrow({ service: value });
    const q = `${given.get("q") ?? ""} ${phrase(value)}`.trim();
    return q.length > MOST_WORDS ? null : () => narrow({ q });
  };
  return recordRow(record, { filter, near, fresh });
}
