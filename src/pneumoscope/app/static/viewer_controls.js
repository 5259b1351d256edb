/** The controls of the viewer: mode, class of the heatmap, opacity, window and caption. */
import { decodeBytes } from "./api.js";
import { byId, capitalize, labels } from "./elements.js";
import { decodeRadiograph, drawScale, drawWindowed, paintHeat, placeMap, upsample } from "./render.js";
import { FULL_WINDOW, Viewer } from "./viewer.js";

/** Pan per key, in CSS pixels to the right and down. */
const ARROWS = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
const MODES = 'input[name="mode"]';

/** The viewer with its controls. */
export class ViewerControls {
  viewer = new Viewer(byId("canvas"));
  mode = "radiograph";
  #opacities = { radiograph: 55, heatmap: 55, anomaly: 65 };
  #case = null;
  #decoded = { source: null, radiograph: null };
  #shown = null;
  #reading = null;
  #side = 128; // of the model input, in pixels

  constructor() {
    const { viewer } = this;
    for (const choice of document.querySelectorAll(MODES)) {
      choice.addEventListener("change", () => this.setMode(choice.value));
    }
    byId("heatmap-class").addEventListener("change", () => this.#showOverlay());
    byId("opacity").addEventListener("input", (event) => {
      this.#opacities[this.mode] = event.target.valueAsNumber;
      viewer.set({ opacity: event.target.valueAsNumber / 100 });
    });
    for (const name of ["level", "width"]) {
      byId(name).addEventListener("input", (event) => viewer.changeWindow({ [name]: event.target.valueAsNumber }));
    }
    byId("canvas").addEventListener("keydown", (event) => {
      if (!(event.key in ARROWS)) return;
      event.preventDefault();
      viewer.moveBy(...ARROWS[event.key]);
    });
    viewer.addEventListener("change", () => this.#report());
    drawScale(byId("scale-bar"));
  }

  /** @param {number} side of the model input in pixels. */
  offer(side) {
    this.#side = side;
    const names = labels.label_set.classes;
    byId("heatmap-class").replaceChildren(new Option("", ""), ...names.map((name) => new Option(name)));
  }

  /** @param {import("./cases.js").Case | null} item whose image and maps to show, as far as available. */
  async show(item) {
    const changed = item !== this.#case;
    this.#case = item;
    this.#reading = item?.full?.heatmaps || item?.full?.anomaly_map ? item.full : null;
    if (changed) {
      this.#shown = null;
      this.viewer.showRadiograph(null);
    }
    const source = item?.image ?? item?.file ?? null;
    const radiograph = source && (await this.#decode(source));
    // Another image may have been selected meanwhile.
    if (item !== this.#case) return;
    if (source === (item?.image ?? item?.file ?? null) && source !== this.#shown) {
      this.#shown = source;
      this.viewer.showRadiograph(radiograph);
    }
    this.#showOverlay();
  }

  /** Decode an image, once for any number of calls; null if the browser cannot decode it. */
  #decode(source) {
    if (source !== this.#decoded.source) {
      this.#decoded = { source, radiograph: decodeRadiograph(source).catch(() => null) };
    }
    return this.#decoded.radiograph;
  }

  /** @param {string} mode `radiograph`, `heatmap` or `anomaly`. */
  setMode(mode) {
    if (document.querySelector(`${MODES}[value="${mode}"]`).disabled) return;
    this.mode = mode;
    this.#showOverlay();
  }

  /** Return canvases for print: the radiograph, and the radiograph with its heatmap, as far as available. */
  drawForPrint(side) {
    const { radiograph } = this.viewer;
    if (!radiograph) return [];
    const plain = new OffscreenCanvas(1, 1);
    drawWindowed(radiograph, FULL_WINDOW, plain);
    const overlay = this.#reading?.heatmaps && this.#paintHeatmap("");
    return (overlay ? [null, overlay] : [null]).map((cover) => {
      const scale = side / Math.max(radiograph.width, radiograph.height);
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width: radiograph.width * scale, height: radiograph.height * scale });
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(plain, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 0.55;
      if (cover) context.drawImage(cover, 0, 0, canvas.width, canvas.height);
      return canvas;
    });
  }

  #showOverlay() {
    const maps = { radiograph: true, heatmap: this.#reading?.heatmaps, anomaly: this.#reading?.anomaly_map };
    const mode = maps[this.mode] ? this.mode : "radiograph";
    for (const choice of document.querySelectorAll(MODES)) {
      choice.disabled = !maps[choice.value];
      choice.checked = choice.value === mode;
    }
    byId("heatmap-choice").hidden = byId("heatmap-trust").hidden = mode !== "heatmap";
    byId("opacity").parentElement.hidden = byId("scale").hidden = mode === "radiograph";
    byId("opacity").value = this.#opacities[mode];
    const overlay = { radiograph: () => null, heatmap: () => this.#paintHeatmap(), anomaly: () => this.#paintAnomaly() };
    this.viewer.set({ opacity: this.#opacities[mode] / 100, overlay: overlay[mode]() });
    byId("caption").textContent = this.viewer.radiograph ? describe(mode, this.#side) : "";
    const done = this.#case?.state === "done";
    byId("wait").textContent = done ? "This file cannot be shown." : "Loading…";
    byId("wait").hidden = !this.#case || (done && this.viewer.radiograph !== null);
  }

  #paintHeatmap(chosen = byId("heatmap-class").value) {
    const { heatmaps } = this.#reading;
    const name = chosen || heatmaps.explained;
    byId("heatmap-class").options[0].textContent = `${heatmaps.explained} (predicted)`;
    byId("scale-name").textContent = capitalize(name);
    byId("scale-high").textContent = "maximum";
    const { shape: [, height, width], data } = heatmaps;
    const start = labels.label_set.classes.indexOf(name) * height * width;
    const values = decodeBytes(data).subarray(start, start + height * width);
    const map = paintHeat(upsample(values, { height, width }, heatmaps, this.#side), this.#side);
    return placeMap(map, this.#reading.content);
  }

  #paintAnomaly() {
    const { data, shape } = this.#reading.anomaly_map;
    byId("scale-name").textContent = "Anomaly";
    byId("scale-high").textContent = "99.9\u202f% quantile of normals";
    const map = paintHeat(Float32Array.from(decodeBytes(data), (value) => value / 255), shape[1]);
    return placeMap(map, this.#reading.content);
  }

  #report() {
    const { viewer } = this;
    const { level, width, inverted } = viewer.view;
    byId("level").value = level;
    byId("width").value = width;
    const pressed = { invert: inverted, window: viewer.windowMode, side: viewer.sideBySide };
    for (const [id, on] of Object.entries(pressed)) byId(id).setAttribute("aria-pressed", String(on));
    const pointed = viewer.pointed === null ? "" : `gray ${viewer.pointed} · `;
    const text = `${pointed}level ${Math.round(level)}, width ${Math.round(width)} · ${Math.round(100 * viewer.zoom)}\u202f%`;
    byId("readout").textContent = viewer.radiograph ? text : "";
  }
}

function describe(mode, side) {
  return {
    radiograph: `Original radiograph. The models receive ${side} × ${side} pixels.`,
    heatmap: "Class activation map: evidence for the class, relative to the maximum over all classes.",
    anomaly: "Differences from normals, by the anomaly detector, which knows normals only.",
  }[mode];
}
