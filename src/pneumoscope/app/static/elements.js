/** Elements of the page, and values as text. All text enters as text, never as markup. */

/** The classes of a reading, in the order in which they are shown. */
export const CLASSES = ["normal", "bacterial", "viral", "pneumonia"];

const SHAPES = {
  normal: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z",
  bacterial: "M8 1.5l6.8 12.5H1.2z",
  viral: "M2.5 2.5h11v11h-11z",
  pneumonia: "M8 1l7 7-7 7-7-7z",
  "uncertain": "M2 6.5h12v3H2z",
};

/** Return the element of an id; a missing one is a defect of the page. */
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

/** Write a text only when it is new: a screen reader repeats a live region whenever it is written to. */
export function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

/** Show a message above the page, or none; `retry` offers to read again. */
export function showMessage(message, { retry = false } = {}) {
  byId("message-text").textContent = message;
  byId("message").hidden = !message;
  byId("retry").hidden = !retry;
}

/** Return the mark of a class: a shape and a color, so that neither is needed alone. */
export function makeMark(name) {
  const space = "http://www.w3.org/2000/svg";
  const mark = document.createElementNS(space, "svg");
  const shape = document.createElementNS(space, "path");
  shape.setAttribute("d", SHAPES[name] ?? SHAPES.pneumonia);
  mark.setAttribute("viewBox", "0 0 16 16");
  mark.setAttribute("class", `mark ${name.replace(" ", "-")}`);
  mark.setAttribute("aria-hidden", "true");
  mark.append(shape);
  return mark;
}

/** Order names by their numbers: image-2 before image-10. */
export const compareNames = new Intl.Collator("en", { numeric: true }).compare;

/** Return a word with a capital first letter. */
export function capitalize(word) {
  return word[0].toUpperCase() + word.slice(1);
}

/** Return a probability as a percentage, such as 0.974 as `97 %`; never a false 0 or 100. */
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

/** Offer a blob as a file to save. */
export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
