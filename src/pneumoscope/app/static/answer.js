/** The reading of the chosen image: decision, probabilities, anomaly, nearest reference cases, operating point. */
import { CLASSES, byId, capitalize, formatNumber, formatPercent, make, makeMark, setText } from "./elements.js";

const TITLES = {
  normal: "Normal", pneumonia: "Pneumonia", "uncertain": "Not sure", rejected: "Refused", error: "Not readable",
};
const AIMS = {
  screening: "High sensitivity: few pneumonias are missed.",
  balanced: "Sensitivity and specificity count alike.",
  specific: "High specificity: few false alarms.",
  own: "A threshold of your own.",
};

/** Shown with each reading of a phantom. */
export const PHANTOM_NOTE =
  "This is a synthetic phantom. The models were trained on radiographs, so this reading is no measure of their skill.";

/**
 * Show the reading of an image, or that it is pending.
 *
 * @param {import("./cases.js").Case} item
 */
export function showAnswer(item) {
  const { row } = item;
  const pending = item.state !== "done";
  const kind = row?.error ? "error" : row?.decision;
  byId("answer").classList.toggle("pending", pending);
  byId("answer").setAttribute("aria-busy", String(pending));
  // A former reading, such as that at another operating point, stays, dimmed, until the new one is there.
  const scored = typeof row?.p_pneumonia === "number";
  showVerdict(row, kind, scored, item.phantom);
  byId("scores").hidden = byId("facts").hidden = Boolean(row) && !scored;
  byId("point").hidden = kind === "rejected" || kind === "error";
  for (const id of ["dicom", "print", "deidentify"]) byId(id).disabled = !scored || pending;
  byId("bars").replaceChildren(...CLASSES.map((name) => drawBar(name, scored ? row : null)));
  showFacts(scored ? row : null);
  byId("model").textContent = row?.model ?? "";
}

function showVerdict(row, kind, scored, phantom) {
  byId("verdict").className = `verdict ${kind?.replace(" ", "-") ?? ""}`;
  const point = Number(row?.operating_point);
  const decided = Number.isNaN(point) ? `the ${row?.operating_point} point` : `your own ${point}`;
  setText("verdict-kicker", !row ? "Decision" : scored ? `Decision at ${decided}` : "No score was computed");
  setText("decision", row ? TITLES[kind] ?? kind : "Reading…");
  // An error of this page comes without a sentence.
  setText("sentence", (row?.sentence ?? row?.error ?? "").replaceAll(" %", "\u202f%"));
  setText("reason", !row ? "" : scored ? (phantom ? PHANTOM_NOTE : "") : advise(kind));
  byId("reason").hidden = !byId("reason").textContent;
}

function advise(kind) {
  if (kind === "error") return "Check that the file is a complete JPEG, PNG or DICOM image.";
  return "A prediction for this image would mean nothing. Use an upright, frontal chest radiograph with bright bones.";
}

/** Return one row: name, probability with its interval, and the bar with whisker and threshold. */
function drawBar(name, row) {
  const share = row?.[`p_${name}`];
  const interval = row?.intervals?.[name];
  const isTotal = name === "pneumonia";
  const track = make("div", { class: "track", "aria-hidden": "true" });
  const value = make("span", { class: "value number" }, row ? formatPercent(share) : "–");
  const label = make("dt", {}, makeMark(name), isTotal ? "Pneumonia (total)" : capitalize(name));
  const detail = make("dd", {}, value, track);
  if (row) track.append(place(make("i", { class: `fill ${name}` }), { "--to": share }));
  if (interval) {
    track.append(place(make("i", { class: "whisker" }), { "--from": interval[0], "--to": interval[1] }));
    const [low, high] = interval.map((end) => Math.round(100 * end));
    value.append(make("small", {}, low === high ? ` (${low}\u202f%)` : ` (${low}–${high}\u202f%)`));
  }
  if (row && isTotal) {
    track.append(place(make("i", { class: "threshold" }), { "--to": row.threshold }));
    const note = make("p", { class: "threshold-note small" }, `threshold ${formatPercent(row.threshold)}`);
    detail.append(place(note, { "--to": row.threshold }));
  }
  return make("div", { class: `bar-row${isTotal ? " total" : ""}` }, label, detail);
}

