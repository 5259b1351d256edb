/** Export of predictions: CSV, JSON, DICOM and print. */
import { PHANTOM_NOTE, describePercentile } from "./answer.js";
import { makeDicom } from "./api.js";
import { byId, download, formatNumber, formatPercent, isScored, labels, make } from "./elements.js";

const REVIEW_COLUMNS = ["review", "review_label", "review_note"];

/** Save all images as CSV, with the columns of `pneumoscope read` in its order, and those of the review. */
export function saveCsv(cases, reviews) {
  const columns = [...labels.columns, ...REVIEW_COLUMNS];
  const lines = [columns, ...getRows(cases, reviews).map((row) => columns.map((name) => row[name] ?? null))];
  const text = lines.map((values) => values.map(writeValue).join(",")).join("\r\n");
  download(new Blob([`${text}\r\n`], { type: "text/csv" }), "pneumoscope.csv");
}

/** Save all images as JSON: notice, columns, intervals, thresholds, summary and review. */
export function saveJson(cases, reviews, notice) {
  const text = JSON.stringify({ notice, readings: getRows(cases, reviews) }, null, 2);
  download(new Blob([`${text}\n`], { type: "application/json" }), "pneumoscope.json");
}

/** Save the DICOM files of one image; see `makeDicom` for the options. */
export async function saveDicom(item, options) {
  const stem = item.name.split("/").at(-1).replace(/\.[^.]*$/, "") || "image";
  download(await makeDicom(item.file, options), `${stem}-pneumoscope.zip`);
}

/** Return one row per image. An image without a prediction has an error instead; others state their operating point. */
function getRows(cases, reviews) {
  return cases.map((item) => {
    const { review, label, note } = reviews.get(item);
    const row = item.row ?? { path: item.name, error: "no prediction yet" };
    return { ...row, review, review_label: label, review_note: note };
  });
}

function writeValue(value) {
  if (value === null) return "";
  if (typeof value === "boolean") return value ? "True" : "False";
  let text = typeof value === "object" ? JSON.stringify(value) : String(value);
  // Spreadsheets run text that begins with such a character as a formula, and a file can have any name.
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Fill the page for print.
 *
 * @param {import("./cases.js").Case} item
 * @param {HTMLCanvasElement[]} images the radiograph, and the radiograph with its heatmap.
 * @param {import("./reviews.js").Reviews} reviews
 * @param {string} notice
 */
export function layOutSheet(item, images, reviews, notice) {
  const { row } = item;
  const captions = ["Radiograph", "Heatmap of the predicted class"];
  const figures = images.map((image, number) => make("figure", {}, image, make("figcaption", {}, captions[number])));
  const trust = document.getElementById("label-trust");
  const printed = new Date().toISOString().slice(0, 16).replace("T", " ");
  byId("sheet").replaceChildren(
    make("p", { class: "sheet-notice" }, notice),
    make("h1", {}, "Pneumoscope prediction"),
    make("p", {}, item.name),
    make("p", { class: "sheet-phantom" }, item.phantom ? PHANTOM_NOTE : ""),
    make("p", { class: "sheet-decision" }, byId("decision").textContent),
    make("p", { class: "sheet-sentence" }, row.summary ?? row.error),
    make("div", { class: "sheet-figures" }, ...figures),
    make("div", { class: "sheet-tables" }, ...(isScored(row) ? [tabulateScores(row), tabulateNeighbors(row)] : [])),
    make("p", {}, isScored(row) ? describeDetails(row) : ""),
    make("p", {}, describeReview(reviews.get(item))),
    make("p", {}, trust && !trust.hidden ? trust.textContent : ""),
    make("p", { class: "sheet-foot" }, `Model ${row.model ?? "unknown"}. Printed ${printed} UTC.`),
  );
}

function tabulateScores(row) {
  const body = labels.scored.map((name) => {
    const [low, high] = row.intervals[name].map((end) => Math.round(100 * end));
    const threshold = name in row.thresholds ? formatPercent(row.thresholds[name]) : "";
    return [name, formatPercent(row[`p_${name}`]), `${low} to ${high}\u202f%`, threshold];
  });
  return tabulate("Probabilities", ["Class", "Probability", "95 % interval", "Threshold"], body);
}

function tabulateNeighbors(row) {
  if (!row.neighbors.length) return "";
  const body = row.neighbors.map(({ name, label, distance }) => [
    name.split("/").at(-1), label.replaceAll("|", ", "), distance.toFixed(2),
  ]);
  return tabulate("Nearest reference cases", ["File", "Class", "Distance"], body);
}

function tabulate(caption, heads, body) {
  const fill = (tag, texts, attributes) => make("tr", {}, ...texts.map((text) => make(tag, attributes, text)));
  return make(
    "table", {}, make("caption", {}, caption), make("thead", {}, fill("th", heads, { scope: "col" })),
    make("tbody", {}, ...body.map((texts) => fill("td", texts, {}))),
  );
}

function describeReview({ review, label, note }) {
  return [review && `Review: ${review}, ${label}.`, note && `Note: ${note}`].filter(Boolean).join(" ");
}

function describeDetails(row) {
  const point = Number.isNaN(Number(row.operating_point)) ? row.operating_point : "custom";
  const parts = Object.keys(row.thresholds).length ? [`Operating point ${point}.`] : [];
  if (row.anomaly_percentile !== null) {
    const flag = row.anomalous ? "flagged" : "not flagged";
    parts.push(`Anomaly score ${formatNumber(row.anomaly_score)}, ${describePercentile(row.anomaly_percentile)}: ${flag}.`);
    parts.push(byId("flag-trust").textContent);
  }
  if (row.in_distribution !== null) parts.push(`Out-of-distribution: ${row.in_distribution ? "no" : "yes"}.`);
  return parts.join(" ");
}
