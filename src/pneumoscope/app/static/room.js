/** The reading room: films come in, answers are shown. This file only joins the parts. */
import { PointChoice, showAnswer } from "./answer.js";
import { decodeBytes, getJson } from "./api.js";
import { Cases } from "./cases.js";
import { byId, makeMark } from "./elements.js";
import { layOutSheet, saveCsv, saveDicom, saveJson } from "./exports.js";
import { followGestures } from "./gestures.js";
import { offerPhantoms, openIntake } from "./intake.js";
import { followKeys } from "./keys.js";
import { PointMap } from "./map.js";
import { showSimilar } from "./similar.js";
import { ViewerControls } from "./viewer_controls.js";
import { WorkList } from "./worklist.js";

const SHEET_SIDE = 900;
const MIB = 2 ** 20;
const notice = document.querySelector(".notice").textContent;
const cases = new Cases(Number(byId("picker").dataset.maxMegabytes) * MIB);
const controls = new ViewerControls();
const workList = new WorkList(cases);
const map = new PointMap(byId("map"), { follow: followGestures, mark: makeMark });
let known = null;

function complain(message, { retry = false } = {}) {
  byId("message-text").textContent = message;
  byId("message").hidden = !message;
  byId("retry").hidden = !retry;
}

function take(films) {
  if (!films.length) return;
  complain("");
  const first = !cases.list.length;
  cases.add(films);
  if (first) {
    window.scrollTo(0, 0);
    byId("case-name").focus({ preventScroll: true });
  }
}

function show() {
  const item = cases.chosen;
  byId("intake").hidden = Boolean(item);
  byId("desk").hidden = !item;
  controls.show(item);
  if (!item) return;
  byId("case-name").textContent = item.name;
  byId("case-kind").hidden = !item.phantom;
  const [height, width] = item.row?.size ?? [];
  byId("case-size").textContent = width ? `${width} × ${height} px` : "";
  workList.show();
  showAnswer(item);
  showSimilar(item.full ?? item.row, known);
  byId("map").hidden = !item.full?.position;
  map.show(item.full?.position, (item.full?.neighbors ?? []).flatMap(({ index }) => index ?? []));
  document.title = `${item.name} · Pneumoscope`;
}

function step(by) {
  cases.step(by);
  workList.reveal();
}

/** Arrows step through the films while the work list has the focus; elsewhere they scroll, as ever. */
function followArrows() {
  byId("worklist").addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
    workList.focus();
  });
}

async function printSheet() {
  const item = cases.chosen;
  if (byId("print").disabled) return;
  layOutSheet(item, controls.drawForPrint(SHEET_SIDE), notice);
  window.print();
}

async function exportDicom() {
  byId("dicom").disabled = true;
  try {
    await saveDicom(cases.chosen, { point: cases.point, deidentify: byId("deidentify").checked });
    complain("");
  } catch (error) {
    complain(`The DICOM files were not made: ${error.message}`);
  }
  show();
}

function wireButtons() {
  const acts = {
    previous: () => step(-1), next: () => step(1), print: printSheet, dicom: exportDicom,
    retry: () => {
      complain("");
      cases.retry();
    },
    csv: () => saveCsv(cases.list), json: () => saveJson(cases.list, notice),
    clear: () => {
      cases.clear();
      complain("");
      document.title = "Reading room · Pneumoscope";
      byId("choose").focus();
    },
  };
  for (const [id, act] of Object.entries(acts)) byId(id).addEventListener("click", act);
}

function wireKeys() {
  const { viewer } = controls;
  const { view } = viewer;
  followKeys({
    j: () => step(1), k: () => step(-1),
    "+": () => viewer.zoomBy(1.25), "=": () => viewer.zoomBy(1.25), "-": () => viewer.zoomBy(0.8),
    0: () => viewer.reset(),
    w: () => viewer.set({ windowMode: !viewer.windowMode }), i: () => viewer.changeWindow({ inverted: !view.inverted }),
    b: () => viewer.changeWindow({ level: view.level - 8 }), B: () => viewer.changeWindow({ level: view.level + 8 }),
    c: () => viewer.changeWindow({ width: view.width - 16 }), C: () => viewer.changeWindow({ width: view.width + 16 }),
    1: () => controls.setMode("film"), 2: () => controls.setMode("heatmap"), 3: () => controls.setMode("anomaly"),
    s: () => controls.toggleSide(), o: () => controls.changeOpacity(10),
    O: () => controls.changeOpacity(-10), f: () => byId("full").click(), p: printSheet,
    u: () => byId("picker").click(), "?": () => byId("help").showModal(),
  }, () => Boolean(cases.chosen));
}

/** Fetch what stays the same for all films; the page works, with less, where one of these fails. */
async function fetchLasting() {
  const fetches = [
    offerPhantoms(take, complain),
    getJson("/api/models").then((models) => {
      controls.offer(models);
      point.offer(models.operating_points);
    }),
    getJson("/api/known").then((answer) => {
      known = answer;
      const values = new Float32Array(decodeBytes(answer.coordinates).buffer);
      map.offer({ ...answer, coordinates: answer.names.map((_, number) => values.subarray(2 * number, 2 * number + 2)) });
    }),
  ];
  for (const { reason } of await Promise.allSettled(fetches)) if (reason) complain(reason.message);
  show();
}

const point = new PointChoice((chosen) => cases.setPoint(chosen));
cases.addEventListener("change", show);
cases.addEventListener("trouble", ({ detail }) => complain(detail, { retry: true }));
openIntake(take, complain);
wireButtons();
wireKeys();
followArrows();
fetchLasting();
