// Lines over time, with a legend that turns them off, and points on them that lead to traces.
import { asTable, button, h, svg } from "./dom.js";
import { COLOURS, KEYS, READING, cursor, timeTicks } from "./axis.js";
import { clock, plural, quantity, scaleOf } from "./format.js";

export const MOST_SERIES = 24;

/**
 * Draw into `host`. `series`: [{name, points: [[ms, value], …]}, …], the highest last value first; `step` in ms;
 * `marks`: [{at, value, href, label}, …], links; `onzoom(from, to)`, if it can be zoomed.
 */
export function drawLines(host, { series, from, to, step, unit = "", marks = [], label, onzoom }) {
  const all = series
    .slice(0, MOST_SERIES)
    .map((one, index) => ({ ...one, colour: COLOURS[index % COLOURS.length], dash: [null, "7 3"][Math.floor(index / COLOURS.length)], on: true }));
  const plot = h("div", { class: "plot" });
  const draw = () => {
    if (!plot.clientWidth) return;
    const on = all.filter((one) => one.on),
      box = frame(plot, on, { from, to, unit });
    const drawing = svg("svg", {
      viewBox: `0 0 ${box.width} ${box.height}`,
      role: "group",
      tabindex: 0,
      "aria-label": `Line chart of ${label}: ${plural(on.length, "line")}, ${quantity(box.low, unit)} to ${quantity(box.high, unit)}. ${onzoom ? KEYS : READING}`,
    });
    for (const tick of box.ticks) {
      drawing.append(
        svg("line", { x1: box.left, x2: box.right, y1: box.y(tick), y2: box.y(tick) }),
        svg("text", { x: box.left - 7, y: box.y(tick) + 4, "text-anchor": "end" }, quantity(tick, unit)),
      );
    }
    timeTicks(drawing, { ...box, y: box.height - 5 });
    for (const one of on) drawing.append(svg("path", { d: pathOf(one.points, box.x, box.y, step), stroke: one.colour, "stroke-dasharray": one.dash }));
    for (const mark of marks) drawing.append(markOf(mark, box));
    plot.replaceChildren(drawing);
    const times = [...new Set(on.flatMap((one) => one.points.map(([at]) => at)))].sort((a, b) => a - b);
    cursor(plot, drawing, times, box, { tip: (index) => valuesAt(times[index], on, unit), onzoom });
  };
  host.replaceChildren(
    plot,
    legend(all, unit, draw),
    asTable(() => {
      const times = [...new Set(all.flatMap((one) => one.points.map(([at]) => at)))].sort((a, b) => a - b),
        at = all.map((one) => new Map(one.points));
      return [
        label,
        ["Time", ...all.map((one) => one.name)],
        times.map((time) => [clock(time, false), ...at.map((values) => quantity(values.get(time) ?? NaN, unit))]),
        all.map((_, index) => index + 1),
      ];
    }),
  );
  new ResizeObserver(draw).observe(plot);
}

function frame(plot, series, { from, to, unit }) {
  const width = plot.clientWidth,
    height = plot.clientHeight,
    values = series.flatMap((one) => one.points.map(([, value]) => value)).filter(Number.isFinite);
  let low = values.reduce((a, b) => Math.min(a, b), Infinity),
    high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!values.length) [low, high] = [0, 1];
  if (low > 0 && low < high * 0.6) low = 0;
  const seen = { low, high };
  if (low === high) [low, high] = low === 0 ? [0, 1] : [Math.min(0, low), Math.max(0, high) * 1.1];
  const { bottom, top, ticks } = scaleOf(low, high, height / 64, unit);
  const left = 12 + Math.max(...ticks.map((tick) => quantity(tick, unit).length)) * 6.6,
    right = width - 10,
    base = height - 24;
  return {
    ...seen,
    ticks,
    left,
    right,
    base,
    width,
    height,
    from,
    to,
    x: (at) => left + ((at - from) / (to - from)) * (right - left),
    y: (value) => base - ((value - bottom) / (top - bottom || 1)) * (base - 10),
  };
}

/** Lines break where values are missing; a lonely value is a short dash. */
function pathOf(points, x, y, step) {
  let path = "",
    before = null;
  points.forEach(([at, value], index) => {
    if (!Number.isFinite(value)) return (before = null);
    const joined = before !== null && at - before <= step * 1.5,
      next = points[index + 1];
    path += `${joined ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    if (!joined && !(next && next[0] - at <= step * 1.5)) path += "h3";
    before = at;
  });
  return path;
}

/** A diamond at its value, or on the ground when that is off the chart. */
function markOf({ at, value, href, label }, { x, y, base }) {
  const height = y(value),
    middle = height > 4 && height < base ? height : base;
  return svg(
    "a",
    { href, class: "mark", "aria-label": label },
    svg("title", {}, label),
    svg("path", { d: `M${x(at).toFixed(1)} ${(middle - 6).toFixed(1)}l6 6-6 6-6-6z` }),
  );
}

function valuesAt(at, series, unit) {
  const rows = series
    .map((one) => [one, one.points.find(([when]) => when === at)?.[1]])
    .filter(([, value]) => Number.isFinite(value))
    .sort((a, b) => b[1] - a[1]);
  const lines = rows
    .slice(0, 10)
    .map(([one, value]) => h("div", {}, h("i", { class: "dot", vars: { "--c": one.colour } }), h("span", {}, one.name), h("b", {}, quantity(value, unit))));
  return [
    h("span", { class: "muted" }, clock(at, false)),
    ...lines,
    ...(rows.length > 10 ? [h("span", { class: "muted" }, `and ${rows.length - 10} more`)] : []),
  ];
}

function legend(all, unit, draw) {
  return h(
    "ul",
    { class: "legend", "aria-label": "Lines" },
    ...all.map((one) => {
      const last = one.points.findLast(([, value]) => Number.isFinite(value))?.[1];
      const toggle = button(
        h("i", { class: "dot", vars: { "--c": one.colour } }),
        () => {
          one.on = !one.on;
          toggle.setAttribute("aria-pressed", String(one.on));
          draw();
        },
        { "aria-pressed": "true" },
      );
      toggle.append(h("span", {}, one.name), h("b", {}, quantity(last ?? NaN, unit)));
      return h("li", {}, toggle);
    }),
  );
}
