/** What surrounds the viewer: modes, class and layer of the heat-map, opacity, window, and the words below it. */
import { decodeBytes } from "./api.js";
import { byId, capitalize } from "./elements.js";
import { decodeFilm, drawWindowed, readDataAddress } from "./film.js";
import { ARROWS } from "./gestures.js";
import { GRID, colorHeat, paintHeat, pickHeatmap } from "./overlay.js";
import { FULL_WINDOW, Viewer } from "./viewer.js";

const OPACITIES = { film: 55, heatmap: 55, anomaly: 65 };

/** The viewer with all that steers it. */
export class ViewerControls {
  viewer = new Viewer(byId("canvas"));
  mode = "film";
  #opacities = { ...OPACITIES };
  #case = null;
  #decoded = { source: null, film: null };
  #shown = null;
  #answer = null;
  #classes = [];
  #layers = [];

  constructor() {
    this.#wireModes();
    this.#wireButtons();
    this.#wireSliders();
    this.viewer.addEventListener("change", () => this.#report());
    drawScale(byId("scale-bar"));
  }

  /** @param {{classes: string[], layers: {name: string, shape: number[]}[]}} models */
  offer({ classes, layers }) {
    this.#classes = classes;
    this.#layers = layers;
    byId("heatmap-class").replaceChildren(
      new Option("", "answer"),
      ...classes.map((name) => new Option(name, name)),
    );
    byId("heatmap-layer").replaceChildren(
      ...layers.map(({ name, shape }) => new Option(`${name} (${shape.join(" × ")} cells)`, name)).reverse(),
    );
  }

  /** @param {import("./cases.js").Case | null} item whose film and pictures to show, as far as they are there. */
  async show(item) {
    const changed = item !== this.#case;
    this.#case = item;
    this.#answer = item?.full?.heatmaps ? item.full : null;
    if (changed) {
      this.#shown = null;
      this.viewer.showFilm(null);
    }
    await this.#showFilm(item);
    if (item === this.#case) this.#showOverlay();
  }

  async #showFilm(item) {
    const source = item?.picture ?? item?.file ?? null;
    const film = source && (await this.#decode(source));
    // Another film may have been chosen while this one was decoded.
    const wanted = item === this.#case && source === (item?.picture ?? item?.file ?? null);
    if (!wanted || source === this.#shown) return;
    this.#shown = source;
    this.viewer.showFilm(film);
  }

  /** Decode a film once, however often it is asked for meanwhile; null if the browser cannot. */
  #decode(source) {
    if (source !== this.#decoded.source) {
      const blob = typeof source === "string" ? readDataAddress(source) : source;
      this.#decoded = { source, film: decodeFilm(blob).catch(() => null) };
    }
    return this.#decoded.film;
  }

  /** @param {string} mode `film`, `heatmap` or `anomaly`. */
  setMode(mode) {
    const choice = document.querySelector(`input[name="mode"][value="${mode}"]`);
    if (choice.disabled) return;
    choice.checked = true;
    this.mode = mode;
    byId("opacity").value = this.#opacities[mode];
    this.#showOverlay();
  }

  /** Show the next weaker or stronger overlay, in steps of 10 %. */
  changeOpacity(by) {
    this.#setOpacity(Math.min(100, Math.max(0, this.#opacities[this.mode] + by)));
  }

  /** Switch between one pane and two. */
  toggleSide() {
    this.viewer.set({ sideBySide: !this.viewer.sideBySide });
  }

  /** Return a film with its overlay as two canvases for print, or an empty list. */
  drawForPrint(side) {
    const { film } = this.viewer;
    if (!film) return [];
    const plain = new OffscreenCanvas(1, 1);
    drawWindowed(film, FULL_WINDOW, plain);
    const overlay = this.#answer && this.#paintHeatmap("answer", this.#layers.at(-1).name);
    return [null, overlay].slice(0, overlay ? 2 : 1).map((cover) => {
      const scale = side / Math.max(film.width, film.height);
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width: film.width * scale, height: film.height * scale });
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(plain, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 0.55;
      if (cover) context.drawImage(cover, 0, 0, canvas.width, canvas.height);
      return canvas;
    });
  }

  #wireModes() {
    for (const choice of document.querySelectorAll('input[name="mode"]')) {
      choice.addEventListener("change", () => this.setMode(choice.value));
    }
    for (const id of ["heatmap-class", "heatmap-layer"]) {
      byId(id).addEventListener("change", () => this.#showOverlay());
    }
    byId("opacity").addEventListener("input", (event) => this.#setOpacity(event.target.valueAsNumber));
    byId("side").addEventListener("click", () => this.toggleSide());
  }

  #wireButtons() {
    const { viewer } = this;
    const acts = {
      "zoom-in": () => viewer.zoomBy(1.4),
      "zoom-out": () => viewer.zoomBy(1 / 1.4),
      window: () => viewer.set({ windowMode: !viewer.windowMode }),
      invert: () => viewer.changeWindow({ inverted: !viewer.view.inverted }),
      reset: () => viewer.reset(),
      full: () => toggleFullScreen(document.querySelector(".viewer")),
    };
    for (const [id, act] of Object.entries(acts)) byId(id).addEventListener("click", act);
    byId("full").hidden = !document.fullscreenEnabled;
  }

  #wireSliders() {
    for (const name of ["level", "width"]) {
      byId(name).addEventListener("input", (event) => {
        this.viewer.changeWindow({ [name]: event.target.valueAsNumber });
      });
    }
    byId("canvas").addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      this.viewer.moveBy(...step);
    });
  }

  #setOpacity(percent) {
    this.#opacities[this.mode] = percent;
    byId("opacity").value = percent;
    this.viewer.set({ opacity: percent / 100 });
  }

  #showOverlay() {
    const able = Boolean(this.#answer);
    for (const choice of document.querySelectorAll('input[name="mode"]')) {
      choice.disabled = !able && choice.value !== "film";
    }
    const mode = able ? this.mode : "film";
    document.querySelector(`input[name="mode"][value="${mode}"]`).checked = true;
    byId("heatmap-choice").hidden = mode !== "heatmap";
    byId("opacity").parentElement.hidden = mode === "film";
    byId("scale").hidden = mode === "film";
    this.viewer.opacity = this.#opacities[mode] / 100;
    this.viewer.showOverlay(this.#paint(mode));
    byId("caption").textContent = this.viewer.film ? this.#describe(mode) : "";
    byId("heatmap-trust").hidden = mode !== "heatmap";
    const done = this.#case?.state === "done";
    byId("wait").textContent = done ? "No picture of this file" : "Reading…";
    byId("wait").hidden = !this.#case || (done && this.viewer.film !== null);
  }

  #paint(mode) {
    if (mode === "heatmap") return this.#paintHeatmap();
    return mode === "anomaly" ? this.#paintAnomaly() : null;
  }

  #decidedClass() {
    const { decision, p_normal: normal, p_bacterial: bacterial, p_viral: viral } = this.#answer;
    const kind = bacterial >= viral ? "bacterial" : "viral";
    if (decision === "not sure") return normal >= Math.max(bacterial, viral) ? "normal" : kind;
    return decision === "normal" ? "normal" : kind;
  }

  #paintHeatmap(chosen = byId("heatmap-class").value, layer = byId("heatmap-layer").value) {
    const name = chosen === "answer" ? this.#decidedClass() : chosen;
    const map = this.#answer.heatmaps[layer];
    const values = pickHeatmap({ ...map, data: decodeBytes(map.data) }, this.#classes.indexOf(name));
    byId("heatmap-class").options[0].textContent = `the answer, ${this.#decidedClass()}`;
    byId("scale-name").textContent = capitalize(name);
    byId("scale-high").textContent = "most in the layer";
    return paintHeat(values);
  }

  #paintAnomaly() {
    const { data, shape } = this.#answer.anomaly_map;
    byId("scale-name").textContent = "Unusual";
    byId("scale-high").textContent = "1 in 1,000 of normal films";
    return paintHeat(Float32Array.from(decodeBytes(data), (value) => value / 255), shape[1]);
  }

  #describe(mode) {
    const layer = byId("heatmap-layer").value;
    return {
      film: `The film as it came. The models see it shrunk to ${GRID} × ${GRID} pixels.`,
      heatmap: `Where ${layer} saw what spoke for the class; the brightest is the most it holds for any class.`,
      anomaly: "Where the film looks unlike normal films, to a model that has seen no others.",
    }[mode];
  }

  #report() {
    const { viewer } = this;
    const { level, width, inverted } = viewer.view;
    byId("level").value = level;
    byId("width").value = width;
    byId("invert").setAttribute("aria-pressed", String(inverted));
    byId("window").setAttribute("aria-pressed", String(viewer.windowMode));
    byId("side").setAttribute("aria-pressed", String(viewer.sideBySide));
    const pointed = viewer.pointed === null ? "" : `gray ${viewer.pointed} · `;
    const window = `level ${Math.round(level)}, width ${Math.round(width)}`;
    byId("readout").textContent = viewer.film ? `${pointed}${window} · ${Math.round(100 * viewer.zoom)}\u202f%` : "";
  }
}

function drawScale(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x += 1) {
    context.fillStyle = `rgb(${colorHeat(0.15 + (0.85 * x) / (canvas.width - 1)).map(Math.round).join(" ")})`;
    context.fillRect(x, 0, 1, 1);
  }
}

/** Show one part of the page on the whole screen, or leave that. */
export function toggleFullScreen(element) {
  if (document.fullscreenElement) document.exitFullscreen();
  else element.requestFullscreen?.();
}
