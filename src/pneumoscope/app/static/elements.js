/** Small pieces that several parts of the page put together. All text enters as text, never as markup. */

/**
 * Return the element of an id; a missing one is a fault of the page.
 *
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * Return a new element.
 *
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const SHAPES = {
  normal: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z",
  bacterial: "M8 1.5l6.8 12.5H1.2z",
  viral: "M2.5 2.5h11v11h-11z",
  pneumonia: "M8 1l7 7-7 7-7-7z",
  "not sure": "M2 6.5h12v3H2z",
};

/**
 * Return the mark of a class: a shape and a color, so that neither alone has to be told apart.
 *
 * @param {string} name of the class, or `pneumonia`.
 * @returns {SVGElement}
 */
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

const COLLATOR = new Intl.Collator("en", { numeric: true });

/** Order names as people do: film-2 before film-10. */
export const compareNames = COLLATOR.compare;

/** Return a name as it begins a line. */
export function capitalize(name) {
  return name[0].toUpperCase() + name.slice(1);
}

/** Return a probability as people say it: 0.974 as `97 %`, never a false 0 or 100. */
export function sayPercent(share) {
  const percent = 100 * share;
  if (percent > 0 && percent < 0.5) return "<1\u202f%";
  if (percent < 100 && percent > 99.5) return ">99\u202f%";
  return `${Math.round(percent)}\u202f%`;
}

/** Return a number with its two first digits that count, such as 0.0042. */
export function sayNumber(value) {
  return Number(value.toPrecision(2)).toLocaleString("en-US", { maximumFractionDigits: 6 });
}

/**
 * Give a file to the browser to keep.
 *
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
