/**
 * Light and dark theme; the default is the theme of the system.
 *
 * This script runs before the page is drawn, so that it does not flash in the other theme. The pages store only the
 * selected theme in the browser.
 */
"use strict";
(() => {
  const KEY = "pneumoscope-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  /** Use the local storage; browsers may forbid this, for example in a private window. */
  function withStorage(use) {
    try {
      return use(localStorage);
    } catch {
      return null;
    }
  }

  /** Set a theme; without one, that of the system. */
  function setTheme(theme) {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    const button = document.getElementById("theme");
    button?.setAttribute("aria-label", `Theme: ${theme ?? "as the system"}`);
    button?.setAttribute("title", `Theme: ${theme ?? "as the system"}`);
  }

  /** Switch from the theme of the system to the other one, then to the same one, then back to that of the system. */
  function switchTheme() {
    const [own, other] = system.matches ? ["dark", "light"] : ["light", "dark"];
    const next = { [other]: own, [own]: undefined };
    const theme = root.dataset.theme ? next[root.dataset.theme] : other;
    setTheme(theme);
    withStorage((storage) => (theme ? storage.setItem(KEY, theme) : storage.removeItem(KEY)));
    document.dispatchEvent(new CustomEvent("themechange"));
  }

  const chosen = withStorage((storage) => storage.getItem(KEY));
  const theme = ["light", "dark"].includes(chosen) ? chosen : undefined;
  setTheme(theme);
  document.addEventListener("DOMContentLoaded", () => {
    setTheme(theme);
    document.getElementById("theme")?.addEventListener("click", switchTheme);
  });
})();
