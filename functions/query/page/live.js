// A view that is drawn anew while it is looked at.
const EVERY_MS = 10_000;

/** Call `draw` now and then until `signal` ends; not while nobody sees the page, and not while somebody reads values off `chart`. */
export function keepFresh(chart, signal, draw) {
  const again = async () => {
    if (document.visibilityState === "visible" && !chart.matches(":hover, :focus-within")) await draw();
    if (!signal.aborted) timer = setTimeout(again, EVERY_MS);
  };
  let timer = setTimeout(again, EVERY_MS);
  signal.addEventListener("abort", () => clearTimeout(timer));
}
