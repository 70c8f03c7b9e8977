// Stacked bars over time: the histogram of logs, and usage.
import { asTable, h, svg } from "./dom.js";
import { KEYS, cursor, timeTicks } from "./axis.js";
import { clock, quantity, scaleOf } from "./format.js";

/**
 * Draw into `host`, anew whenever its width changes. `bars`: [[at in ms, value of each kind, …], …]; `kinds`: [{name, class}], from the bottom up;
 * `step` in ms; `label`: what the chart is; `onzoom(from, to)`.
 */
export function drawBars(host, { bars, kinds, from, to, step, unit = "", label, height = 110, onzoom }) {
  const plot = h("div", { class: "bars" }),
    sums = bars.map((bar) => bar.slice(1).reduce((a, b) => a + b, 0)),
    most = sums.reduce((a, b) => Math.max(a, b), 0);
  const texts = (bar) => kinds.map((kind, index) => [kind, bar[index + 1]]).filter(([, value]) => value > 0);
  const draw = () => {
    const width = plot.clientWidth;
    if (!width) return;
    const { top, ticks } = scaleOf(0, most || 1, height / 48, unit),
      base = height - 20;
    const left = 10 + Math.max(...ticks.map((tick) => quantity(tick, unit).length)) * 6.6,
      right = width - 2;
    const x = (at) => Math.min(right, Math.max(left, left + ((at - from) / (to - from || 1)) * (right - left))),
      y = (value) => base - (value / top) * (base - 8);
    const drawing = svg("svg", {
      viewBox: `0 0 ${width} ${height}`,
      height,
      role: "img",
      tabindex: 0,
      "aria-label": `${label}. ${KEYS}`,
    });
    for (const tick of ticks)
      drawing.append(
        svg("line", { x1: left, x2: right, y1: y(tick) + 0.5, y2: y(tick) + 0.5 }),
        svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, quantity(tick, unit)),
      );
    for (const [at, ...values] of bars) {
      const start = x(at),
        wide = Math.max(1.5, x(at + step) - start - 1.5);
      let place = base;
      values.forEach((value, index) => {
        const tall = value > 0 ? Math.max(1, base - y(value)) : 0;
        if (tall) drawing.append(svg("rect", { x: start, y: (place -= tall), width: wide, height: tall, class: `kind ${kinds[index].class}` }));
      });
    }
    timeTicks(drawing, { from, to, x, left, right, y: height - 4 });
    plot.replaceChildren(drawing);
    const middle = (at) => x(at + step / 2);
    cursor(
      plot,
      drawing,
      bars.map(([at]) => at),
      { left, right, base, width, from, to, x: middle },
      {
        tip: (index) => [
          h("span", { class: "muted" }, clock(bars[index][0], false)),
          ...texts(bars[index])
            .reverse()
            .map(([kind, value]) => h("div", {}, h("i", { class: `dot ${kind.class}` }), h("span", {}, kind.name), h("b", {}, quantity(value, unit)))),
        ],
        onzoom: (low, high) => onzoom?.(low, high + (bars.some(([at]) => at === high) ? step : 0)),
        click: (index) => onzoom?.(bars[index][0], bars[index][0] + step),
      },
    );
  };
  const opened = host.querySelector("details")?.open ?? false;
  const used = kinds.filter((_, index) => bars.some((bar) => bar[index + 1] > 0));
  host.replaceChildren(
    plot,
    h(
      "div",
      { class: "under" },
      h(
        "ul",
        { class: "key" },
        ...used.map((kind) =>
          h(
            "li",
            {},
            h("i", { class: `dot ${kind.class}` }),
            `${kind.name} ${quantity(
              bars.reduce((sum, bar) => sum + bar[kinds.indexOf(kind) + 1], 0),
              unit,
            )}`,
          ),
        ),
      ),
      asTable(() => [
        label,
        ["Time", ...used.map((kind) => kind.name)],
        bars.map(([at, ...values]) => [clock(at, false), ...used.map((kind) => quantity(values[kinds.indexOf(kind)], unit))]),
        used.map((_, index) => index + 1),
      ]),
    ),
  );
  host.querySelector("details").open = opened;
  new ResizeObserver(draw).observe(plot);
}
