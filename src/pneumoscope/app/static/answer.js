/** The answer for the chosen film: decision, probabilities, doubt; or the refusal and its reason. */
import { byId, capitalize, make, makeMark, sayNumber, sayPercent } from "./elements.js";

const TITLES = {
  normal: "Normal", pneumonia: "Pneumonia", "not sure": "Not sure", refused: "Refused", error: "Not readable",
};
const AIMS = {
  screening: "Set to find nearly all pneumonias.",
  balanced: "Set to weigh misses and false alarms alike.",
  specific: "Set to leave nearly all normals in peace.",
  own: "Pneumonia from your own number on.",
};

/** What goes with each answer for a drawing. */
export const ON_PHANTOMS =
  "A drawing. The models learned from films alone, so this answer shows the room, not their skill.";

/**
 * Show the answer of a film, or that it is on its way.
 *
 * @param {import("./cases.js").Case} item
 */
export function showAnswer(item) {
  const { row } = item;
  const pending = item.state !== "done";
  const kind = row?.error ? "error" : row?.decision;
  byId("answer").classList.toggle("pending", pending);
  byId("answer").setAttribute("aria-busy", String(pending));
  // A former answer, such as that at another operating point, stays, dimmed, until the new one is there.
  showVerdict(row, kind, item.phantom);
  const scored = typeof row?.p_pneumonia === "number";
  byId("scores").hidden = byId("facts").hidden = Boolean(row) && !scored;
  byId("point").hidden = kind === "refused" || kind === "error";
  for (const id of ["dicom", "print", "deidentify"]) byId(id).disabled = !scored || pending;
  byId("bars").replaceChildren(...(scored ? drawBars(row) : drawEmptyBars()));
  showFacts(scored ? row : null);
  byId("model").textContent = row?.model ?? "";
}

function showVerdict(row, kind, phantom) {
  const verdict = byId("verdict");
  if (!row) {
    verdict.dataset.decision = "";
    setText("verdict-kicker", "Decision");
    setText("decision", "Reading…");
    setText("sentence", "");
    byId("reason").hidden = true;
    return;
  }
  verdict.dataset.decision = kind;
  const scored = kind !== "refused" && kind !== "error";
  setText("verdict-kicker", scored ? `Decision at ${sayPoint(row.operating_point)}` : "No score was computed");
  setText("decision", TITLES[kind] ?? kind);
  setText("sentence", sayOutcome(row, kind).replaceAll(" %", "\u202f%"));
  setText("reason", scored ? (phantom ? ON_PHANTOMS : "") : adviseOn(kind));
  byId("reason").hidden = !byId("reason").textContent;
}

/** Touch the text only when it is new: a screen reader says a live region again whenever it is written to. */
function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function sayOutcome(row, kind) {
  // What this page found out by itself comes without a sentence.
  return row.sentence ?? (kind === "error" ? row.error : row.reason) ?? "";
}

function adviseOn(kind) {
  if (kind === "error") return "Check that the file is a JPEG, PNG or DICOM picture and that it is whole.";
  const why = "The models would answer anyway, and the answer would mean nothing.";
  return `${why} Bring an upright, frontal chest film with bright bones.`;
}

function sayPoint(point) {
  return Number.isNaN(Number(point)) ? `the ${point} point` : `your own ${Number(point)}`;
}

function drawBars(row) {
  const single = (name) => drawBar(name, row[`p_${name}`], row.intervals?.[name]);
  const total = drawBar("pneumonia", row.p_pneumonia, row.intervals?.pneumonia, row.threshold);
  return [...["normal", "bacterial", "viral"].map(single), total];
}

function drawEmptyBars() {
  return ["normal", "bacterial", "viral", "pneumonia"].map((name) => drawBar(name, null));
}

/** Return one row: name, number with its interval, and the bar with whisker and threshold. */
function drawBar(name, share, interval = undefined, threshold = undefined) {
  const track = make("div", { class: "track", "aria-hidden": "true" });
  if (share !== null) track.append(place(make("i", { class: `fill ${name}` }), { "--to": share }));
  if (interval) track.append(place(make("i", { class: "whisker" }), { "--from": interval[0], "--to": interval[1] }));
  if (threshold !== undefined) track.append(place(make("i", { class: "threshold" }), { "--to": threshold }));
  const value = make("span", { class: "value number" }, share === null ? "–" : sayPercent(share));
  if (interval) value.append(make("small", {}, ` ${sayRange(interval)}`));
  const label = make("dt", {}, makeMark(name), name === "pneumonia" ? "Pneumonia in all" : capitalize(name));
  const detail = make("dd", {}, value, track);
  if (threshold !== undefined) {
    const note = make("p", { class: "threshold-note small" }, `threshold ${sayPercent(threshold)}`);
    detail.append(place(note, { "--to": threshold }));
  }
  return make("div", { class: `bar-row${name === "pneumonia" ? " total" : ""}` }, label, detail);
}

function place(element, values) {
  for (const [name, value] of Object.entries(values)) element.style.setProperty(name, String(value));
  return element;
}

function sayRange([low, high]) {
  const [from, to] = [Math.round(100 * low), Math.round(100 * high)];
  return from === to ? `(${to}\u202f%)` : `(${from}–${to}\u202f%)`;
}

function showFacts(row) {
  const percentile = row?.anomaly_percentile ?? null;
  const share = percentile === 100 ? "all" : `${Math.floor(percentile)}\u202f% of`;
  setText("anomaly", percentile === null ? "–" : `More unusual than ${share} normal films`);
  setText("anomaly-note", percentile === null ? "" : `score ${sayNumber(row.anomaly_score)}`);
  byId("percentile").style.setProperty("--to", String((percentile ?? 0) / 100));
  byId("percentile").hidden = percentile === null;
  setText("domain", row ? (row.in_domain ? "Yes" : "No") : "–");
  byId("domain").dataset.state = row ? String(row.in_domain) : "";
  setText("domain-note", row && !row.in_domain ? row.reason ?? "" : "");
}

/** The choice of the operating point. */
export class PointChoice {
  #points = {};
  #onChange;

  /** @param {(point: string) => void} onChange is told a name or a number as text. */
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
    if (name === "own" && !(field.value && field.checkValidity())) {
      field.reportValidity();
      return;
    }
    this.#onChange(name === "own" ? String(field.valueAsNumber) : name);
  }

  #explain(name) {
    byId("own").hidden = name !== "own";
    const { threshold, sensitivity, one_minus_specificity: alarms } = this.#points[name] ?? {};
    const parts = [AIMS[name] ?? ""];
    if (threshold !== undefined) parts.push(`Pneumonia from ${sayPercent(threshold)} on.`);
    if (sensitivity && alarms) {
      const figures = `sensitivity ${sayPercent(sensitivity.value)}, specificity ${sayPercent(1 - alarms.value)}`;
      parts.push(`On films held out of training: ${figures}.`);
    }
    byId("point-note").textContent = parts.join(" ");
  }
}
