// What line and bar charts share: ticks of time, a cursor for pointer and arrow keys, and a part of the time to zoom into.
import { h, svg } from "./dom.js";
import { axisTime, timeStep } from "./format.js";

export const COLOURS = ["#4c7ee8", "#d06f28", "#2a9a64", "#c9529a", "#8a63d2", "#178fa3", "#a5861f", "#d9483f", "#6f8296", "#6d8f30", "#a3623c", "#5566c9"];

export const READING = "Arrow keys read values.";
export const KEYS = "Arrow keys read values, Shift and arrow keys choose a part, Enter zooms in.";

export function timeTicks(drawing, { from, to, x, left, right, y }) {
  const step = timeStep(to - from, Math.max(2, (right - left) / 110)),
    zone = new Date(from).getTimezoneOffset() * 60e3;
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) {
    const place = x(at);
    drawing.append(svg("text", { x: place, y, "text-anchor": place < left + 30 ? "start" : place > right - 34 ? "end" : "middle" }, axisTime(at, to - from)));
  }
}

/**
 * Let a drawing be read and zoomed: the pointer or the arrow keys choose one of `times`, dragging or Shift with the arrow keys a part of the time.
 * `box`: {left, right, base, width, from, to, x}; `tip(index)` gives what to show there; `onzoom(from, to)` gets the part, without it none is chosen;
 * `click(index)` a click or Enter without one.
 */
export function cursor(host, drawing, times, box, { tip, onzoom, click }) {
  const line = svg("line", { class: "cross", y1: 4, y2: box.base }),
    band = svg("rect", { class: "band", y: 4, height: box.base - 4 });
  const shown = h("div", { class: "tip", role: "status" });
  let index = -1,
    start = null,
    end = null,
    dragging = false;
  const timeAt = (event) =>
    box.from +
    ((Math.min(box.right, Math.max(box.left, event.clientX - drawing.getBoundingClientRect().left)) - box.left) / (box.right - box.left)) * (box.to - box.from);
  const nearest = (at) => times.reduce((best, time, place) => (Math.abs(time - at) < Math.abs(times[best] - at) ? place : best), 0);
  const show = (next) => {
    if (!times.length) return;
    index = Math.min(times.length - 1, Math.max(0, next));
    const left = box.x(times[index]);
    line.setAttribute("x1", left);
    line.setAttribute("x2", left);
    drawing.append(line);
    shown.replaceChildren(...tip(index));
    host.append(shown);
    shown.style.left = left < box.width / 2 ? `${left + 14}px` : "auto";
    shown.style.right = left < box.width / 2 ? "auto" : `${box.width - left + 14}px`;
  };
  const mark = () => {
    if (!onzoom) return;
    const [low, high] = [Math.min(start, end), Math.max(start, end)].map(box.x);
    band.setAttribute("x", low);
    band.setAttribute("width", Math.max(0, high - low));
    drawing.append(band);
  };
  const forget = () => (([start, end, dragging] = [null, null, false]), band.remove());
  const hide = () => (line.remove(), shown.remove(), forget(), (index = -1));
  const choose = () => {
    const [low, high] = [Math.min(start, end), Math.max(start, end)],
      wide = start !== null && box.x(high) - box.x(low) > 5;
    forget();
    if (wide && onzoom) onzoom(low, high);
    else if (index >= 0) click?.(index);
  };
  drawing.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.closest("a")) return;
    drawing.setPointerCapture(event.pointerId);
    [start, end, dragging] = [timeAt(event), timeAt(event), true];
  });
  drawing.addEventListener("pointermove", (event) => {
    show(nearest(timeAt(event)));
    if (dragging) ((end = timeAt(event)), mark());
  });
  drawing.addEventListener("pointerup", () => dragging && choose());
  drawing.addEventListener("pointercancel", hide);
  drawing.addEventListener("pointerleave", () => dragging || document.activeElement === drawing || hide());
  drawing.addEventListener("blur", hide);
  drawing.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape" && index >= 0) return (event.stopPropagation(), hide());
    if (event.key === "Enter") return choose();
    if (move === undefined || !times.length) return;
    event.preventDefault();
    const before = times[Math.max(0, index)];
    show(index < 0 ? times.length - 1 : Number.isFinite(move) ? index + move : move < 0 ? 0 : times.length - 1);
    if (!event.shiftKey) return forget();
    start ??= before;
    end = times[index];
    mark();
  });
}
