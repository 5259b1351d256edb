/** The controls of the viewer: mode, class of the heatmap, opacity, window and caption. */
import { decodeBytes } from "./api.js";
import { byId, capitalize, labels, make, setText } from "./elements.js";
import { decodeRadiograph, drawScale, drawWindowed, paintHeat, placeMap, upsample } from "./render.js";
import { FULL_WINDOW, Viewer } from "./viewer.js";

/** Pan per key, in CSS pixels to the right and down. */
const ARROWS = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
const HEADER = [
  ["name", "Patient"], ["id", "ID"], ["age", "Age"], ["sex", "Sex"], ["view", "View"], ["study_date", "Study date"],
];
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
  #presets = []; // windows of the file, as `view` of the viewer
  #hidesHeader = false;

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
    byId("preset").addEventListener("change", ({ target }) => viewer.changeWindow(this.#presets[target.value]));
    byId("canvas").addEventListener("keydown", (event) => {
      if (!(event.key in ARROWS) && event.key !== "Enter") return;
      event.preventDefault();
      if (event.key === "Enter") viewer.measureAtCenter();
      else viewer.moveBy(...ARROWS[event.key]);
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
    this.#showHeader();
    const source = getSource(item);
    const radiograph = source && (await this.#decode(source, Boolean(item.dicom?.values)));
    // Another image may have been selected meanwhile.
    if (item !== this.#case) return;
    if (source === getSource(item) && source !== this.#shown) {
      this.#shown = source;
      this.#offerPresets();
      this.viewer.showRadiograph(radiograph, this.#presets[0]);
    }
    this.#showOverlay();
  }

  /** Decode an image, once for any number of calls; null if the browser cannot decode it. */
  #decode(source, packed) {
    if (source !== this.#decoded.source) {
      this.#decoded = { source, radiograph: decodeRadiograph(source, packed).catch(() => null) };
    }
    return this.#decoded.radiograph;
  }

  /** Show or hide patient and study of a DICOM file. */
  toggleHeader() {
    this.#hidesHeader = !this.#hidesHeader;
    this.#showHeader();
  }

  #showHeader() {
    const { header } = this.#case?.dicom ?? {};
    const entries = header ? HEADER.map(([key, name]) => [name, header[key] || "not stated"]) : [];
    byId("patient").hidden = !entries.length || this.#hidesHeader;
    byId("patient").replaceChildren(
      ...entries.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
    );
    byId("header").hidden = !entries.length;
    byId("header").setAttribute("aria-pressed", String(!this.#hidesHeader));
  }

  #offerPresets() {
    const { presets = [], values } = this.#case?.dicom ?? {};
    this.#presets = presets.map(({ window, table }) => {
      if (table) return { ...FULL_WINDOW, table: decodeBytes(table) };
      const [low, high] = values.ends;
      const scale = 255 / (high - low || 1);
      return { ...FULL_WINDOW, level: (window[0] - low) * scale, width: window[1] * Math.abs(scale) };
    });
    for (const preset of this.#presets) delete preset.inverted;
    const options = presets.map(({ name }, number) => new Option(name, String(number)));
    byId("preset").replaceChildren(new Option("Custom", ""), ...options);
    byId("preset").parentElement.hidden = !presets.length;
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
    drawWindowed(radiograph, this.#presets[0] ?? FULL_WINDOW, plain);
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
    const done = Boolean(this.#case?.full || this.#case?.row?.error) && ["done", "deciding"].includes(this.#case.state);
    const isEmpty = this.viewer.radiograph === null;
    byId("canvas").parentElement.classList.toggle("empty", isEmpty);
    byId("wait").textContent = done ? "This file cannot be shown." : isEmpty ? "Loading the image…" : "Predicting…";
    byId("wait").hidden = !this.#case || (done && !isEmpty);
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
    const isShown = (preset) => ["level", "width", "table"].every((name) => preset[name] === viewer.view[name]);
    const preset = this.#presets.findIndex(isShown);
    byId("preset").value = preset < 0 ? "" : String(preset);
    const pressed = {
      invert: inverted, window: viewer.windowMode, side: viewer.sideBySide, ruler: viewer.rulerMode,
    };
    for (const [id, on] of Object.entries(pressed)) byId(id).setAttribute("aria-pressed", String(on));
    const text = `${this.#describeGray()} · ${Math.round(100 * viewer.zoom)}\u202f%`;
    byId("readout").textContent = viewer.radiograph ? text : "";
    setText("measure", viewer.rulerMode && viewer.radiograph ? this.#measure() : "");
  }

  /** Return the value under the pointer and the window, in units of the file if it has them. */
  #describeGray() {
    const { pointed, radiograph, view: { level, width, table } } = this.viewer;
    const { ends: [low, high], unit } = this.#case?.dicom?.values ?? { ends: [0, 255], unit: "" };
    const isGray = !this.#case?.dicom?.values;
    const format = (value) => String(Number(value.toPrecision(Math.abs(value) >= 1000 ? 5 : 3)));
    const value = pointed === null ? "" : `${isGray ? "gray" : "value"} ${format(low + ((high - low) * pointed) / radiograph.white)}`;
    // Behind a table, level and width are gray levels.
    const scale = table ? 1 : (high - low) / 255;
    const window = `level ${format((table ? 0 : low) + level * scale)}, width ${format(width * Math.abs(scale))}`;
    return [value && `${value} ${unit}`.trim(), `${window} ${table ? "" : unit}`.trim()].filter(Boolean).join(" · ");
  }

  #measure() {
    const { ruler: [start, end], radiograph } = this.viewer;
    if (!start) return "Click two points to measure.";
    if (!end) return "Click the second point.";
    const [width, height] = this.#case?.full?.size ?? radiograph.size;
    const [across, down] = [(end.x - start.x) * width, (end.y - start.y) * height];
    const spacing = this.#case?.dicom?.spacing;
    if (!spacing) return `${Math.hypot(across, down).toFixed(0)} pixels (the file states no spacing)`;
    return `${Math.hypot(across * spacing.columns, down * spacing.rows).toFixed(1)} mm (${spacing.plane})`;
  }
}

/** Return what to show of an image: the values of a DICOM file, the image that the server converted, or the file. */
function getSource(item) {
  return item?.dicom?.values?.image ?? item?.image ?? item?.file ?? null;
}

function describe(mode, side) {
  return {
    radiograph: `Original radiograph. The models receive ${side} × ${side} pixels.`,
    heatmap: "Class activation map: evidence for the class, relative to the maximum over all classes.",
    anomaly: "Differences from normals, by the anomaly detector, which knows normals only.",
  }[mode];
}
