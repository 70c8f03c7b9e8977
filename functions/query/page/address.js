// The address after # is the whole state of the page, so that a link shows the same: #/view/id?parameters.

export const VIEWS = ["logs", "metrics", "traces", "usage", "tokens", "send", "operations"];
export const RANGES = {
  "15m": ["Last 15 minutes", 900],
  "1h": ["Last hour", 3600],
  "6h": ["Last 6 hours", 21600],
  "24h": ["Last 24 hours", 86400],
  "7d": ["Last 7 days", 604800],
};
const DEFAULT_RANGE = "1h";

export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?"),
    [view = "", id = ""] = path.split("/");
  return {
    view: VIEWS.includes(view) ? view : "logs",
    id: /^[0-9a-f]{1,32}$/i.test(id) ? id.toLowerCase().padStart(32, "0") : "",
    given: new URLSearchParams(query),
  };
}

/** The address of a view; a list becomes a parameter that comes several times. */
export function linkTo(view, given = {}) {
  const pairs = Object.entries(given).flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one) => [name, one]));
  const query = new URLSearchParams(pairs.filter(([, value]) => value !== "" && value != null && value !== false)).toString();
  return `#/${view}${query ? "?" + query : ""}`;
}

export function go(view, given = {}) {
  const hash = linkTo(view, given);
  if (hash === location.hash) again();
  else location.hash = hash;
}

/** The same place with some parameters changed; the time goes with it. */
export function change(changes) {
  const { view, given } = place(),
    all = {};
  for (const name of given.keys()) all[name] = given.getAll(name);
  go(view, { ...all, ...changes });
}

/** A part of the time, which nothing live can be in. */
export const zoom = (from, to) => change({ range: "custom", from: Math.floor(from), to: Math.ceil(to), live: "" });
export const again = () => dispatchEvent(new Event("again"));

/** {range, from, to} in ms; `fixed` for a time that doesn't move with the clock. */
export function rangeOf(given) {
  const now = Date.now(),
    range = given.get("range");
  if (range === "custom") {
    const from = Number(given.get("from")),
      to = Number(given.get("to")) || now;
    if (from > 0 && to > from && to < 8.64e15) return { range, from, to, fixed: true };
  }
  const known = Object.hasOwn(RANGES, range) ? range : DEFAULT_RANGE;
  return { range: known, from: now - RANGES[known][1] * 1e3, to: now, fixed: false };
}

/** The time of this address as parameters, for links to other views. */
export const timeIn = (given) => Object.fromEntries(["range", "from", "to"].filter((name) => given.has(name)).map((name) => [name, given.get(name)]));

/** The next longer range to look at, if there is one. */
export const wider = ({ range, fixed }) => (fixed ? "24h" : Object.keys(RANGES)[Object.keys(RANGES).indexOf(range) + 1]);
