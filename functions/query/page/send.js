// Send your data: snippets for clients, and whether anything has come yet.
import { $, copyButton, h } from "./dom.js";
import { ask } from "./ask.js";
import { clock } from "./format.js";
import { snippets } from "./snippets.js";
import { secret } from "./tokens.js";

const LOOK_MS = 5000,
  RECENT_MS = 900e3;

/** Has anything of a signal come in the last 15 minutes? */
const SIGNALS = {
  logs: { name: "Logs", some: (from, signal) => ask("/query/api/logs/search", { from, size: 1 }, signal).then((found) => found.hits.length > 0) },
  metrics: {
    name: "Metrics",
    some: (from, signal) =>
      ask("/query/prometheus/api/v1/label/__name__/values", { start: from / 1e3, end: Date.now() / 1e3 + 60, limit: 1 }, signal).then(
        (found) => found.data.length > 0,
      ),
  },
  traces: {
    name: "Traces",
    some: (from, signal) =>
      ask("/query/tempo/api/search", { start: Math.floor(from / 1e3), end: Math.ceil(Date.now() / 1e3) + 60, limit: 1 }, signal).then(
        (found) => (found.traces ?? []).length > 0,
      ),
  },
};

export async function show({ signal }) {
  const token = secret();
  $("send-token").replaceChildren(
    ...(token
      ? ["The token you have just made is filled in. It is gone from here when you leave this page."]
      : ["Put a token in place of obs_…: ", h("a", { href: "#/tokens" }, "make one"), "."]),
  );
  $("send-snippets").replaceChildren(
    ...snippets(location.origin, location.hostname, token).map(({ id, title, text, notes }) =>
      h(
        "section",
        { class: "card snippet", "aria-labelledby": `snippet-${id}` },
        h("div", { class: "row" }, h("h2", { id: `snippet-${id}` }, title), copyButton(text, "Copy", { "aria-label": `Copy the snippet for ${title}` })),
        h("p", { class: "muted" }, notes),
        h("pre", { tabindex: 0, "data-snippet": id, "aria-label": `Snippet for ${title}` }, text),
      ),
    ),
  );
  $("send-waiting").replaceChildren(
    ...Object.entries(SIGNALS).map(([id, { name }]) => h("li", { id: `arrived-${id}` }, `${name}: waiting for your first data…`)),
  );
  await look(new Set(Object.keys(SIGNALS)), signal);
}

async function look(missing, signal) {
  await Promise.all(
    [...missing].map(async (id) => {
      const row = $(`arrived-${id}`),
        { name, some } = SIGNALS[id];
      try {
        if (document.visibilityState === "hidden" || !(await some(Math.round(Date.now() - RECENT_MS), signal))) return;
        missing.delete(id);
        row.classList.add("arrived");
        row.replaceChildren(
          `✓ ${name} are arriving (seen ${clock(Date.now(), false).slice(11)}) `,
          h("a", { href: `#/${id}` }, `Look at your ${name.toLowerCase()}`),
        );
      } catch (error) {
        if (!signal.aborted) row.textContent = `${name}: can't be looked at now, trying again…`;
      }
    }),
  );
  if (!missing.size || signal.aborted) return;
  const timer = setTimeout(() => look(missing, signal), LOOK_MS);
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
}
