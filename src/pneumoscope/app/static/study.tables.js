/** Confusion matrices and the table of every figure, as the study measured them. */

import { make } from "./elements.js";
import { headColumn, headRow, layCell, layFigure, layRow, layTable } from "./study.cells.js";
import { sayInterval, sayShare } from "./study.counts.js";

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
  const columns = classes.map((name) => headColumn("", name));
  const head = layRow(layCell("soft small", "truth ↓ read as →"), ...columns, headColumn("soft", "all"));
  const rows = confusion.map((counts, truth) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    const cells = counts.map((count, decision) => {
      const share = total ? count / total : 0;
      const cell = make("td", { class: truth === decision ? "hit" : "miss" });
      cell.style.setProperty("--share", String(share));
      const percent = `${(100 * share).toFixed(1)}%`;
      const text = [make("b", { class: "number" }, String(count)), make("small", { class: "number" }, percent)];
      if (truth === decision || !count) cell.append(...text);
      else {
        const images = `${count} ${title.toLowerCase()} images of ${classes[truth]} read as ${classes[decision]}`;
        const button = make("button", { type: "button", "aria-label": `Show the ${images}` }, ...text);
        button.addEventListener("click", () => onOpen(split, classes[truth], classes[decision]));
        cell.append(button);
      }
      return cell;
    });
    return layRow(headRow(classes[truth]), ...cells, layCell("number soft", String(total)));
  });
  const { accuracy } = metrics;
  const said = make("span", { class: "soft" }, sayAccuracy(accuracy));
  const caption = make("caption", {}, make("b", {}, title), " ", said);
  return scrollable(layTable("matrix", caption, head, rows), `Confusion matrix, ${title.toLowerCase()}`);
}

function sayAccuracy(accuracy) {
  if (!accuracy || accuracy.value === null) return "";
  const interval = accuracy.low === null ? "" : ` ${sayInterval([accuracy.low, accuracy.high])}`;
  return `Accuracy ${sayShare(accuracy.value)}${interval} of ${accuracy.n} images.`;
}

/**
 * Return the tables of figures, one a task, the first of them opened.
 *
 * @param {object[]} tables
 */
export function layTables(tables) {
  return tables.map(({ task, title, columns, rows }, place) => {
    const heads = columns.map(({ profile, split }) => headColumn("number", profile, make("small", {}, split)));
    const lines = rows.map((row) =>
      layRow(headRow(row.title), ...row.cells.map(({ value, interval }) => layFigure(value, interval))),
    );
    const head = layRow(headColumn("", "Measure"), ...heads);
    const table = layTable("measures", `${title}, with 95% intervals`, head, lines);
    const details = make("details", { "data-task": task }, make("summary", {}, title), scrollable(table, title));
    details.open = place === 0;
    return details;
  });
}

function scrollable(table, label) {
  return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, table);
}
