// The frame: which view the address names, keys, theme. A view is {show(visit)}; visit = {given, id, signal}, and the signal ends when the next place is shown.
import { $ } from "./dom.js";
import { linkTo, place, timeIn } from "./address.js";
import { trouble } from "./ask.js";
import * as logs from "./logs.js";
import * as metrics from "./metrics.js";
import * as operations from "./operations.js";
import * as send from "./send.js";
import * as session from "./session.js";
import * as tokens from "./tokens.js";
import * as trace from "./trace.js";
import * as traces from "./traces.js";
import * as usage from "./usage.js";

const VIEWS = { logs, metrics, traces, trace, usage, tokens, send, operations };
let visit = new AbortController();
let before = "";

async function render() {
  visit.abort();
  if ($("app").hidden) return;
  const mine = (visit = new AbortController()),
    { view, id, given } = place(),
    open = view === "traces" && id ? "trace" : view;
  for (const section of document.querySelectorAll("#main > section")) section.hidden = section.id !== open;
  for (const link of document.querySelectorAll("nav a")) {
    link.setAttribute("href", linkTo(link.dataset.view, timeIn(given)));
    link.dataset.view === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    if (link.dataset.view === view) link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.offsetLeft - 60;
  }
  document.title = `${open === "trace" ? "Trace " + id.slice(0, 8) : $(view).getAttribute("aria-label")} · Obstack`;
  if (before && before !== open) ($("main").focus({ preventScroll: true }), scrollTo(0, 0));
  before = open;
  $("main").classList.add("loading");
  $("main").setAttribute("aria-busy", "true");
  $("failed").replaceChildren();
  try {
    await VIEWS[open].show({ given, id, signal: mine.signal });
  } catch (error) {
    $("failed").replaceChildren(trouble(error, render));
  } finally {
    if (mine === visit) ($("main").classList.remove("loading"), $("main").removeAttribute("aria-busy"));
  }
}

const KEYS = {
  "/": () => document.querySelector("#main > section:not([hidden]) [data-search]")?.focus(),
  "?": () => $("keys").showModal(),
  ...Object.fromEntries(
    ["logs", "metrics", "traces", "usage", "tokens", "send"].map((view, index) => [
      String(index + 1),
      () => (location.hash = linkTo(view, timeIn(place().given))),
    ]),
  ),
};

addEventListener("keydown", (event) => {
  const writing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && !["radio", "checkbox"].includes(event.target.type);
  if (event.ctrlKey || event.metaKey || event.altKey || $("app").hidden || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return closeNearest(event.target);
  if (writing || !$("single-keys").checked || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});

/** Close the record, span or panel that the focus is in; out of a field, leave it. */
function closeNearest(target) {
  const open = target.closest("details[open]");
  if (open) ((open.open = false), open.querySelector("summary").focus());
  else target.blur();
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  remember("obstack-theme", theme);
}

/** Keep a setting in this browser; without storage it holds for this visit. */
function remember(name, value) {
  try {
    value ? localStorage.setItem(name, value) : localStorage.removeItem(name);
  } catch {
    /* storage may be forbidden */
  }
}

function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

$("theme").value = document.documentElement.dataset.theme ?? "";
$("theme").addEventListener("change", (event) => setTheme(event.target.value));
// Keys without Ctrl can be turned off: whoever speaks to his computer would press them with every word (WCAG 2.1, 2.1.4).
$("single-keys").checked = remembered("obstack-keys") !== "off";
$("single-keys").addEventListener("change", (event) => remember("obstack-keys", event.target.checked ? "" : "off"));
$("show-keys").addEventListener("click", () => $("keys").showModal());
for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
addEventListener("hashchange", render);
addEventListener("again", render);
addEventListener("signed-out", () => visit.abort());
session.start();
