/** Tables put together: rows, heads and cells. */

import { make } from "./elements.js";

/**
 * Return a table.
 *
 * @param {string} kind class of the table.
 * @param {string | Node} caption a text is for screen readers only.
 * @param {HTMLElement | null} head its first row.
 * @param {HTMLElement[]} rows
 */
export function layTable(kind, caption, head, rows) {
  const table = make("table", { class: kind });
  table.append(typeof caption === "string" ? make("caption", { class: "unseen" }, caption) : caption);
  if (head) table.append(make("thead", {}, head));
  table.append(make("tbody", {}, ...rows));
  return table;
}

/** Return a row of cells. */
export function layRow(...cells) {
  return make("tr", {}, ...cells);
}

/** Return the head of a column. */
export function headColumn(kind, ...children) {
  return make("th", { scope: "col", class: kind }, ...children);
}

/** Return the head of a row. */
export function headRow(...children) {
  return make("th", { scope: "row" }, ...children);
}

/** Return a cell. */
export function layCell(kind, ...children) {
  return make("td", { class: kind }, ...children);
}

/** Return a figure with its interval beside it. */
export function layFigure(value, interval) {
  const figure = layCell("number", make("span", { class: "value" }, value));
  if (interval) figure.append(" ", make("span", { class: "interval" }, interval));
  return figure;
}
