/** Confusion matrices and the table of every figure, as the study measured them. */

import { make } from "./elements.js";

const SPLITS = { val: "Validation", test: "Test" };

/**
 * Return the confusion matrices of a net; counts off the diagonal lead to their images.
 *
 * @param {object} net
 * @param {(split: string, truth: string, decision: string) => void} onOpen
 */
export function layMatrices(net, onOpen) {
  return Object.entries(SPLITS).flatMap(([split, title]) => {
    const found = net.evaluations[split];
    return found ? [layMatrix(net.classes, found, { split, title, onOpen })] : [];
  });
}

function layMatrix(classes, { confusion, metrics }, { split, title, onOpen }) {
  const head = make("tr", {}, make("td", { class: "soft small" }, "truth ↓ read as →"), ...classes.map((name) => make("th", { scope: "col" }, name)), make("th", { scope: "col", class: "soft" }, "all"));
  const rows = confusion.map((counts, truth) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    const cells = counts.map((count, decision) => {
      const share = total ? count / total : 0;
      const cell = make("td", { class: truth === decision ? "hit" : "miss" });
      cell.style.setProperty("--share", String(share));
      const text = [make("b", { class: "number" }, String(count)), make("small", { class: "number" }, `${(100 * share).toFixed(1)}%`)];
      if (truth === decision || !count) cell.append(...text);
      else {
        const button = make("button", { type: "button", "aria-label": `Show the ${count} ${title.toLowerCase()} images of ${classes[truth]} read as ${classes[decision]}` }, ...text);
        button.addEventListener("click", () => onOpen(split, classes[truth], classes[decision]));
        cell.append(button);
      }
      return cell;
    });
    return make("tr", {}, make("th", { scope: "row" }, classes[truth]), ...cells, make("td", { class: "number soft" }, String(total)));
  });
  const { accuracy } = metrics;
  const said = accuracy ? `Accuracy ${(100 * accuracy.value).toFixed(1)}%${accuracy.low === null ? "" : ` [${(100 * accuracy.low).toFixed(1)}, ${(100 * accuracy.high).toFixed(1)}]`} of ${accuracy.n} images.` : "";
  const table = make("table", { class: "matrix" }, make("caption", {}, make("b", {}, title), " ", make("span", { class: "soft" }, said)), make("thead", {}, head), make("tbody", {}, ...rows));
  return scrollable(table, `Confusion matrix, ${title.toLowerCase()}`);
}

/**
 * Return the tables of figures, one a task, those of the net that is looked at opened.
 *
 * @param {object[]} tables
 */
export function layTables(tables) {
  return tables.map(({ task, title, columns, rows }, place) => {
    const head = make("tr", {}, make("th", { scope: "col" }, "Measure"), ...columns.map(({ profile, split }) => make("th", { scope: "col", class: "number" }, profile, make("small", {}, split))));
    const lines = rows.map((row) => make("tr", {}, make("th", { scope: "row" }, row.title), ...row.cells.map(({ value, interval }) => make("td", { class: "number" }, make("span", { class: "value" }, value), interval ? make("span", { class: "interval" }, interval) : ""))));
    const table = make("table", { class: "measures" }, make("caption", { class: "unseen" }, `${title}, with 95% intervals`), make("thead", {}, head), make("tbody", {}, ...lines));
    const details = make("details", { "data-task": task }, make("summary", {}, title), scrollable(table, title));
    details.open = place === 0;
    return details;
  });
}

function scrollable(table, label) {
  return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, table);
}
