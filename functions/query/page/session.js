// Log in, log out, and who is here.
import { $ } from "./dom.js";
import { ask, send } from "./ask.js";
import { sentence } from "./format.js";

let user = null;

// The cookie is all tabs': who comes or goes in one of them does so in the others. A message is the user who has come, null for nobody.
const tabs = new BroadcastChannel("obstack-session");
const isOther = (found) => found?.email !== user?.email || found?.tenant.id !== user?.tenant.id;

/** Whether this user may change what belongs to the tenant; the function decides it again for itself. */
export const isAdmin = () => !user?.roles || user.roles.includes("admin");

export function start() {
  $("login-form").addEventListener("submit", logIn);
  $("logout").addEventListener("click", () => logOut());
  $("logout-everywhere").addEventListener("click", () => logOut({ everywhere: true }));
  addEventListener("pageshow", (event) => event.persisted && location.reload()); // Back, after logging out, asks again who is here
  addEventListener("signed-out", (event) => showLogin(event.detail));
  tabs.addEventListener("message", ({ data }) => (isOther(data) ? location.reload() : data && $("app").hidden && welcome(data)));
  ask("/query/api/me").then(welcome, (error) => error.status === 401 || showLogin(sentence(error.message)));
}

async function logIn(event) {
  event.preventDefault();
  const submit = event.target.querySelector("button");
  submit.disabled = true;
  $("login-error").textContent = "";
  try {
    const found = await send("POST", "/query/api/login", { email: $("email").value, password: $("password").value });
    $("password").value = "";
    tabs.postMessage(found);
    if (user && isOther(found)) return location.reload(); // nothing of the user before may stay
    welcome(found);
  } catch (error) {
    $("login-error").textContent = sentence(error.message);
    $("password").focus();
  } finally {
    submit.disabled = false;
  }
}

async function logOut(body) {
  try {
    await send("POST", "/query/api/logout", body);
  } catch (error) {
    // Who leaves everywhere must know when the others stayed.
    if (body?.everywhere && error.status !== 401) return showLogin(`${sentence(error.message)} You may still be logged in elsewhere: log in and try again.`);
  } finally {
    tabs.postMessage(null);
  }
  location.replace(location.pathname); // what was read is gone with the page
}

function welcome(found) {
  user = found;
  $("tenant").textContent = user.tenant.name;
  $("tenant").title = `Tenant ${user.tenant.id}`;
  $("who-email").textContent = user.email;
  $("operations-link").hidden = !user.operator;
  $("login").hidden = true;
  $("app").hidden = false;
  dispatchEvent(new Event("again"));
}

function showLogin(message) {
  $("app").hidden = true;
  $("login").hidden = false;
  $("login-error").textContent = message;
  document.title = "Log in · Obstack";
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("email").focus();
}
