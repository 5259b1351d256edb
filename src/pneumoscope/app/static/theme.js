/**
 * Light, dark, or as the system has it.
 *
 * Loaded before the page is drawn, so that a chosen theme never flashes in the other one. The choice is the only
 * thing that any page of this program keeps in the browser.
 */
"use strict";
(() => {
  const KEY = "pneumoscope-theme";
  const root = document.documentElement;

  /** Return what was chosen before, or null; a browser may forbid to ask. */
  function recall() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  }

  /** Keep a choice for the next visit, where the browser lets us. */
  function keep(theme) {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // A private window: the choice lasts as long as the page.
    }
  }

  /** Whether the page is dark now. */
  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  /** Turn to the other theme and tell who draws on a canvas. */
  function toggle() {
    root.dataset.theme = isDark() ? "light" : "dark";
    keep(root.dataset.theme);
    announce();
  }

  function announce() {
    document.dispatchEvent(new CustomEvent("themechange"));
  }

  const chosen = recall();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announce);
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme")?.addEventListener("click", toggle);
  });
})();
