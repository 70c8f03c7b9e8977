// Before the first paint, so that a chosen theme doesn't flash the other one; without a choice the system's setting decides (page.css).
try {
  const chosen = localStorage.getItem("obstack-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  /* storage may be forbidden */
}
