/** The anomaly scores of a study's models of normals, and what a threshold on them flags. */

import { byId, make } from "./elements.js";
import { Board } from "./study.board.js";
import { headRow, layCell, layFigure, layRow, layTable } from "./study.cells.js";
import { drawLearning, paintAtWidth } from "./study.charts.js";
import { makeEvenAxis, Resampler, sayInterval, sayShare, shareCounts, countDecisions } from "./study.counts.js";
import { check, layChoices } from "./study.gallery.js";
import { describeTraining } from "./study.learning.js";

const UNIT_OF_ERRORS = 0.001;
const NORMALS_ONLY =
  "No pneumonia takes part before the test: only false alarms can be chosen here, not what is found.";

/** The section of task 3. */
export class AnomalySection {
  #study;
  #net = null;
  #groups = {};
  #area = ["–", ""];
  #board;
  #paintLearning;

  /** @param {object} study the answer of `/api/study`. */
  constructor(study) {
    this.#study = study;
    if (!study.anomalies.length) {
      const words = "The study has not trained a model of normals yet.";
      byId("anomaly-body").replaceChildren(make("p", { class: "soft" }, words));
      return;
    }
    const titles = Object.fromEntries(study.profiles.map(({ name, title }) => [name, title]));
    const choices = Object.fromEntries(study.anomalies.map(({ id, profile }) => [id, titles[profile]]));
    layChoices(byId("anomaly-nets"), "anomaly-net", choices, (id) => this.show(id));
    this.#board = new Board("anomaly", (threshold) => this.#move(threshold));
    this.#paintLearning = paintAtWidth(byId("anomaly-loss"), (width) => {
      const { curve } = this.#net;
      const lines = { train: curve.loss, val: curve.val_loss, chosen: curve.chosen_epoch };
      const chart = drawLearning(byId("anomaly-loss"), width, lines);
      chart.place(curve.chosen_epoch);
    });
    this.show(study.anomalies.at(-1).id);
  }

  /** Show another model. */
  show(id) {
    const net = this.#study.anomalies.find((other) => other.id === id);
    this.#net = net;
    check("anomaly-net", id);
    byId("anomaly-direction").textContent = net.direction;
    byId("anomaly-direction").hidden = !net.direction;
    const { validation, test } = net;
    this.#groups = {
      val: this.#group(validation, validation.errors.map(() => false), "val"),
      test: this.#group(test, test.labels.map((label) => label === 1), "test"),
    };
    const [sick, normal] = [1, 0].map((wanted) => test.errors.filter((_, row) => test.labels[row] === wanted));
    const heldOut = { name: "held-out normals", scores: validation.errors };
    const rows = [
      { title: "Validation", up: { name: "", scores: [] }, down: heldOut },
      { title: "Test", up: { name: "pneumonia", scores: sick }, down: { name: "normal", scores: normal } },
    ];
    const presets = Object.entries(net.thresholds).map(([name, { title, value }]) => ({
      name: title,
      value,
      hint:
        name === "quantile"
          ? `flags ${Math.round(100 * net.false_alarm_rate)}% of the held-out normals`
          : "of the held-out normals, the paper's",
    }));
    const { curve } = net;
    const unit = net.redraws ? UNIT_OF_ERRORS : 1;
    byId("anomaly-rule").textContent = net.redraws ? "error × 1000" : "distance";
    byId("anomaly-learned").textContent =
      `${net.redraws ? "Mean squared error" : "Loss"} by epoch. ${describeTraining(net)}`;
    this.#paintLearning();
    const area = net.metrics.auroc;
    this.#area = [
      area && area.value !== null ? area.value.toFixed(3) : "–",
      area && area.low !== null ? `[${area.low.toFixed(3)}, ${area.high.toFixed(3)}]` : "",
    ];
    this.#board.show(makeEvenAxis([...validation.errors, ...test.errors], unit), rows, presets, {
      threshold: presets[0]?.value ?? validation.errors[0],
      unit,
      label:
        `Histograms of the anomaly scores: ${validation.errors.length} held-out normals of validation; ` +
        `${sick.length} pneumonias and ${normal.length} normals of test.`,
    });
  }

  #group({ images, errors }, sick, split) {
    const { patients } = this.#study.splits[split];
    // Without names each image counts as a patient of its own.
    const owners = errors.map((_, row) => (images ? patients[images[row]] : row));
    const group = { scores: errors, sick, patients: owners };
    return { group, resampler: new Resampler(group) };
  }

  #move(threshold) {
    const { val, test } = this.#groups;
    const told = [val, test].map(({ group, resampler }) => {
      const counts = countDecisions(group, threshold);
      return { counts, shares: shareCounts(counts), intervals: resampler.estimateShares(threshold) };
    });
    const [held, tested] = told;
    const { found, missed, spared } = tested.counts;
    byId("anomaly-val").replaceChildren(
      layRows([flagRow("Normals flagged", held)]),
      make("p", { class: "soft small" }, NORMALS_ONLY),
    );
    byId("anomaly-test").replaceChildren(
      layRows([
        flagRow("Normals flagged", tested),
        shareRow("Pneumonias flagged", "sensitivity", tested, found, found + missed),
        ...this.#subtypeRows(threshold),
        shareRow("Accuracy", "accuracy", tested, found + spared, test.group.scores.length),
        ["AUROC", ...this.#area, "any threshold"],
      ]),
    );
  }

  #subtypeRows(threshold) {
    const { errors, subtypes } = this.#net.test;
    return ["bacterial", "viral"].flatMap((name) => {
      const scores = errors.filter((_, row) => subtypes[row] === name);
      if (!scores.length) return [];
      const flagged = scores.filter((score) => score >= threshold).length;
      return [[`… ${name}`, sayShare(flagged / scores.length), "", `${flagged} of ${scores.length}`]];
    });
  }
}

function flagRow(title, { counts, intervals, shares }) {
  const interval = intervals.specificity && [1 - intervals.specificity[1], 1 - intervals.specificity[0]];
  const fraction = `${counts.alarms} of ${counts.alarms + counts.spared}`;
  return [title, sayShare(1 - shares.specificity), sayInterval(interval), fraction];
}

function shareRow(title, name, { shares, intervals }, part, whole) {
  return [title, sayShare(shares[name]), sayInterval(intervals[name]), `${part} of ${whole}`];
}

function layRows(rows) {
  const lines = rows.map(([title, value, interval, fraction]) =>
    layRow(headRow(title), layFigure(value, interval), layCell("number fraction soft", fraction)),
  );
  return layTable("shares plain", "Figures at the threshold, with 95% intervals", null, lines);
}
