/** Answers to take along: table, JSON, DICOM, and one printed page. */
import { ON_PHANTOMS } from "./answer.js";
import { makeDicom } from "./api.js";
import { byId, download, make, sayNumber, sayPercent } from "./elements.js";

// The columns of the command line's table, in its order.
const COLUMNS = [
  "path", "error", "decision", "operating_point", "p_normal", "p_bacterial", "p_viral", "p_pneumonia", "anomaly_score",
  "anomaly_percentile", "in_domain", "reason", "neighbors", "heatmap", "model",
];

/**
 * Save all answers as a table.
 *
 * @param {import("./cases.js").Case[]} cases
 */
export function saveCsv(cases) {
  const lines = [COLUMNS, ...answered(cases).map((row) => COLUMNS.map((name) => row[name] ?? null))];
  const text = lines.map((cells) => cells.map(writeCell).join(",")).join("\r\n");
  download(new Blob([`${text}\r\n`], { type: "text/csv" }), "pneumoscope.csv");
}

/**
 * Save all answers as JSON, with intervals, threshold and sentence beside the columns of the table.
 *
 * @param {import("./cases.js").Case[]} cases
 * @param {string} notice that goes wherever the answers go.
 */
export function saveJson(cases, notice) {
  const text = JSON.stringify({ notice, readings: answered(cases) }, null, 2);
  download(new Blob([`${text}\n`], { type: "application/json" }), "pneumoscope.json");
}

/**
 * Save the DICOM files of one film.
 *
 * @param {import("./cases.js").Case} item
 * @param {{point: string, deidentify: boolean}} how
 */
export async function saveDicom(item, how) {
  download(await makeDicom(item.file, how), `${stemOf(item.name)}-pneumoscope.zip`);
}

function answered(cases) {
  return cases.filter(({ row, state }) => row && state === "done").map(({ row }) => row);
}

function stemOf(name) {
  return name.split("/").at(-1).replace(/\.[^.]*$/, "") || "film";
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
 * Lay out one page on paper for a film.
 *
 * @param {import("./cases.js").Case} item
 * @param {HTMLCanvasElement[]} pictures the film, and the film under its heat-map.
 * @param {string} notice
 */
export function layOutSheet(item, pictures, notice) {
  const { row } = item;
  const captions = ["The film as it came", "Where the last layer saw what spoke for the answer"];
  const figures = pictures.map((picture, number) => {
    return make("figure", {}, picture, make("figcaption", {}, captions[number]));
  });
  const printed = new Date().toISOString().slice(0, 16).replace("T", " ");
  byId("sheet").replaceChildren(
    make("p", { class: "sheet-notice" }, notice),
    make("h1", {}, "Pneumoscope reading"),
    make("p", {}, item.name),
    make("p", { class: "sheet-phantom" }, item.phantom ? ON_PHANTOMS : ""),
    make("p", { class: "sheet-decision" }, byId("decision").textContent),
    make("p", { class: "sheet-sentence" }, row.sentence),
    make("div", { class: "sheet-figures" }, ...figures),
    make("div", { class: "sheet-tables" }, tabulateScores(row), tabulateNeighbors(row)),
    make("p", {}, sayRest(row)),
    make("p", {}, byId("subtype-trust")?.textContent ?? ""),
    make("p", { class: "sheet-foot" }, `Model ${row.model}. Printed ${printed} UTC.`),
  );
}

function tabulateScores(row) {
  const body = ["normal", "bacterial", "viral", "pneumonia"].map((name) => {
    const [low, high] = row.intervals?.[name] ?? [];
    const range = low === undefined ? "" : `${Math.round(100 * low)} to ${Math.round(100 * high)}\u202f%`;
    return [name === "pneumonia" ? "pneumonia in all" : name, sayPercent(row[`p_${name}`]), range];
  });
  return tabulate("Probabilities", ["Class", "Probability", "95 % interval"], body);
}

function tabulateNeighbors(row) {
  const body = row.neighbors.map(({ name, label, distance }) => [name.split("/").at(-1), label, distance.toFixed(2)]);
  return tabulate("Most similar training films", ["File", "Class", "Distance"], body);
}

function tabulate(caption, heads, body) {
  const cells = (tag, texts, attributes) => make("tr", {}, ...texts.map((text) => make(tag, attributes, text)));
  return make(
    "table", {}, make("caption", {}, caption), make("thead", {}, cells("th", heads, { scope: "col" })),
    make("tbody", {}, ...body.map((texts) => cells("td", texts, {}))),
  );
}

function sayRest(row) {
  const point = Number.isNaN(Number(row.operating_point)) ? row.operating_point : "own";
  const percentile = `${Math.floor(row.anomaly_percentile)}\u202f%`;
  const alike = row.in_domain ? "looks like" : "looks unlike";
  return [
    `Operating point ${point}: pneumonia from ${sayPercent(row.threshold)} on.`,
    `Anomaly score ${sayNumber(row.anomaly_score)}, above ${percentile} of normal films.`,
    `The film ${alike} those that the models were trained on.`,
  ].join(" ");
}
