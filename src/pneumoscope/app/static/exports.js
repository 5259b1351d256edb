/** Readings as files: table, JSON, DICOM, and one printed page. */
import { PHANTOM_NOTE } from "./answer.js";
import { makeDicom } from "./api.js";
import { CLASSES, byId, download, formatNumber, formatPercent, make } from "./elements.js";

// The columns of the command line's table, in its order.
const COLUMNS = [
  "path", "error", "decision", "operating_point", "p_normal", "p_bacterial", "p_viral", "p_pneumonia", "anomaly_score",
  "anomaly_percentile", "in_distribution", "reason", "neighbors", "heatmap", "model",
];

/** Save all finished readings of some cases as a table. */
export function saveCsv(cases) {
  const lines = [COLUMNS, ...getRows(cases).map((row) => COLUMNS.map((name) => row[name] ?? null))];
  const text = lines.map((cells) => cells.map(writeCell).join(",")).join("\r\n");
  download(new Blob([`${text}\r\n`], { type: "text/csv" }), "pneumoscope.csv");
}

/** Save all finished readings as JSON, with the notice, and intervals, threshold and sentence beside the columns. */
export function saveJson(cases, notice) {
  const text = JSON.stringify({ notice, readings: getRows(cases) }, null, 2);
  download(new Blob([`${text}\n`], { type: "application/json" }), "pneumoscope.json");
}

/** Save the DICOM files of one case; the options are those of `makeDicom`. */
export async function saveDicom(item, options) {
  const stem = item.name.split("/").at(-1).replace(/\.[^.]*$/, "") || "image";
  download(await makeDicom(item.file, options), `${stem}-pneumoscope.zip`);
}

function getRows(cases) {
  return cases.filter(({ row, state }) => row && state === "done").map(({ row }) => row);
}

function writeCell(value) {
  if (value === null) return "";
  if (typeof value === "boolean") return value ? "True" : "False";
  let text = typeof value === "object" ? JSON.stringify(value) : String(value);
  // A spreadsheet takes text that begins so for a formula, and a file may have any name.
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Lay out one page on paper.
 *
 * @param {import("./cases.js").Case} item
 * @param {HTMLCanvasElement[]} pictures the radiograph, and the radiograph with its heatmap.
 * @param {string} notice
 */
export function layOutSheet(item, pictures, notice) {
  const { row } = item;
  const captions = ["Radiograph", "Heatmap of the decided class, last layer"];
  const figures = pictures.map((picture, number) => {
    return make("figure", {}, picture, make("figcaption", {}, captions[number]));
  });
  const printed = new Date().toISOString().slice(0, 16).replace("T", " ");
  byId("sheet").replaceChildren(
    make("p", { class: "sheet-notice" }, notice),
    make("h1", {}, "Pneumoscope reading"),
    make("p", {}, item.name),
    make("p", { class: "sheet-phantom" }, item.phantom ? PHANTOM_NOTE : ""),
    make("p", { class: "sheet-decision" }, byId("decision").textContent),
    make("p", { class: "sheet-sentence" }, row.sentence),
    make("div", { class: "sheet-figures" }, ...figures),
    make("div", { class: "sheet-tables" }, tabulateScores(row), tabulateNeighbors(row)),
    make("p", {}, describeDetails(row)),
    make("p", {}, byId("subtype-trust")?.textContent ?? ""),
    make("p", { class: "sheet-foot" }, `Model ${row.model}. Printed ${printed} UTC.`),
  );
}

function tabulateScores(row) {
  const body = CLASSES.map((name) => {
    const [low, high] = row.intervals[name].map((end) => Math.round(100 * end));
    return [name, formatPercent(row[`p_${name}`]), `${low} to ${high}\u202f%`];
  });
  return tabulate("Probabilities", ["Class", "Probability", "95 % interval"], body);
}

function tabulateNeighbors(row) {
  const body = row.neighbors.map(({ name, label, distance }) => [name.split("/").at(-1), label, distance.toFixed(2)]);
  return tabulate("Nearest training images", ["File", "Class", "Distance"], body);
}

function tabulate(caption, heads, body) {
  const cells = (tag, texts, attributes) => make("tr", {}, ...texts.map((text) => make(tag, attributes, text)));
  return make(
    "table", {}, make("caption", {}, caption), make("thead", {}, cells("th", heads, { scope: "col" })),
    make("tbody", {}, ...body.map((texts) => cells("td", texts, {}))),
  );
}

function describeDetails(row) {
  const point = Number.isNaN(Number(row.operating_point)) ? row.operating_point : "own";
  return [
    `Operating point ${point}: pneumonia from ${formatPercent(row.threshold)} on.`,
    `Anomaly score ${formatNumber(row.anomaly_score)}, above ${Math.floor(row.anomaly_percentile)}\u202f% of normals.`,
    `The image is ${row.in_distribution ? "like" : "unlike"} the training images.`,
  ].join(" ");
}
