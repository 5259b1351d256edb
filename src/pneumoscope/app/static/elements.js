/** Elements of the page and formatting of values. Text is never inserted as markup. */

import { SHAPES } from "./map.js";

const MINUS = [[-1, -0.3], [1, -0.3], [1, 0.3], [-1, 0.3]];

/**
 * The classes of the models, as `/api/models` describes them: `label_set`, `scored`, `positive`, `styles`, and the `columns`
 * of a table. Empty until they are loaded.
 */
export const labels = { label_set: { classes: [], groups: {} }, scored: [], positive: null, styles: {}, columns: [] };

/** Return whether a prediction has probabilities. */
export function isScored(row) {
  return Object.keys(row?.intervals ?? {}).length > 0;
}

/** Return the probability of the positive class; without one, that of the most probable class. */
export function getProbability(row) {
  if (!isScored(row)) return null;
  const names = labels.positive ? [labels.positive] : labels.label_set.classes;
  return Math.max(...names.map((name) => row[`p_${name}`]));
}

/** Return a decision as a title; several findings are separated by commas. */
export function nameDecision(decision) {
  return capitalize(decision.replaceAll("|", ", "));
}

/** Return the element with an id; throw if there is none. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** Return a new element with attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Return an image that is marked as loading until it is shown; `fallback` replaces it if it cannot be loaded. */
export function makeImage(attributes, fallback) {
  const image = make("img", { class: "loading", ...attributes });
  image.addEventListener("load", () => image.classList.remove("loading"));
  image.addEventListener("error", () => image.replaceWith(make("p", { class: "missing small soft" }, fallback)));
  return image;
}

/** Set a text if it differs: screen readers repeat a live region at every change. */
export function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

/** Show a message at the top of the page, or hide it if empty; `retry` shows the button “Try again”. */
export function showMessage(message, { retry = false } = {}) {
  byId("message-text").textContent = message;
  byId("message").hidden = !message;
  byId("retry").hidden = !retry;
}

/** Return the mark of a class, with a shape and a color of its own; of several findings, that of the first. */
export function makeMark(name) {
  const space = "http://www.w3.org/2000/svg";
  const mark = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  const [color, shape] = getStyle(name);
  const corners = (name === "uncertain" ? MINUS : SHAPES[shape]).map((corner) => corner.map((value) => 8 + 6.5 * value));
  path.setAttribute("d", `M${corners.map((corner) => corner.map((value) => value.toFixed(1))).join("L")}Z`);
  mark.setAttribute("viewBox", "0 0 16 16");
  mark.setAttribute("class", "mark");
  mark.setAttribute("aria-hidden", "true");
  mark.style.setProperty("--color", color);
  mark.append(path);
  return mark;
}

/** Return color and shape of a class; of several findings, those of the first. */
export function getStyle(name) {
  return labels.styles[name.split("|")[0]] ?? [name === "uncertain" ? "var(--warn-line)" : "var(--soft)", "X"];
}

/** Compare names with numbers in numeric order: image-2 before image-10. */
export const compareNames = new Intl.Collator("en", { numeric: true }).compare;

/** Return a word with a capital first letter. */
export function capitalize(word) {
  return word[0].toUpperCase() + word.slice(1);
}

/** Return a probability as a percentage, such as `97 %` for 0.974; values near 0 and 1 become `<1 %` and `>99 %`. */
export function formatPercent(share) {
  const percent = 100 * share;
  if (percent > 0 && percent < 0.5) return "<1\u202f%";
  if (percent < 100 && percent > 99.5) return ">99\u202f%";
  return `${Math.round(percent)}\u202f%`;
}

/** Return a number with two significant digits, such as 0.0042. */
export function formatNumber(value) {
  return Number(value.toPrecision(2)).toLocaleString("en-US", { maximumFractionDigits: 6 });
}

/** Download a blob as a file. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
