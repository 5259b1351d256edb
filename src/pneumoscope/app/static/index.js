/** The start page: connects its modules, and handles buttons and keys. */
import { PointChoice, showAnswer, showNeighbors } from "./answer.js";
import { decodeBytes, getJson } from "./api.js";
import { Cases } from "./cases.js";
import { byId, labels, showMessage } from "./elements.js";
import { layOutSheet, saveCsv, saveDicom, saveJson } from "./exports.js";
import { followGestures } from "./gestures.js";
import { offerPhantoms, openIntake } from "./intake.js";
import { Reviews } from "./reviews.js";
import { PointMap } from "./map.js";
import { ViewerControls } from "./viewer_controls.js";
import { WorkList } from "./worklist.js";

const SHEET_SIDE = 900;
const MIB = 2 ** 20;
const notice = document.querySelector(".notice").textContent;
const cases = new Cases(Number(byId("picker").dataset.maxMegabytes) * MIB);
const controls = new ViewerControls();
const { viewer } = controls;
const reviews = new Reviews();
const workList = new WorkList(cases, reviews);
const positions = new Map(); // coordinates of the reference cases by name
const map = new PointMap(byId("map"), { follow: followGestures, onLoop: selectInside });
const help = byId("help");
let hasImages = false;
let unsaved = false; // whether there are images or reviews that no export holds

function take(files) {
  if (!files.length) return;
  showMessage("");
  const isFirst = !cases.list.length;
  cases.add(files);
  unsaved ||= files.some(({ phantom }) => !phantom);
  if (isFirst) {
    window.scrollTo(0, 0);
    byId("case-name").focus({ preventScroll: true });
  }
}

function show() {
  const item = cases.chosen;
  byId("intake").hidden = Boolean(item);
  byId("workspace").hidden = !item;
  controls.show(item);
  if (!item) return;
  byId("case-name").textContent = item.name;
  byId("phantom-tag").hidden = !item.phantom;
  workList.show();
  showAnswer(item);
  reviews.show(item);
  showNeighbors(item.full ?? item.row, hasImages);
  byId("map").hidden = !item.full?.position;
  const others = cases.list.filter((other) => other !== item).map(locate).filter(Boolean);
  map.show(item.full?.position, (item.full?.neighbors ?? []).flatMap(({ index }) => index ?? []), others);
  document.title = `${item.name} · Pneumoscope`;
}

/** Return the coordinates of an image on the map: the median of its nearest reference cases, as the server computes it. */
function locate({ row }) {
  const places = (row?.neighbors ?? []).flatMap(({ name }) => (positions.has(name) ? [positions.get(name)] : []));
  if (!places.length) return null;
  return [0, 1].map((axis) => {
    const values = places.map((place) => place[axis]).sort((a, b) => a - b);
    const middle = (values.length - 1) / 2;
    return (values[Math.floor(middle)] + values[Math.ceil(middle)]) / 2;
  });
}

/** Show the images of the worklist inside a lasso. */
function selectInside(contains) {
  workList.select(contains && ((item) => {
    const place = locate(item);
    return place !== null && contains(place);
  }));
}

function step(by) {
  cases.step(by);
  workList.reveal();
}

function layOut() {
  if (!cases.chosen || byId("print").disabled) byId("sheet").replaceChildren();
  else layOutSheet(cases.chosen, controls.drawForPrint(SHEET_SIDE), reviews, notice);
}

function print() {
  if (byId("print").disabled) return;
  layOut();
  window.print();
}

/** Save all images once none is in work; images that failed are named in the file. */
async function exportAll(save) {
  const { list } = cases;
  const buttons = [byId("csv"), byId("json")];
  for (const button of buttons) button.disabled = true;
  const numInWork = list.length - cases.numDone;
  if (numInWork) showMessage(`The export starts when ${numInWork} more images have their prediction.`);
  await cases.finish();
  for (const button of buttons) button.disabled = false;
  if (list !== cases.list) return; // started over
  const numMissing = list.filter(({ row }) => !row).length;
  const missing = `The export has no prediction for ${numMissing} of ${list.length} images; they are named in the column error.`;
  if (numInWork) showMessage(numMissing ? missing : "", { retry: numMissing > 0 });
  save();
  unsaved = false;
}

