// Elements. Everything that comes from the backends is hostile text: it only ever becomes a text node or a checked number, never HTML, an address or a style.

export const $ = (id) => document.getElementById(id);

/** An element; `on…` are listeners, `vars` custom properties for the style sheet, strings become text nodes, null and false are left out. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "vars") for (const [key, given] of Object.entries(value)) element.style.setProperty(key, given);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null && child !== false && child !== ""));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const button = (text, onclick, props = {}) => h("button", { type: "button", onclick, ...props }, text);
export const option = (value, text = value) => h("option", { value }, text);

export function notice(title, text, ...more) {
  return h("div", { class: "notice" }, h("h2", {}, title), text && h("p", {}, text), ...more);
}

/** Said by screen readers, shown for a moment to everybody. */
export function announce(text) {
  const said = h("p", {}, text);
  $("said").replaceChildren(said);
  setTimeout(() => said.remove(), 4000);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // a page over plain HTTP has no clipboard
    const area = h("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return announce("Your browser doesn't let this page copy: select the text and copy it yourself");
  }
  announce("Copied");
}

export const copyButton = (text, label = "Copy", props = {}) => button(label, () => copy(text), props);

/** Name and value as a definition; `actions` are small buttons at its end. */
export const pair = (name, value, ...actions) => [
  h("dt", {}, name),
  h("dd", {}, h("span", {}, value), actions.length ? h("span", { class: "acts" }, ...actions) : null),
];

export function table(caption, head, rows, numbers = []) {
  const side = (index) => (numbers.includes(index) ? "number" : null);
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, ...head.map((text, index) => h("th", { scope: "col", class: side(index) }, text)))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell, index) => h("td", { class: side(index) }, cell))))),
    ),
  );
}

/** A chart's numbers for whoever can't see it; made when it is opened. `make` gives what `table` takes. */
export function asTable(make) {
  const details = h("details", { class: "as-table" }, h("summary", {}, "Show as a table"));
  details.addEventListener("toggle", () => details.children.length === 1 && details.append(table(...make())), { once: true });
  return details;
}
