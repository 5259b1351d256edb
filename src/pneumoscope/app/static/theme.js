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

  function toggle() {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
    root.dataset.theme = isDark ? "light" : "dark";
    withStorage((storage) => storage.setItem(KEY, root.dataset.theme));
    document.dispatchEvent(new CustomEvent("themechange"));
  }

  const chosen = withStorage((storage) => storage.getItem(KEY));
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme")?.addEventListener("click", toggle);
  });
})();
