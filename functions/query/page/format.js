// Numbers, times and text for people. Pure.

export const textOf = (value) => (typeof value === "string" ? value : value == null ? "" : JSON.stringify(value));
export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1).replace(/[.\s]*$/, "") + "." : "");
export const plural = (number, one, many = `${one}s`) => `${number.toLocaleString()} ${number === 1 ? one : many}`;
export const quoted = (text) => `"${text.replace(/["\\]/g, "\\$&").replace(/\n/g, "\\n")}"`;

const two = (number) => String(number).padStart(2, "0");

/** Local time, always of the same width. */
export function clock(milliseconds, precise = true) {
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return "–";
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${time}${precise ? "." + String(date.getMilliseconds()).padStart(3, "0") : ""}`;
}

export function axisTime(milliseconds, span) {
  const date = new Date(milliseconds),
    time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (span > 2 * 86400e3) {
    const day = date.toLocaleDateString(undefined, { month: "short", day: "numeric" });
    return span > 8 * 86400e3 ? day : `${day} ${time}`;
  }
  return span < 600e3 ? `${time}:${two(date.getSeconds())}` : time;
}

export function duration(nanoseconds) {
  if (nanoseconds === 0) return "0";
  if (nanoseconds < 1e3) return `${nanoseconds} ns`;
  if (nanoseconds < 1e6) return `${short(nanoseconds / 1e3)} µs`;
  if (nanoseconds < 1e9) return `${short(nanoseconds / 1e6)} ms`;
  return nanoseconds < 60e9 ? `${short(nanoseconds / 1e9)} s` : `${Math.floor(nanoseconds / 60e9)} min ${Math.round((nanoseconds % 60e9) / 1e9)} s`;
}

export const short = (number) => (number >= 100 ? Math.round(number) : Number(number.toPrecision(3))).toString();

/** A value with its unit: "B" in powers of 1024, "s" down to nanoseconds, "%" of a ratio, anything else in powers of 1000. */
export function quantity(value, unit = "") {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : String(value);
  if (unit === "%") return `${Number((value * 100).toPrecision(3))} %`;
  if (unit === "s" && value !== 0 && Math.abs(value) < 1) return `${value < 0 ? "-" : ""}${duration(Math.abs(value) * 1e9)}`;
  const [base, names] = unit === "B" ? [1024, ["", "Ki", "Mi", "Gi", "Ti"]] : [1000, ["", "k", "M", "G", "T"]];
  let scaled = Math.abs(value),
    step = 0;
  while (scaled >= base && step < names.length - 1) [scaled, step] = [scaled / base, step + 1];
  const text = scaled === 0 ? "0" : scaled < 0.001 ? scaled.toExponential(1) : short(scaled);
  return `${value < 0 ? "-" : ""}${text}${names[step] || unit ? " " : ""}${names[step]}${unit}`;
}

/** An axis from at or below `low` to at or above `high` with round steps: {bottom, top, ticks}. */
export function scaleOf(low, high, count, unit = "") {
  const scale = unit === "B" ? 1024 ** Math.max(0, Math.floor(Math.log(high - low) / Math.log(1024))) : 1;
  const rough = (high - low) / scale / count || 1,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough * 0.999) * scale;
  const bottom = Math.floor(low / step) * step,
    top = Math.ceil((high - step * 1e-6) / step) * step;
  return { bottom, top, ticks: Array.from({ length: Math.round((top - bottom) / step) + 1 }, (_, index) => Number((bottom + index * step).toPrecision(12))) };
}

const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000];

/** The smallest round time step, in ms, of which at most `count` are in `span`. */
export const timeStep = (span, count) => (SECONDS.find((seconds) => span / (seconds * 1e3) <= count) ?? SECONDS.at(-1)) * 1e3;
