// Questions to our own origin, and what to say when the answer is none.
import { button, h } from "./dom.js";
import { sentence } from "./format.js";

// Of an address a gateway takes 8 KiB; a longer query goes as a form.
const MOST_IN_ADDRESS = 6000;

export class Trouble extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** JSON of a read; lists among the parameters are sent one by one, empty ones not at all. Throws Trouble; a 401 also ends in the log-in form. */
export function ask(path, parameters = {}, signal = null) {
  const pairs = Object.entries(parameters).flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one) => [name, one]));
  const query = new URLSearchParams(pairs.filter(([, value]) => value !== "" && value != null)),
    text = query.toString();
  const options = { headers: { accept: "application/json" }, signal };
  if (text.length > MOST_IN_ADDRESS && path.endsWith("/query_range")) return request(path, { ...options, method: "POST", body: query });
  return request(text ? `${path}?${text}` : path, options);
}

/** A change: JSON, so that no other site can send it. */
export function send(method, path, body = {}) {
  return request(path, { method, headers: { accept: "application/json", "content-type": "application/json" }, body: JSON.stringify(body) });
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("Obstack can't be reached. Check your connection, then try again", 0);
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const text = await response.text();
  let message = text.slice(0, 400);
  try {
    message = JSON.parse(text).error || message;
  } catch {
    /* a backend's plain text */
  }
  if (response.status === 401 && !path.endsWith("/login")) {
    dispatchEvent(new CustomEvent("signed-out", { detail: path.endsWith("/me") ? "" : "Your session has ended. Log in again to go on." }));
  }
  throw new Trouble(String(message) || `The answer was ${response.status}`, response.status);
}

const REMEDIES = {
  0: "",
  400: "Check what you wrote and try again.",
  403: "Ask whoever runs your Obstack account.",
  404: "Check the ID. Recent data takes a few seconds to arrive, and old data is deleted after its retention.",
  409: "",
  422: "Check the expression, or choose a shorter time range.",
  429: "Wait a moment, then try again.",
  503: "What you send in the meantime is kept and will be here. Try again in a minute.",
  504: "Choose a shorter time range or a narrower search.",
};

/** What went wrong and what to do; nothing where the log-in form takes over or nobody waits for it any more. */
export function trouble(error, retry = null) {
  if (error.name === "AbortError" || error.status === 401) return "";
  if (!(error instanceof Trouble)) console.error(error);
  const remedy =
    error instanceof Trouble ? (REMEDIES[error.status] ?? "Try again in a minute.") : "Load the page anew; if it comes again, tell whoever runs Obstack.";
  const title = error.status === 400 || error.status === 422 ? "That can't be read" : error.status === 404 ? "Not found" : "That didn't work";
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("h2", {}, title),
    h("p", {}, sentence(error.message)),
    remedy && h("p", {}, remedy),
    retry && button("Try again", retry),
  );
}
