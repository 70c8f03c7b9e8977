// A view's form: filled from the address, and its submission is the next address.
import { $, button, h, option } from "./dom.js";
import { RANGES, go, place, rangeOf, zoom } from "./address.js";
import { clock } from "./format.js";

// What fields show of a time, and of a text: no part of a second, and no line breaks.
const local = (milliseconds) => clock(milliseconds, false).replace(" ", "T");
const oneLine = (text) => text.replace(/[\r\n]+/g, " ");

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
    button("Zoom out", zoomOut, { class: "custom", hidden: true }),
  );
  form.addEventListener("submit", (event) => (event.preventDefault(), submit(view, more)));
  form.addEventListener("input", () => forgive(form));
  form.elements.range.addEventListener("change", () => {
    showTime(form);
    if (form.elements.range.value !== "custom") return submit(view, more);
    const time = rangeOf(place().given);
    [form.elements.from.value, form.elements.to.value] = [local(time.from), local(time.to)];
  });
  return form;
}

function submit(view, more) {
  const form = $(`${view}-form`),
    values = Object.fromEntries(new FormData(form)),
    { given } = place();
  // What still stands as the address says it keeps what its field can't show.
  for (const name of Object.keys(values)) if (values[name] === oneLine(given.get(name) ?? "")) values[name] = given.get(name) ?? "";
  if (values.range === "custom") {
    const time = momentsIn(form.elements, rangeOf(given));
    if (!time) return;
    Object.assign(values, time);
  } else (delete values.from, delete values.to);
  const next = more(values);
  if (next) go(view, next);
}

/** {from, to} in ms as the fields say, or as `shown` for those that haven't been changed; of what is no time the user is told, and there is none. */
function momentsIn(fields, shown) {
  const [from, to] = ["from", "to"].map((name) => {
    const at = Date.parse(fields[name].value);
    return local(at) === local(shown[name]) ? shown[name] : at;
  });
  if (!(from > 0)) return refuse(fields.from, "Say from when, after 1970");
  if (!(to > from)) return refuse(fields.to, to <= from ? "This must be after the time in From" : "Say until when");
  return { from, to };
}

/** Say at the field why the form isn't sent. Returns null. */
export function refuse(field, why) {
  field.setCustomValidity(why);
  field.reportValidity();
  return null;
}

/** The browser sends no form in which a field is refused: with the next input it is looked at anew. */
function forgive(form) {
  for (const field of form.elements) field.setCustomValidity("");
}

function zoomOut() {
  const { from, to } = rangeOf(place().given),
    half = (to - from) / 2;
  zoom(from - half, Math.min(to + half, Date.now()));
}

/** Fields as the address says, those without a value empty; radio buttons without one stay with their first. */
export function fill(view, given, time) {
  const form = $(`${view}-form`);
  forgive(form);
  for (const input of form.elements) {
    if (!input.name) continue;
    const value = given.get(input.name) ?? "";
    if (input.name === "range") input.value = time.range;
    else if (input.name === "from" || input.name === "to") input.value = time.fixed ? local(time[input.name]) : "";
    else if (input.type === "radio") input.checked = value ? input.value === value : input.defaultChecked;
    else if (input.type === "checkbox") input.checked = input.value === value;
    else if (input.tagName !== "SELECT") input.value = oneLine(value);
    else if ([...input.options].some((one) => one.value === value)) input.value = value;
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
