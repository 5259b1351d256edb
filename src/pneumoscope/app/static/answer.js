/** The prediction for the selected image: decision, probabilities, anomaly score, reference cases, operating point. */
import {
  byId, capitalize, formatNumber, formatPercent, getStyle, isScored, labels, make, makeImage, makeMark, nameDecision, setText,
} from "./elements.js";

const AIMS = {
  screening: "High sensitivity: few positive images are missed.",
  balanced: "Sensitivity and specificity have equal weight.",
  specific: "High specificity: few false positives.",
};
const ADVICE = {
  rejected: "Use an upright frontal chest radiograph with bright bones.",
  error: "Check that the file is a complete image or DICOM file.",
};
const OTHER_POPULATION =
  "The models were not trained on such patients or views. The app predicts anyway if it is started with --ignore-population.";
const SPECIAL = ["uncertain", "rejected", "error"];
const MOST_IN_ORDER = 8; // more bars are sorted by probability

/** Shown with each prediction for a phantom. */
export const PHANTOM_NOTE = "This is a synthetic phantom. Its prediction does not measure the accuracy on radiographs.";

/**
 * Show the prediction for an image, or that it is pending.
 *
 * @param {import("./cases.js").Case} item
 */
export function showAnswer(item) {
  const { row } = item;
  const pending = item.state !== "done";
  const decision = row?.error ? "error" : row?.decision;
  byId("answer").classList.toggle("pending", pending);
  byId("answer").setAttribute("aria-busy", String(pending));
  // The previous prediction, for example at another operating point, stays dimmed until the new one arrives.
  const scored = isScored(row);
  showVerdict(row, decision, scored, item.phantom);
  byId("scores").hidden = byId("facts").hidden = Boolean(row) && !scored;
  byId("point").hidden = decision === "rejected" || decision === "error" || !document.querySelector('input[name="point"]');
  // Not every model has this metric.
  const trust = document.getElementById("label-trust");
  if (trust) trust.hidden = !isInGroup(decision);
  for (const id of ["dicom", "deidentify"]) byId(id).disabled = !scored || pending;
  byId("print").disabled = pending;
  const shown = scored ? row : null;
  byId("bars").replaceChildren(...orderBars(shown).map((name) => drawBar(name, shown)));
  showFacts(shown);
  byId("model").textContent = row?.model ?? "";
}

function isInGroup(decision) {
  return Object.entries(labels.label_set.groups).some(([name, members]) => [name, ...members].includes(decision));
}

function orderBars(row) {
  if (!row || labels.scored.length <= MOST_IN_ORDER) return labels.scored;
  return [...labels.scored].sort((a, b) => row[`p_${b}`] - row[`p_${a}`]);
}

function showVerdict(row, decision, scored, phantom) {
  byId("verdict").className = `verdict ${SPECIAL.includes(decision) ? decision : ""}`;
  byId("decision").classList.toggle("several", Boolean(decision?.includes("|")));
  place(byId("verdict"), { "--color": scored ? getStyle(decision)[0] : "" });
  const point = Number(row?.operating_point);
  const used = Number.isNaN(point) ? `${row?.operating_point} operating point` : `Custom threshold ${point}`;
  setText("verdict-kicker", !row || (scored && !Object.keys(row.thresholds).length) ? "Decision" : scored ? capitalize(used) : "No prediction");
  setText("decision", !row ? "Predicting…" : decision === "error" ? "Unreadable" : nameDecision(decision));
  // Errors of this page have no summary.
  setText("summary", (row?.summary ?? row?.error ?? "").replaceAll(" %", "\u202f%"));
  setText("reason", scored && phantom ? PHANTOM_NOTE : advise(row, decision, scored));
  byId("reason").hidden = !byId("reason").textContent;
}

/** Return what to do about an image without a prediction, or what was noticed about another one. */
function advise(row, decision, scored) {
  if (!scored) return /population/.test(row?.reason ?? "") ? OTHER_POPULATION : ADVICE[decision] ?? "";
  const warnings = (row?.warnings ?? []).map((code) => code.replaceAll("_", " "));
  return warnings.length ? `Noticed: ${warnings.join(", ")}.` : "";
}

/** Return the row of one class: name, probability with interval, and a bar with the interval and the threshold. */
function drawBar(name, row) {
  const share = row?.[`p_${name}`];
  const interval = row?.intervals?.[name];
  const threshold = row?.thresholds?.[name];
  const isTotal = name === labels.positive || !labels.label_set.classes.includes(name);
  const track = make("div", { class: "track", "aria-hidden": "true" });
  const value = make("span", { class: "value number" }, row ? formatPercent(share) : "–");
  const label = make("dt", {}, makeMark(name), capitalize(name));
  const detail = make("dd", {}, value, track);
  if (row) track.append(place(make("i", { class: "fill" }), { "--to": share, "--color": getStyle(name)[0] }));
  const notes = [];
  if (interval) {
    track.append(place(make("i", { class: "whisker" }), { "--from": interval[0], "--to": interval[1] }));
    const [low, high] = interval.map((end) => Math.round(100 * end));
    notes.push(low === high ? ` (${low}\u202f%)` : ` (${low}–${high}\u202f%)`);
  }
  if (threshold !== undefined) {
    track.append(place(make("i", { class: "threshold" }), { "--to": threshold }));
    const note = `threshold ${formatPercent(threshold)}`;
    if (!isTotal) notes.push(`, ${note}`);
    else detail.append(place(make("p", { class: "threshold-note small" }, note), { "--to": threshold }));
  }
  value.append(make("small", {}, notes.join("")));
  return make("div", { class: `bar-row${isTotal ? " total" : ""}` }, label, detail);
}

