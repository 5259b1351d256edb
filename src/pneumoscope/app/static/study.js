/** The page of a trained study: fetched once, then every figure is worked out here as the threshold moves. */

import { getJson } from "./api.js";
import { byId, make } from "./elements.js";
import { AnomalySection } from "./study.anomaly.js";
import { Board } from "./study.board.js";
import { PROBABILITY, sayProbability, sayShare } from "./study.counts.js";
import { check, Gallery } from "./study.gallery.js";
import { Learning } from "./study.learning.js";
import { Panel } from "./study.panel.js";
import { layMatrices, layTables } from "./study.tables.js";

const DEFAULT_THRESHOLD = 0.5;
const POINTS = {
  screening: "finds ≥ 97%",
  balanced: "both highest",
  specific: "spares ≥ 95%",
};
const TASKS = { binary: "1.A normal or pneumonia", three_class: "1.B normal, bacterial or viral" };
const SPLITS = { val: "Validation", test: "Test" };
const PAGES = { report: "Report", audit: "Audit of the data" };
const BINARY_LEAD = "Here p is the probability of pneumonia as the net gives it, not calibrated.";
const THREE_LEAD =
  "Here p is p(bacterial) + p(viral), as the net gives it; the decision is normal or pneumonia of either kind.";
const RESUME = "pneumoscope study --resume";
const SETTLED = 300;

class StudyPage {
  #study;
  #net = null;
  #thresholds = new Map();
  #board;
  #panels;
  #gallery;
  #learning;
  #frame = 0;
  #settling = 0;

  constructor(study) {
    this.#study = study;
    this.#panels = {
      val: new Panel("val", (threshold) => this.#board.move(threshold)),
      test: new Panel("test", null),
    };
    this.#board = new Board("threshold", (threshold) => this.#move(threshold));
    this.#gallery = new Gallery(study, (id) => this.#thresholds.get(id) ?? DEFAULT_THRESHOLD);
    this.#learning = new Learning();
    this.#layNets();
    byId("tables").replaceChildren(...layTables(study.tables));
    const asked = new URLSearchParams(location.search);
    const best = study.nets.find(({ profile, task }) => profile === "best" && task === "binary");
    const net = study.nets.find(({ id }) => id === asked.get("net")) ?? best ?? study.nets[0];
    const threshold = Number(asked.get("threshold"));
    if (asked.has("threshold") && threshold >= 0 && threshold <= 1) this.#thresholds.set(net.id, threshold);
    this.#show(net);
    new AnomalySection(study);
  }

  /** Lay out the nets by task; one that the study has not finished is named but cannot be chosen. */
  #layNets() {
    const { nets, profiles, study } = this.#study;
    const lacking = [...study.missing, ...study.damaged].map(({ stage }) => stage);
    const groups = Object.entries(TASKS).map(([task, title]) => {
      const choices = profiles.flatMap((profile) => {
        const id = `${profile.name}-${task}`;
        const known = nets.some((net) => net.id === id);
        if (!known && !lacking.includes(id)) return [];
        const radio = make("input", { type: "radio", name: "net", value: id });
        radio.disabled = !known;
        radio.addEventListener("change", () => this.#show(nets.find((net) => net.id === id)));
        const fault = study.damaged.some(({ stage }) => stage === id) ? "cannot be read" : "not finished";
        return [make("label", {}, radio, known ? profile.title : `${profile.title} (${fault})`)];
      });
      if (!choices.length) return "";
      const legend = make("legend", { class: "kicker" }, title);
      return make("fieldset", {}, legend, make("div", { class: "switch" }, ...choices));
    });
    byId("nets").replaceChildren(...groups);
    byId("nets").addEventListener("submit", (event) => event.preventDefault());
  }

