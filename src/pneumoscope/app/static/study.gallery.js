/** The images that a net decided most wrongly, with their pictures, and one at a time in a viewer. */

import { byId, make, makeMark } from "./elements.js";
import { headColumn, headRow, layCell, layRow, layTable } from "./study.cells.js";
import { sayProbability } from "./study.counts.js";

const AT_FIRST = 12;
const SPLITS = { test: "Test", val: "Validation" };
const RULES = { threshold: "Threshold", class: "Most probable class" };
const VIEWS = { film: "Whole film", net: "As the nets saw it" };

/**
 * The failures of the net that is looked at.
 */
export class Gallery {
  #study;
  #net = null;
  #threshold = 0.5;
  #split = "test";
  #rule = "threshold";
  #kind = "all";
  #shown = AT_FIRST;
  #failures = [];
  #place = 0;
  #view = "film";
  #recipes;

  /**
   * @param {object} study the answer of `/api/study`.
   * @param {(net: string) => number} thresholdOf the threshold of every net.
   */
  constructor(study, thresholdOf) {
    this.#study = study;
    this.thresholdOf = thresholdOf;
    this.#recipes = Object.fromEntries(study.profiles.map(({ name, title }) => [name, title]));
    layChoices(byId("failures-split"), "failures-split", SPLITS, (split) => this.#choose({ split, kind: "all" }));
    layChoices(byId("failures-rule"), "failures-rule", RULES, (rule) => this.#choose({ rule, kind: "all" }));
    byId("failures-kind").addEventListener("change", (event) => this.#choose({ kind: event.target.value }));
    byId("more").addEventListener("click", () => {
      const before = this.#shown;
      this.#shown += 2 * AT_FIRST;
      this.#fill();
      byId("gallery").children[before]?.querySelector("button").focus();
    });
    this.#prepareViewer();
    if (!study.pictures.available) {
      byId("failures-note").textContent = study.pictures.reason;
      byId("failures-note").hidden = false;
    }
  }

  /** Show another net, by the rule that fits it. */
  show(net, threshold) {
    this.#net = net;
    this.#threshold = threshold;
    this.#choose({ rule: net.classes.length > 2 ? "class" : "threshold", kind: "all" });
  }

  /** Follow the threshold. */
  move(threshold) {
    this.#threshold = threshold;
    if (this.#rule === "threshold") this.#list();
  }

  /** Show the images of one cell of a confusion matrix. */
  open(split, truth, decision) {
    this.#choose({ split, rule: "class", kind: `${truth}-${decision}` });
    byId("failures").scrollIntoView();
    byId("gallery").querySelector("button")?.focus({ preventScroll: true });
  }

  #choose({ split = this.#split, rule = this.#rule, kind = this.#kind }) {
    [this.#split, this.#rule, this.#kind, this.#shown] = [split, rule, kind, AT_FIRST];
    check("failures-split", split);
    check("failures-rule", rule);
    this.#list();
  }

  /** Collect the images decided wrongly, those first whose true class got the least probability. */
  #list() {
    const found = this.#net.evaluations[this.#split];
    const judged = (found?.labels ?? []).map((_, row) => this.#judge(found, row));
    const all = judged.filter(({ truth, decision }) => truth !== decision);
    all.sort((a, b) => a.given - b.given || a.image - b.image);
    this.#fillKinds(all);
    this.#failures = all.filter((failure) => this.#kind === "all" || nameKind(failure) === this.#kind);
    const threshold = `at the threshold ${sayProbability(this.#threshold)}`;
    const by = this.#rule === "threshold" ? threshold : "by the most probable class";
    byId("failures-lead").textContent =
      `${all.length} of ${judged.length} ${SPLITS[this.#split].toLowerCase()} images are decided wrongly ${by}. ` +
      "First come those whose true class got the least probability.";
    this.#fill();
  }

  /** Return what a net said of one image, and what is true. */
  #judge(found, row) {
    const { classes } = this.#net;
    const [score, probabilities, label] = [found.scores[row], found.probabilities[row], found.labels[row]];
    const byClass = this.#rule === "class";
    const best = probabilities.indexOf(Math.max(...probabilities));
    const truth = byClass ? classes[label] : label > 0 ? "pneumonia" : "normal";
    const decision = byClass ? classes[best] : score >= this.#threshold ? "pneumonia" : "normal";
    const given = byClass ? probabilities[label] : label > 0 ? score : 1 - score;
    const bars = classes.map((name, place) => [name, probabilities[place]]);
    if (!byClass && classes.length > 2) bars.push(["pneumonia", score]);
    return { image: found.images[row], truth, decision, given, bars };
  }

  #fillKinds(all) {
    const counts = new Map();
    for (const kind of all.map(nameKind)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    if (this.#kind !== "all" && !counts.has(this.#kind)) this.#kind = "all";
    const options = [["all", `All failures (${all.length})`]];
    for (const [kind, count] of [...counts].sort((a, b) => b[1] - a[1])) {
      options.push([kind, `${sayKind(...kind.split("-"))} (${count})`]);
    }
    const select = byId("failures-kind");
    const texts = options.map(([, text]) => text).join("|");
    if (select.dataset.texts !== texts) {
      select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
      select.dataset.texts = texts;
    }
    select.value = this.#kind;
  }

  #fill() {
    const shown = this.#failures.slice(0, this.#shown);
    const list = byId("gallery");
    // Cards that stay are kept, so that their pictures do not flicker while the threshold moves.
    const kept = new Map([...list.children].map((card) => [card.dataset.key, card]));
    const cards = shown.map((failure, place) => {
      const key = `${this.#net.id} ${this.#split} ${this.#rule} ${failure.image} ${failure.decision}`;
      const card = kept.get(key) ?? this.#makeCard(failure, key);
      card.dataset.place = String(place);
      return card;
    });
    if (!cards.length) cards.push(make("li", { class: "none soft" }, "Nothing is decided wrongly here."));
    const same = cards.length === list.children.length && cards.every((card, place) => card === list.children[place]);
    if (!same) list.replaceChildren(...cards);
    const left = this.#failures.length - shown.length;
    byId("more").hidden = left <= 0;
    byId("more").textContent = `Show more (${left} left)`;
  }

  #makeCard(failure, key) {
    const name = this.#study.splits[this.#split].names[failure.image];
    const card = make(
      "button", { type: "button", class: "card" },
      this.#makePicture(failure.image, "net"),
      make("span", { class: "verdict" }, ...this.#sayVerdict(failure)),
      makeBars(failure.bars, failure.truth),
      make("span", { class: "file" }, shortName(name)),
    );
    const item = make("li", { "data-key": key }, card);
    card.addEventListener("click", () => this.#openViewer(Number(item.dataset.place)));
    return item;
  }

  #sayVerdict({ image, truth, decision }) {
    const subtype = this.#study.splits[this.#split].subtypes[image];
    const exact = truth === "pneumonia" && subtype !== "pneumonia" ? `pneumonia (${subtype})` : truth;
    return [
      make("span", { class: "truth" }, makeMark(truth), make("b", {}, exact)),
      make("span", { class: "decision" }, "read as ", makeMark(decision), make("b", {}, decision)),
    ];
  }

  #makePicture(image, view) {
    const name = this.#study.splits[this.#split].names[image];
    const frame = make("span", { class: "picture" });
    if (!this.#study.pictures.available) {
      frame.append(make("span", { class: "absent" }, "no picture"));
      return frame;
    }
    const picture = make("img", { alt: `Radiograph ${shortName(name)}`, loading: "lazy", decoding: "async" });
    picture.addEventListener("error", () => {
      picture.replaceWith(make("span", { class: "absent" }, "This picture cannot be shown."));
    });
    picture.src = `/api/study/images/${this.#split}/${image}.png?view=${view}`;
    frame.append(picture);
    return frame;
  }

  #prepareViewer() {
    const viewer = byId("viewer");
    const step = (by) => this.#openViewer(Math.min(this.#failures.length - 1, Math.max(0, this.#place + by)));
    byId("viewer-previous").addEventListener("click", () => step(-1));
    byId("viewer-next").addEventListener("click", () => step(1));
    byId("viewer-close").addEventListener("click", () => viewer.close());
    viewer.addEventListener("click", (event) => {
      if (event.target === viewer) viewer.close();
    });
    viewer.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by && event.target.type !== "radio") step(by);
    });
    viewer.addEventListener("close", () => {
      this.#shown = Math.max(this.#shown, this.#place + 1);
      this.#fill();
      byId("gallery").children[this.#place]?.querySelector("button")?.focus();
    });
    layChoices(byId("viewer-view"), "viewer-view", VIEWS, (view) => {
      this.#view = view;
      this.#openViewer(this.#place);
    });
    check("viewer-view", this.#view);
    byId("viewer-view").hidden = !this.#study.pictures.available;
  }

  #openViewer(place) {
    const failure = this.#failures[place];
    if (!failure) return;
    this.#place = place;
    const viewer = byId("viewer");
    const name = this.#study.splits[this.#split].names[failure.image];
    byId("viewer-name").textContent = shortName(name);
    byId("viewer-place").textContent = `${place + 1} of ${this.#failures.length}`;
    byId("viewer-previous").disabled = place === 0;
    byId("viewer-next").disabled = place === this.#failures.length - 1;
    byId("viewer-film").replaceChildren(this.#makePicture(failure.image, this.#view));
    byId("viewer-facts").replaceChildren(
      make("p", { class: "verdict" }, ...this.#sayVerdict(failure)),
      make("p", { class: "kicker" }, this.#net.title),
      makeBars(failure.bars, failure.truth),
      make("p", { class: "kicker" }, "All nets on this image"),
      this.#compareNets(failure.image),
      make("p", { class: "file" }, name),
    );
    if (!viewer.open) viewer.showModal();
  }

  /** Return a table of what every net of the study makes of an image, each at its own threshold. */
  #compareNets(image) {
    const sick = this.#study.splits[this.#split].subtypes[image] !== "normal";
    const rows = this.#study.nets.flatMap((net) => {
      const found = net.evaluations[this.#split];
      const row = found ? found.images.indexOf(image) : -1;
      if (row < 0) return [];
      const called = found.scores[row] >= this.thresholdOf(net.id);
      const verdict = called ? "false alarm" : "missed";
      const cells = [
        headRow(`${net.title.split(" ")[0]}, ${this.#recipes[net.profile]}`),
        layCell("number", sayProbability(found.scores[row])),
        called === sick ? layCell("right", "right") : layCell("wrong", verdict),
      ];
      return [layRow(...cells)];
    });
    const score = headColumn("number", "p(pneumonia)");
    const head = layRow(headColumn("", "Net"), score, headColumn("", "At its threshold"));
    return layTable("nets-table", "What every net makes of this image", head, rows);
  }
}

