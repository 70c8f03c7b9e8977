// Tokens: which there are, and for administrators to make, rotate and revoke them. A secret is kept in memory alone, until the page is left.
import { $, announce, button, copyButton, h, notice, table } from "./dom.js";
import { change } from "./address.js";
import { ask, send, trouble } from "./ask.js";
import { clock, sentence } from "./format.js";
import { isAdmin } from "./session.js";

const PATH = "/query/api/tokens",
  STATES = { active: "Active", expired: "Expired", revoked: "Revoked" };

let made = null;

/** The secret made last in this visit, to be put into snippets; null without. */
export const secret = () => made?.token ?? null;

export async function show({ signal }) {
  $("token-create").hidden = !isAdmin();
  $("token-viewer").hidden = isAdmin();
  showSecret();
  try {
    const { tokens } = await ask(PATH, {}, signal),
      old = tokens.filter((token) => token.state !== "active"),
      live = tokens.filter((token) => token.state === "active");
    $("token-list").replaceChildren(
      live.length
        ? list("Active tokens", live)
        : notice(
            "No active token",
            isAdmin() ? "Make one above: whatever sends or reads without a browser needs it." : "Ask an administrator of your tenant to make one.",
          ),
      old.length ? h("details", { class: "as-table" }, h("summary", {}, `Expired and revoked (${old.length})`), list("Expired and revoked tokens", old)) : "",
    );
  } catch (error) {
    $("token-list").replaceChildren(trouble(error, () => change({})));
  }
}

function list(caption, tokens) {
  const time = (text, otherwise) => (text ? clock(Date.parse(text), false).slice(0, 16) : otherwise),
    acts = isAdmin() && tokens.some((token) => token.state === "active");
  const actions = (token) =>
    token.state === "active"
      ? h(
          "span",
          { class: "row" },
          button("Rotate", () => rotate(token), { "aria-label": `Rotate ${token.name}` }),
          button("Revoke", () => revoke(token), { class: "danger", "aria-label": `Revoke ${token.name}` }),
        )
      : "";
  const rows = tokens.map((token) => [
    h("b", {}, token.name),
    h("code", {}, `${token.hint}…`),
    h("span", { class: `state ${token.state}` }, STATES[token.state] ?? token.state),
    token.scopes.join(", "),
    time(token.created_at, "–"),
    time(token.expires_at, "Never"),
    time(token.last_used_at, "Never"),
    ...(acts ? [actions(token)] : []),
  ]);
  return table(caption, ["Name", "Begins with", "State", "May", "Created", "Expires", "Last used", ...(acts ? ["Actions"] : [])], rows);
}

function showSecret() {
  $("token-made").replaceChildren(
    made
      ? h(
          "div",
          { class: "card made", role: "status" },
          h("h2", {}, `The secret of ${made.name}`),
          h("p", {}, "Keep it now: it is shown this once, and nobody can read it again."),
          h(
            "div",
            { class: "row" },
            h("code", { id: "token-secret" }, made.token),
            copyButton(made.token, "Copy the secret", { class: "primary" }),
            h("a", { class: "button", href: "#/send" }, "Send data with it"),
            button("I have kept it", () => ((made = null), showSecret())),
          ),
        )
      : "",
  );
}

/** Ask in a dialog; `ask(dialog's form values)` is called on yes, and its failure is shown in the dialog. */
function confirm(title, text, yes, fields, act) {
  const dialog = $("confirm"),
    failed = h("p", { class: "error-text", role: "alert" });
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id: "confirm-title" }, title),
    h("p", {}, text),
    ...fields,
    failed,
    h(
      "div",
      { class: "row end" },
      button("Cancel", () => dialog.close()),
      h("button", { class: "primary", type: "submit", id: "confirm-yes" }, yes),
    ),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    $("confirm-yes").disabled = true;
    try {
      await act(Object.fromEntries(new FormData(form)));
      dialog.close();
      change({});
      $("main").focus({ preventScroll: true }); // the button that opened the dialog goes with its row
    } catch (error) {
      failed.textContent = sentence(error.message);
      $("confirm-yes").disabled = false;
    }
  });
  dialog.replaceChildren(form);
  dialog.showModal();
}

function rotate(token) {
  const grace = h(
    "select",
    { id: "confirm-grace", name: "grace" },
    ...[
      ["1h", "an hour"],
      ["1d", "a day"],
      ["7d", "a week"],
      ["30d", "30 days"],
    ].map(([value, text]) => h("option", { value, selected: value === "1d" }, text)),
  );
  confirm(
    `Rotate ${token.name}?`,
    "A new secret with the same scopes takes its place. The old one stays good for a while, so that you can change it everywhere.",
    "Rotate",
    [h("label", { for: "confirm-grace" }, "The old one stays good for"), grace],
    async (values) => {
      made = await send("POST", `${PATH}/${encodeURIComponent(token.id)}/rotate`, values);
    },
  );
}

function revoke(token) {
  confirm(`Revoke ${token.name}?`, `Whatever uses ${token.hint}… is refused within 30 seconds. This can't be undone.`, "Revoke", [], async () => {
    await send("DELETE", `${PATH}/${encodeURIComponent(token.id)}`);
    if (made?.id === token.id) made = null;
    announce(`${token.name} is revoked`);
  });
}

$("token-create").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target,
    given = new FormData(form),
    expires = given.get("expires_in");
  $("token-error").textContent = "";
  try {
    made = await send("POST", PATH, { name: given.get("name"), scopes: given.getAll("scopes"), ...(expires ? { expires_in: expires } : {}) });
    form.reset();
    change({});
    $("token-made").scrollIntoView({ block: "nearest" });
  } catch (error) {
    $("token-error").textContent = sentence(error.message);
  }
});