function place(element, values) {
  for (const [name, value] of Object.entries(values)) element.style.setProperty(name, String(value));
  return element;
}

function showFacts(row) {
  const percentile = row?.anomaly_percentile ?? null;
  const share = percentile === 100 ? "all" : `${Math.floor(percentile)}\u202f% of`;
  setText("anomaly", percentile === null ? "–" : `More unusual than ${share} normal radiographs`);
  setText("anomaly-note", percentile === null ? "" : `score ${formatNumber(row.anomaly_score)}`);
  place(byId("percentile"), { "--to": (percentile ?? 0) / 100 });
  byId("percentile").hidden = percentile === null;
  setText("domain", row ? (row.in_distribution ? "Yes" : "No") : "–");
  byId("domain").dataset.state = row ? String(row.in_distribution) : "";
  setText("domain-note", row && !row.in_distribution ? row.reason ?? "" : "");
}

/**
 * Show the nearest reference cases.
 *
 * @param {object | null} row the reading.
 * @param {boolean} pictures whether the server shows images of the reference cases.
 */
export function showNeighbors(row, pictures) {
  const neighbors = row?.neighbors ?? [];
  byId("similar").hidden = !neighbors.length;
  const counts = CLASSES.map((name) => [neighbors.filter(({ label }) => label === name).length, name]);
  const parts = counts.filter(([count]) => count).sort((a, b) => b[0] - a[0]).map((pair) => pair.join(" "));
  byId("similar-note").textContent = `Classes of the ${neighbors.length} nearest training images: ${parts.join(", ")}.`;
  const farthest = Math.max(...neighbors.map(({ distance }) => distance)) || 1;
  byId("neighbors").replaceChildren(...neighbors.map((neighbor) => drawNeighbor(neighbor, farthest, pictures)));
}

function drawNeighbor({ name, label, distance, index }, farthest, pictures) {
  const text = make(
    "div", { class: "text" },
    make("p", { class: "label" }, makeMark(label), label),
    make("p", { class: "name", title: name }, name),
    make("p", { class: "small soft number" }, `distance ${distance.toFixed(2)}`),
    place(make("i", { class: "length", "aria-hidden": "true" }), { "--to": distance / farthest }),
  );
  const entry = make("li", {}, text);
  if (pictures && index !== undefined) {
    const [src, alt] = [`/api/references/${index}.png`, `Reference case, ${label}`];
    entry.prepend(make("img", { src, alt, width: "128", height: "128", loading: "lazy" }));
  }
  return entry;
}

/** The choice of the operating point. */
export class PointChoice {
  #points = {};
  #onChange;

  /** @param {(point: string) => void} onChange called with a name, or a number as text. */
  constructor(onChange) {
    this.#onChange = onChange;
    byId("point").addEventListener("submit", (event) => event.preventDefault());
    byId("point").addEventListener("change", () => this.#change());
  }

  /** @param {Record<string, {threshold: number, sensitivity?: Share, one_minus_specificity?: Share}>} points */
  offer(points) {
    this.#points = points;
    if (points.balanced) byId("own-number").value = points.balanced.threshold.toFixed(2);
    this.#explain(this.#name);
  }

  get #name() {
    return document.querySelector('input[name="point"]:checked').value;
  }

  #change() {
    const field = byId("own-number");
    const name = this.#name;
    this.#explain(name);
    if (name !== "own") this.#onChange(name);
    else if (field.value && field.checkValidity()) this.#onChange(String(field.valueAsNumber));
    else field.reportValidity();
  }

  #explain(name) {
    byId("own").hidden = name !== "own";
    const { threshold, sensitivity, one_minus_specificity: alarms } = this.#points[name] ?? {};
    const parts = [AIMS[name] ?? ""];
    if (threshold !== undefined) parts.push(`Pneumonia from ${formatPercent(threshold)} on.`);
    if (sensitivity && alarms) {
      const metrics = [sensitivity.value, 1 - alarms.value].map(formatPercent);
      parts.push(`On held-out radiographs: sensitivity ${metrics[0]}, specificity ${metrics[1]}.`);
    }
    byId("point-note").textContent = parts.join(" ");
  }
}
