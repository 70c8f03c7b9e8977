// A view's form: filled from the address, and its submission is the next address.
import { $, button, h, option } from "./dom.js";
import { RANGES, go, place, rangeOf } from "./address.js";
import { clock } from "./format.js";

const local = (milliseconds) => clock(milliseconds, false).replace(" ", "T");

/** Give the view's form its time fields and let it lead to `#/view?fields`. `more`: what isn't a field, given the fields. */
export function wire(view, more = (values) => values) {
  const form = $(`${view}-form`),
    field = (name, text, input, props = {}) => h("div", { class: "field", ...props }, h("label", { for: `${view}-${name}` }, text), input);
  const moment = (name, text) =>
    field(name, text, h("input", { id: `${view}-${name}`, name, type: "datetime-local", step: 1 }), { class: "field custom", hidden: true });
  form.querySelector(".time").replaceWith(
    field(
      "range",
      "Time",
      h(
        "select",
        { id: `${view}-range`, name: "range" },
        ...Object.entries(RANGES).map(([value, [text]]) => option(value, text)),
        option("custom", "From … to …"),
      ),
    ),
    moment("from", "From"),
    moment("to", "To"),
    button("Zoom out", () => zoomOut(view), { class: "custom", hidden: true }),
  );
  form.addEventListener("submit", (event) => (event.preventDefault(), submit(view, more)));
  form.elements.range.addEventListener("change", () => {
    showTime(form);
    if (form.elements.range.value !== "custom") return submit(view, more);
    const time = rangeOf(place().given);
    [form.elements.from.value, form.elements.to.value] = [local(time.from), local(time.to)];
  });
  return form;
}

function submit(view, more) {
  const values = Object.fromEntries(new FormData($(`${view}-form`)));
  if (values.range === "custom") Object.assign(values, { from: Date.parse(values.from) || "", to: Date.parse(values.to) || "" });
  else (delete values.from, delete values.to);
  const next = more(values);
  if (next) go(view, next);
}

function zoomOut(view) {
  const { given } = place(),
    { from, to } = rangeOf(given),
    all = Object.fromEntries([...given.keys()].map((name) => [name, given.getAll(name)]));
  go(view, { ...all, range: "custom", from: Math.round(from - (to - from) / 2), to: Math.round(Math.min(to + (to - from) / 2, Date.now())) });
}

/** Fields as the address says, those without a value empty; radio buttons without one stay with their first. */
export function fill(view, given, time) {
  const form = $(`${view}-form`);
  for (const input of form.elements) {
    if (!input.name) continue;
    const value = given.get(input.name) ?? "";
    if (input.name === "range") input.value = time.range;
    else if (input.name === "from" || input.name === "to") input.value = time.fixed ? local(time[input.name]) : "";
    else if (input.type === "radio") input.checked = value ? input.value === value : input.defaultChecked;
    else if (input.type === "checkbox") input.checked = input.value === value;
    else if (input.tagName !== "SELECT" || [...input.options].some((one) => one.value === value)) input.value = value;
  }
  showTime(form);
}

function showTime(form) {
  for (const field of form.querySelectorAll(".custom")) field.hidden = form.elements.range.value !== "custom";
}

/** A select's options anew, with the chosen one kept even when it is no longer among them. */
export function choices(select, values, chosen, first = null) {
  const all = chosen && !values.some(([value]) => value === chosen) ? [[chosen, chosen], ...values] : values;
  select.replaceChildren(...(first === null ? [] : [option("", first)]), ...all.map(([value, text]) => option(value, text)));
  select.value = chosen ?? "";
}

export const suggest = (list, values) => list.replaceChildren(...values.slice(0, 3000).map((value) => option(value)));