/** Put a choice of one among several into an element. */
export function layChoices(host, name, choices, onChoose) {
  host.replaceChildren(
    ...Object.entries(choices).map(([value, text]) => {
      const radio = make("input", { type: "radio", name, value });
      radio.addEventListener("change", () => onChoose(value));
      return make("label", {}, radio, text);
    }),
  );
}

/** Mark one choice as taken. */
export function check(name, value) {
  for (const radio of document.getElementsByName(name)) radio.checked = radio.value === value;
}

function makeBars(bars, truth) {
  const rows = bars.map(([name, share]) => {
    const bar = make("span", { class: `share ${name}`, "aria-hidden": "true" }, make("i", {}));
    bar.style.setProperty("--share", String(share));
    const text = make("span", { class: "number" }, sayProbability(share));
    return make("span", { class: name === truth ? "bar-row true" : "bar-row" }, make("span", {}, name), bar, text);
  });
  return make("span", { class: "bars" }, ...rows);
}

function nameKind({ truth, decision }) {
  return `${truth}-${decision}`;
}

function sayKind(truth, decision) {
  if (truth === "normal" && decision === "pneumonia") return "False alarms";
  if (truth === "pneumonia" && decision === "normal") return "Missed pneumonias";
  return `${truth} read as ${decision}`;
}

function shortName(name) {
  return name.split("/").pop().replace(/\.(jpe?g|png|dcm)$/i, "");
}