async function exportDicom() {
  byId("dicom").disabled = true;
  try {
    await saveDicom(cases.chosen, { point: cases.point, deidentify: byId("deidentify").checked });
    showMessage("");
  } catch (error) {
    showMessage(`DICOM export failed: ${error.message}`);
  }
  show();
}

function retry() {
  showMessage("");
  cases.retry();
}

function clear() {
  cases.clear();
  unsaved = false;
  showMessage("");
  document.title = "Pneumoscope";
  byId("choose").focus();
}

function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.querySelector(".viewer").requestFullscreen();
}

const toggleWindow = () => viewer.set({ windowMode: !viewer.windowMode });
const toggleRuler = () => viewer.set({ rulerMode: !viewer.rulerMode, ruler: [] });
const toggleHeader = () => controls.toggleHeader();
const toggleSide = () => viewer.set({ sideBySide: !viewer.sideBySide });
const invert = () => viewer.changeWindow({ inverted: !viewer.view.inverted });

const BUTTONS = {
  retry, clear, print, invert, dicom: exportDicom, window: toggleWindow, side: toggleSide, full: toggleFullScreen,
  previous: () => step(-1), next: () => step(1),
  csv: () => exportAll(() => saveCsv(cases.list, reviews)),
  json: () => exportAll(() => saveJson(cases.list, reviews, notice)),
  ruler: toggleRuler, header: toggleHeader,
  "zoom-in": () => viewer.zoomBy(1.4), "zoom-out": () => viewer.zoomBy(1 / 1.4), reset: () => viewer.reset(),
  "help-open": () => help.showModal(), "help-close": () => help.close(),
};
const KEYS = {
  j: () => step(1), k: () => step(-1), p: print, i: invert, w: toggleWindow, s: toggleSide, f: toggleFullScreen,
  a: () => reviews.accept(), r: toggleRuler, h: toggleHeader,
  "+": () => viewer.zoomBy(1.25), "=": () => viewer.zoomBy(1.25), "-": () => viewer.zoomBy(0.8),
  0: () => viewer.reset(),
  1: () => controls.setMode("radiograph"), 2: () => controls.setMode("heatmap"), 3: () => controls.setMode("anomaly"),
  u: () => byId("picker").click(), "?": () => help.showModal(),
};
const KEYS_WITHOUT_IMAGE = ["u", "?"];

function pressKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (!(event.key in KEYS) || !byId("keys-on").checked || document.querySelector("dialog[open]")) return;
  const isTyping = event.target.matches?.("input:not([type=checkbox], [type=radio], [type=range]), select, textarea");
  if (isTyping || !(cases.chosen || KEYS_WITHOUT_IMAGE.includes(event.key))) return;
  event.preventDefault();
  KEYS[event.key]();
}

/** Step through the images with the arrow keys while the worklist has the focus; elsewhere they scroll. */
function pressArrow(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by || event.target.matches("select")) return;
  event.preventDefault();
  step(by);
  workList.focus();
}

/** Load the data that all images share. If one request fails, the rest of the page still works. */
async function load() {
  const requests = [
    offerPhantoms(take),
    getJson("/api/models").then((models) => {
      Object.assign(labels, models);
      controls.offer(models.image_size);
      point.offer(models.operating_points);
      reviews.offer();
    }),
    getJson("/api/references").then((references) => {
      hasImages = references.has_images;
      const values = new Float32Array(decodeBytes(references.coordinates).buffer);
      const coordinates = references.names.map((_, number) => values.subarray(2 * number, 2 * number + 2));
      if (coordinates.length) map.offer({ ...references, coordinates });
      references.names.forEach((name, number) => positions.set(name, coordinates[number]));
    }),
  ];
  for (const { reason } of await Promise.allSettled(requests)) if (reason) showMessage(reason.message);
  show();
}

const point = new PointChoice((chosen) => cases.setPoint(chosen));
cases.addEventListener("change", show);
reviews.addEventListener("change", () => {
  unsaved = Boolean(cases.chosen);
  show();
});
cases.addEventListener("trouble", ({ detail }) => showMessage(detail, { retry: true }));
openIntake(take);
for (const [id, act] of Object.entries(BUTTONS)) byId(id).addEventListener("click", act);
document.addEventListener("keydown", pressKey);
window.addEventListener("beforeprint", layOut);
window.addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
byId("worklist").addEventListener("keydown", pressArrow);
help.addEventListener("click", (event) => event.target === help && help.close());
byId("full").hidden = !document.fullscreenEnabled;
load();
