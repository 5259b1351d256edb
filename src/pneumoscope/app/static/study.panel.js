/** What a threshold does to one split: shares with their intervals, counts, and the point on the ROC curve. */

import { byId, make } from "./elements.js";
import { headColumn, headRow, layCell, layRow, layTable } from "./study.cells.js";
import { drawRoc, paintAtWidth } from "./study.charts.js";
import {
  countDecisions, measureArea, Resampler, sayInterval, sayShare, shareCounts, SHARES, traceRoc,
} from "./study.counts.js";

// Title, what it means, and the part and the whole that make it.
const ROWS = {
  sensitivity: ["Sensitivity", "share of the pneumonias found", (c) => [c.found, c.found + c.missed]],
  specificity: ["Specificity", "share of the normals left in peace", (c) => [c.spared, c.spared + c.alarms]],
  accuracy: ["Accuracy", "share of all images decided rightly", (c) => [c.found + c.spared, sum(c)]],
  ppv: ["PPV", "positive predictive value: pneumonias among those so called", (c) => [c.found, c.found + c.alarms]],
  npv: ["NPV", "negative predictive value: normals among those so called", (c) => [c.spared, c.spared + c.missed]],
};
const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
const COUNTS = [
  ["pneumonia", "found", "missed"],
  ["normal", "alarms", "spared"],
];
const WORDS = { found: "found", missed: "missed", alarms: "false alarms", spared: "left in peace" };

/**
 * A split beside a threshold. Elements are found by `prefix`: `-facts`, `-roc`, `-figures`, `-counts`.
 */
export class Panel {
  #group = null;
  #resampler = null;
  #roc = null;
  #notes = null;
  #points = [];
  #cells = new Map();
  #paint;

  /**
   * @param {string} prefix
   * @param {((threshold: number) => void) | null} onChoose told of a threshold chosen on the curve, where one may be.
   */
  constructor(prefix, onChoose) {
    this.facts = byId(`${prefix}-facts`);
    this.plot = byId(`${prefix}-roc`);
    this.figures = byId(`${prefix}-figures`);
    this.figures.append(this.#layShares());
    byId(`${prefix}-counts`).append(this.#layCounts());
    this.#paint = paintAtWidth(this.plot, (width) => {
      if (!this.#group) return;
      this.#roc = drawRoc(this.plot, width, this.#points, this.#notes);
      this.move(this.threshold);
    });
    if (onChoose) this.#followPointer(onChoose);
  }

  /**
   * Show another net.
   *
   * @param {{scores: number[], sick: boolean[], patients: number[]}} group
   * @param {{value: number, low: number | null, high: number | null} | null} area what the study measured, if it did.
   * @param {number} threshold
   */
  show(group, area, threshold) {
    this.#group = group;
    this.#resampler = new Resampler(group);
    this.#points = traceRoc(group);
    this.threshold = threshold;
    const interval = area ? (area.low === null ? null : [area.low, area.high]) : this.#resampler.estimateArea();
    const value = area ? area.value : measureArea(group);
    const said = interval ? ` [${interval[0].toFixed(3)}, ${interval[1].toFixed(3)}]` : "";
    const fixed = shareCounts(countDecisions(group, 0.5));
    this.#notes = {
      area: Number.isFinite(value) ? `AUROC ${value.toFixed(3)}${said}` : "one class only: no curve",
      fixed: { alarms: 1 - fixed.specificity, hits: fixed.sensitivity },
    };
    const numSick = group.sick.filter(Boolean).length;
    const images = `${group.scores.length} images of ${this.#resampler.size} patients`;
    this.facts.textContent = `${images}: ${numSick} pneumonias, ${group.sick.length - numSick} normals.`;
    this.#paint();
  }

  /** Show the figures at a threshold and return them. */
  move(threshold) {
    this.threshold = threshold;
    const counts = countDecisions(this.#group, threshold);
    const shares = shareCounts(counts);
    const intervals = this.#resampler.estimateShares(threshold);
    for (const share of SHARES) this.#fillShare(share, shares[share], intervals[share], ROWS[share][2](counts));
    for (const [name, count] of Object.entries(counts)) this.#cells.get(name).textContent = String(count);
    this.#roc?.place(shares, intervals);
    const point = `sensitivity ${sayShare(shares.sensitivity)}, specificity ${sayShare(shares.specificity)}`;
    this.plot.setAttribute("aria-label", `ROC curve, ${this.#notes.area}. At the threshold: ${point}.`);
    return { counts, shares };
  }

  #layShares() {
    const rows = SHARES.map((share) => {
      const [title, meaning] = ROWS[share];
      const [value, interval, fraction] = ["value", "interval", "soft"].map((name) => make("span", { class: name }));
      const bar = make("span", { class: "whisker", "aria-hidden": "true" });
      bar.append(make("i", { class: "reach" }), make("i", { class: "dot" }));
      this.#cells.set(share, { value, interval, fraction, bar });
      const head = headRow(title, bar);
      head.title = meaning;
      return layRow(head, layCell("number", value, " ", interval), layCell("number fraction", fraction));
    });
    return layTable("shares", "Figures at the threshold, with 95% intervals", null, rows);
  }

  #fillShare(share, value, interval, [part, whole]) {
    const cell = this.#cells.get(share);
    cell.value.textContent = sayShare(value);
    cell.interval.textContent = sayInterval(interval);
    cell.fraction.textContent = `${part} of ${whole}`;
    const [low, high] = interval ?? [value, value];
    cell.bar.hidden = !Number.isFinite(value);
    cell.bar.style.setProperty("--low", String(low));
    cell.bar.style.setProperty("--high", String(high));
    cell.bar.style.setProperty("--value", String(value));
  }

  #layCounts() {
    const head = layRow(layCell(""), headColumn("", "called pneumonia"), headColumn("", "called normal"));
    const rows = COUNTS.map(([truth, ...names]) => {
      const cells = names.map((name) => {
        const count = make("b", { class: "number" });
        this.#cells.set(name, count);
        const wrong = name === "missed" || name === "alarms";
        return layCell(wrong ? "wrong" : "right", count, make("small", {}, WORDS[name]));
      });
      return layRow(headRow(truth), ...cells);
    });
    return layTable("counts", "Counts at the threshold: rows truth, columns decision", head, rows);
  }

  #followPointer(onChoose) {
    this.plot.classList.add("chooser");
    const choose = (event) => onChoose(this.#roc.find(event.clientX, event.clientY));
    this.plot.addEventListener("pointerdown", (event) => {
      if (!this.#points.length || event.button !== 0 || event.pointerType === "touch") return;
      this.plot.setPointerCapture(event.pointerId);
      choose(event);
    });
    this.plot.addEventListener("pointermove", (event) => {
      if (this.plot.hasPointerCapture(event.pointerId)) choose(event);
    });
    // A finger scrolls the page here; a tap still chooses.
    this.plot.addEventListener("click", (event) => {
      if (this.#points.length && event.pointerType === "touch") choose(event);
    });
  }
}