function place(element, values) {
  for (const [name, value] of Object.entries(values)) element.style.setProperty(name, String(value));
  return element;
}

function showFacts(row) {
  const percentile = row?.anomaly_percentile ?? null;
  const verdict = row?.anomalous ? "Flagged" : "Not flagged";
  setText("anomaly", percentile === null ? "–" : `${verdict}: ${describePercentile(percentile)}`);
  setText("anomaly-note", percentile === null ? "" : `Score ${formatNumber(row.anomaly_score)}`);
  place(byId("percentile"), { "--to": (percentile ?? 0) / 100 });
  byId("percentile").hidden = percentile === null;
  const accepted = row?.in_distribution ?? null;
  setText("in-distribution", accepted === null ? "–" : accepted ? "No" : "Yes");
  byId("in-distribution").dataset.state = String(accepted);
}

/** Return where an anomaly score lies among those of held-out normals. */
export function describePercentile(percentile) {
  const share = percentile === 100 ? "all" : `${Math.floor(percentile)}\u202f% of`;
  return `higher than ${share} held-out normals`;
}

/**
 * Show the nearest reference cases.
 *
 * @param {object | null} row the prediction.
 * @param {boolean} hasImages whether the server has the images of the reference cases.
 */
export function showNeighbors(row, hasImages) {
  const neighbors = row?.neighbors ?? [];
  byId("similar").hidden = !neighbors.length;
  const names = [...new Set(neighbors.map(({ label }) => label))];
  const counts = names.map((name) => [neighbors.filter(({ label }) => label === name).length, name.replaceAll("|", " + ")]);
  const parts = counts.sort((a, b) => b[0] - a[0]).map((pair) => pair.join(" "));
  byId("similar-note").textContent = `The ${neighbors.length} nearest training images: ${parts.join(", ")}.`;
  byId("no-references").hidden = hasImages;
  byId("neighbors").replaceChildren(...neighbors.map((neighbor) => drawNeighbor(neighbor, hasImages)));
}

function drawNeighbor({ name, label, distance, index }, hasImages) {
  // Of embeddings of length 1: the cosine of their angle.
  const similarity = Math.max(0, 1 - distance ** 2 / 2);
  const text = make(
    "div", { class: "text" },
    make("p", { class: "label" }, makeMark(label), label.replaceAll("|", ", ")),
    make("p", { class: "name", title: name }, name),
    place(make("div", { class: "similarity", "aria-hidden": "true" }), { "--to": similarity }),
    make("p", { class: "small soft number" }, `similarity ${similarity.toFixed(2)} (distance ${distance.toFixed(2)})`),
  );
  const entry = make("li", {}, text);
  if (hasImages && index !== undefined) {
    const [src, alt] = [`/api/references/${index}.png`, `Reference case, ${label}`];
    entry.prepend(makeImage({ src, alt, width: "128", height: "128", loading: "lazy" }, "not in the folder"));
  }
  return entry;
}

/** The control of the operating point. */
export class PointChoice {
  #points = {};
  #onChange;

  /** @param {(point: string) => void} onChange called with a name, or a threshold as text. */
  constructor(onChange) {
    this.#onChange = onChange;
    byId("point").addEventListener("submit", (event) => event.preventDefault());
    byId("point").addEventListener("change", () => this.#change());
  }

  /** @param {Record<string, Record<string, object>>} points threshold and metrics by operating point and class. */
  offer(points) {
    this.#points = points;
    const balanced = points.balanced?.[labels.positive];
    if (balanced) byId("custom-threshold").value = balanced.threshold.toFixed(2);
    this.#explain(this.#name);
  }

  get #name() {
    return document.querySelector('input[name="point"]:checked')?.value;
  }

  #change() {
    const field = byId("custom-threshold");
    const name = this.#name;
    this.#explain(name);
    if (name !== "custom") this.#onChange(name);
    else if (field.value && field.checkValidity()) this.#onChange(String(field.valueAsNumber));
    else field.reportValidity();
  }

  #explain(name) {
    byId("custom").hidden = name !== "custom";
    const { threshold, sensitivity, one_minus_specificity: falsePositives } = this.#points[name]?.[labels.positive] ?? {};
    const parts = [AIMS[name] ?? ""];
    if (labels.label_set.multi_label) parts.push(name === "custom" ? "For all findings." : "Each finding has its threshold.");
    if (threshold !== undefined) parts.push(`Threshold ${formatPercent(threshold)}.`);
    if (sensitivity && falsePositives) {
      const { value, low, high, n } = falsePositives;
      // Few cases have no interval, and 1 - null is 1.
      const [from, to] = low === null ? [null, null] : [1 - high, 1 - low];
      const specificity = { value: 1 - value, low: from, high: to, n };
      const metrics = [sensitivity, specificity].map(formatMetric);
      parts.push(`Held-out images: sensitivity ${metrics[0]}, specificity ${metrics[1]}.`);
    }
    byId("point-note").textContent = parts.join(" ").trim();
  }
}

/** Return a proportion with its 95 % interval, if it has one, and its number of images. */
function formatMetric({ value, low, high, n }) {
  const [from, to] = [low, high].map((end) => Math.round(100 * end));
  const interval = low === null ? "" : `95\u202f% CI ${from} to ${to}\u202f%, `;
  return `${formatPercent(value)} (${interval}n = ${n.toLocaleString("en-US")})`;
}