  #show(net) {
    this.#net = net;
    check("net", net.id);
    const threshold = this.#thresholds.get(net.id) ?? DEFAULT_THRESHOLD;
    const three = net.classes.length > 2;
    byId("threshold-lead").textContent = three ? THREE_LEAD : BINARY_LEAD;
    const groups = Object.fromEntries(Object.keys(this.#panels).map((split) => [split, this.#group(split)]));
    for (const [split, panel] of Object.entries(this.#panels)) {
      const { metrics } = net.evaluations[split] ?? { metrics: {} };
      panel.show(groups[split], three ? null : (metrics.auroc ?? null), threshold);
    }
    const rows = Object.entries(groups).map(([split, { scores, sick }]) => ({
      title: SPLITS[split],
      up: { name: "pneumonia", scores: scores.filter((_, image) => sick[image]) },
      down: { name: "normal", scores: scores.filter((_, image) => !sick[image]) },
    }));
    const presets = [
      { name: "even", value: DEFAULT_THRESHOLD, hint: three ? "more likely than not" : "most probable class" },
      ...namePoints(net.operating_points),
    ];
    const count = ({ scores }) => scores.length;
    const counted = rows.map(({ title, up, down }) => `${title}: ${count(up)} pneumonias, ${count(down)} normals`);
    byId("matrices").replaceChildren(...layMatrices(net, (...cell) => this.#gallery.open(...cell)));
    this.#learning.show(net);
    this.#gallery.show(net, threshold);
    const label = `Histograms of the probability of pneumonia. ${counted.join(". ")}.`;
    this.#board.show(PROBABILITY, rows, presets, { threshold, label });
  }

  /** Return scores, truths and patients of a split, for the decision between normal and pneumonia. */
  #group(split) {
    const found = this.#net.evaluations[split];
    if (!found) return { scores: [], sick: [], patients: [] };
    const { patients } = this.#study.splits[split];
    return {
      scores: found.scores,
      sick: found.labels.map((label) => label > 0),
      patients: found.images.map((image) => patients[image]),
    };
  }

  #move(threshold) {
    this.#thresholds.set(this.#net.id, threshold);
    // Several moves within one picture of the screen are worked out once.
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      const told = Object.entries(this.#panels).map(([split, panel]) => [split, panel.move(threshold)]);
      byId("threshold-told").replaceChildren(...told.map(([split, { shares }]) => sum(split, shares)));
      this.#gallery.move(threshold);
      clearTimeout(this.#settling);
      this.#settling = setTimeout(() => this.#settle(threshold, told), SETTLED);
    });
  }

  /** Once the threshold rests: tell it aloud, and keep it in the address. */
  #settle(threshold, told) {
    const words = told.map(([split, { shares }]) => {
      const [sensitivity, specificity] = [sayShare(shares.sensitivity), sayShare(shares.specificity)];
      return `${SPLITS[split]}: sensitivity ${sensitivity}, specificity ${specificity}`;
    });
    byId("threshold-live").textContent = `Threshold ${sayProbability(threshold)}. ${words.join(". ")}.`;
    const kept = new URLSearchParams({ net: this.#net.id, threshold: String(Number(threshold.toPrecision(6))) });
    history.replaceState(null, "", `?${kept}${location.hash}`);
  }
}

/** Return the named thresholds of a net; names that share a threshold stand together. */
function namePoints(points) {
  const names = new Map();
  for (const [name, value] of Object.entries(points)) names.set(value, [...(names.get(value) ?? []), name]);
  return [...names].map(([value, alike]) => {
    const promises = alike.map((name) => POINTS[name] ?? name).join(", ");
    return { name: alike.join(" = "), value, hint: `${promises} on validation` };
  });
}

/** Return the two shares that a threshold trades, large, to be read beside the slider. */
function sum(split, { sensitivity, specificity }) {
  const term = make("dt", {}, SPLITS[split]);
  const figures = Object.entries({ sensitivity, specificity }).map(([name, share]) =>
    make("dd", {}, make("b", { class: "number" }, sayShare(share)), ` ${name}`),
  );
  return make("div", {}, term, ...figures);
}

/** Say what is being looked at, and what it lacks. */
function introduce(answer) {
  const { study, splits, pages } = answer;
  byId("study-title").textContent = study.phantoms ? "Pneumonia on drawn phantoms" : `Pneumonia on ${study.source}`;
  byId("study-kicker").textContent = `A trained study · ${study.name}`;
  const facts = Object.entries(splits).flatMap(([split, { names, patients }]) => {
    const size = `${names.length} ${SPLITS[split].toLowerCase()} images of ${new Set(patients).size} patients`;
    return names.length ? [size] : [];
  });
  if (study.seed !== null) facts.push(`seed ${study.seed}`);
  byId("study-facts").textContent = facts.join(" · ");
  const links = Object.entries(PAGES).filter(([name]) => pages[name]);
  byId("pages").replaceChildren(
    ...links.map(([name, title]) => {
      const link = make("a", { class: "button", href: pages[name], target: "_blank", rel: "noopener" }, title);
      return make("li", {}, link);
    }),
  );
  const messages = [];
  if (study.phantoms) {
    const words = "Figures reached on them show that the machinery works and say nothing about children.";
    messages.push(tell("loud", "Drawn phantoms, not radiographs.", words));
  }
  if (study.missing.length) {
    const titles = study.missing.map(({ title }) => title).join("; ");
    const rest = " with the same --data and --out goes on with it; this page shows what is there.";
    const words = [`It still lacks: ${titles}. `, make("code", {}, RESUME), rest];
    messages.push(tell("", "This study is not finished.", ...words));
  }
  for (const { title, stage, reason } of study.damaged) {
    const words = [`${reason}. Delete stages/${stage}.npz and go on with `, make("code", {}, RESUME), "."];
    messages.push(tell("loud", `${title} cannot be read.`, ...words));
  }
  byId("messages").replaceChildren(...messages);
}

function tell(kind, title, ...words) {
  return make("p", { class: `banner ${kind}`, role: "note" }, make("strong", {}, title), " ", ...words);
}

async function open() {
  try {
    const answer = await getJson("/api/study");
    introduce(answer);
    byId("loading").hidden = true;
    if (!answer.nets.length) {
      byId("messages").append(tell("", "No net has been trained yet.", "Look again once the study has got on."));
      return;
    }
    byId("study").hidden = false;
    new StudyPage(answer);
  } catch (error) {
    byId("study-title").textContent = "No study to show";
    byId("loading").hidden = true;
    byId("messages").replaceChildren(tell("loud", "The study cannot be shown.", error.message));
    if (!("status" in error)) throw error;
  }
}

open();
