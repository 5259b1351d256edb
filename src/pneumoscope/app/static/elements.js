/** Elements of the page and formatting of values. Text is never inserted as markup. */

/** The classes in display order. */
export const CLASSES = ["normal", "bacterial", "viral", "pneumonia"];

const SHAPES = {
  normal: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z",
  bacterial: "M8 1.5l6.8 12.5H1.2z",
  viral: "M2.5 2.5h11v11h-11z",
  pneumonia: "M8 1l7 7-7 7-7-7z",
  uncertain: "M2 6.5h12v3H2z",
};

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

/** Return the mark of a class, with a shape and a color of its own. */
export function makeMark(name) {
  const space = "http://www.w3.org/2000/svg";
  const mark = document.createElementNS(space, "svg");
  const shape = document.createElementNS(space, "path");
  shape.setAttribute("d", SHAPES[name] ?? SHAPES.pneumonia);
  mark.setAttribute("viewBox", "0 0 16 16");
  mark.setAttribute("class", `mark ${name}`);
  mark.setAttribute("aria-hidden", "true");
  mark.append(shape);
  return mark;
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
