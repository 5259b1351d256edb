/** The canvas of the viewer: position, zoom, window and overlay of the radiograph. */
import { followGestures } from "./gestures.js";
import { drawWindowed } from "./render.js";

const MAX_ZOOM = 24;
const GAP = 6;
export const FULL_WINDOW = Object.freeze({ level: 128, width: 255, inverted: false, table: null });

/** A canvas with a radiograph; fires `change` at every change of its state. */
export class Viewer extends EventTarget {
  /** @type {import("./render.js").Radiograph | null} */
  radiograph = null;
  /** @type {OffscreenCanvas | null} over the whole radiograph. */
  overlay = null;
  opacity = 0.55;
  sideBySide = false;
  windowMode = false;
  rulerMode = false;
  /** Ends of the ruler as shares of the sides of the radiograph: none, one or two. */
  ruler = [];
  view = { ...FULL_WINDOW };
  zoom = 1;
  center = { x: 0.5, y: 0.5 };
  #canvas;
  #shown = new OffscreenCanvas(1, 1);
  #stale = true;
  #frame = 0;
  #pointer = null;
  #home = FULL_WINDOW;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    super();
    this.#canvas = canvas;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.#changed());
    followGestures(canvas, {
      move: (dx, dy) => this.moveBy(dx, dy),
      zoom: (factor, x, y) => this.zoomBy(factor, x, y),
      window: (dx, dy) => this.changeWindow({ width: this.view.width + dx, level: this.view.level - dy / 2 }),
      windows: () => this.windowMode,
      point: (x, y) => this.#pointAt(x, y),
      tap: () => this.rulerMode && this.#pointer && this.#measureFrom(this.#pointer),
      leave: () => this.#pointAt(null),
      wheels: () => Boolean(this.radiograph),
    });
  }

  /**
   * Show a radiograph; this resets the zoom. The window is kept between images that have none of their own.
   *
   * @param {import("./render.js").Radiograph | null} radiograph
   * @param {typeof FULL_WINDOW} home the window of the file, or `FULL_WINDOW`.
   */
  showRadiograph(radiograph, home = FULL_WINDOW) {
    Object.assign(this, { radiograph, overlay: null, ruler: [], zoom: 1, center: { x: 0.5, y: 0.5 } });
    if (home !== this.#home) Object.assign(this.view, home, { inverted: this.view.inverted });
    this.#home = home;
    this.#stale = true;
    this.#changed();
  }

  /** @param {Partial<typeof FULL_WINDOW>} change of level, width (in gray levels), inversion, or table. */
  changeWindow(change) {
    Object.assign(this.view, change);
    this.view.level = Math.min(510, Math.max(-255, this.view.level));
    this.view.width = Math.min(1020, Math.max(0.05, this.view.width));
    this.#stale = true;
    this.#changed();
  }

  /** Set the next end of the ruler at the center of the view; a third end starts a new ruler. */
  measureAtCenter() {
    if (this.rulerMode && this.radiograph) this.#measureFrom(this.center);
  }

  #measureFrom({ x, y }) {
    this.ruler = [...(this.ruler.length > 1 ? [] : this.ruler), { x, y }];
    this.#changed();
  }

  /** @param {Partial<Pick<Viewer, "overlay" | "opacity" | "sideBySide" | "windowMode" | "rulerMode">>} change */
  set(change) {
    Object.assign(this, change);
    this.#changed();
  }

  /** Reset zoom and window. */
  reset() {
    Object.assign(this, { zoom: 1, center: { x: 0.5, y: 0.5 } });
    this.changeWindow({ ...this.#home, inverted: false });
  }

  /** Zoom by a factor around a position on the canvas, by default its center. */
  zoomBy(factor, x = null, y = null) {
    if (!this.radiograph) return;
    const pane = x === null ? this.#panes()[0] : this.#paneAt(x, y);
    const [px, py] = x === null ? [pane.x + pane.width / 2, pane.y + pane.height / 2] : [x, y];
    const before = this.#place(pane);
    const [fx, fy] = [(px - before.x) / before.width, (py - before.y) / before.height];
    this.zoom = Math.min(MAX_ZOOM, Math.max(1, this.zoom * factor));
    const after = this.#place(pane);
    this.center.x += fx - (px - after.x) / after.width;
    this.center.y += fy - (py - after.y) / after.height;
    this.#hold();
    this.#changed();
  }

  /** Pan by CSS pixels. */
  moveBy(dx, dy) {
    if (!this.radiograph) return;
    const { width, height } = this.#place(this.#panes()[0]);
    this.center.x -= dx / width;
    this.center.y -= dy / height;
    this.#hold();
    this.#changed();
  }

  /** Draw in the next frame, once for any number of changes. */
  #changed() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
    this.dispatchEvent(new Event("change"));
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    if (!clientWidth || !clientHeight) return; // not laid out: printed or hidden
    const ratio = window.devicePixelRatio || 1;
    Object.assign(this.#canvas, { width: Math.round(clientWidth * ratio), height: Math.round(clientHeight * ratio) });
    if (this.radiograph) this.#hold();
    // Resizing empties the canvas, so it is drawn at once.
    this.#draw();
  }

  #pointAt(x, y) {
    this.#pointer = null;
    if (x !== null && this.radiograph) {
      const pane = this.#paneAt(x, y);
      const place = this.#place(pane);
      const point = { x: (x - place.x) / place.width, y: (y - place.y) / place.height };
      if (point.x >= 0 && point.x < 1 && point.y >= 0 && point.y < 1) this.#pointer = point;
    }
    this.#changed();
  }

  /** The code under the pointer, or null. */
  get pointed() {
    if (!this.#pointer || !this.radiograph) return null;
    const { width, height, codes } = this.radiograph;
    return codes[Math.floor(this.#pointer.y * height) * width + Math.floor(this.#pointer.x * width)];
  }

  #panes() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!this.sideBySide) return [{ x: 0, y: 0, width, height }];
    const half = (Math.max(width, height) - GAP) / 2;
    if (width >= height) return [0, half + GAP].map((x) => ({ x, y: 0, width: half, height }));
    return [0, half + GAP].map((y) => ({ x: 0, y, width, height: half }));
  }

  #paneAt(x, y) {
    const panes = this.#panes();
    return panes.find((pane) => x <= pane.x + pane.width && y <= pane.y + pane.height) ?? panes[0];
  }

  /** Return the rectangle of the radiograph, in CSS pixels of the canvas. */
  #place(pane) {
    const fit = Math.min(pane.width / this.radiograph.width, pane.height / this.radiograph.height) * this.zoom;
    const [width, height] = [this.radiograph.width * fit, this.radiograph.height * fit];
    const x = pane.x + pane.width / 2 - this.center.x * width;
    return { x, y: pane.y + pane.height / 2 - this.center.y * height, width, height };
  }

  /** Limit panning: a radiograph larger than the canvas covers it, a smaller one is centered. */
  #hold() {
    const pane = this.#panes()[0];
    const { width, height } = this.#place(pane);
    const bound = (value, length, size) => {
      const reach = Math.max(0, 0.5 - length / size / 2);
      return Math.min(0.5 + reach, Math.max(0.5 - reach, value));
    };
    this.center.x = bound(this.center.x, pane.width, width);
    this.center.y = bound(this.center.y, pane.height, height);
  }

  #draw() {
    const context = this.#canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#canvas.classList.toggle("zoomed", this.zoom > 1 || this.windowMode);
    if (!this.radiograph || !this.#canvas.width) return;
    if (this.#stale) drawWindowed(this.radiograph, this.view, this.#shown);
    this.#stale = false;
    const ratio = this.#canvas.width / this.#canvas.clientWidth;
    context.scale(ratio, ratio);
    context.imageSmoothingQuality = "high";
    this.#panes().forEach((pane, number, { length }) => this.#drawPane(context, pane, number === length - 1));
  }

  #drawPane(context, pane, covered) {
    const { x, y, width, height } = this.#place(pane);
    context.save();
    context.beginPath();
    context.rect(pane.x, pane.y, pane.width, pane.height);
    context.clip();
    context.drawImage(this.#shown, x, y, width, height);
    if (covered && this.overlay) {
      context.globalAlpha = this.opacity;
      context.drawImage(this.overlay, x, y, width, height);
    }
    if (this.rulerMode) this.#drawRuler(context, pane, { x, y, width, height });
    context.restore();
  }

  /** Draw the ruler; while the keyboard moves the view, also the cross where its next end would be. */
  #drawRuler(context, pane, { x, y, width, height }) {
    const places = this.ruler.map((end) => [x + end.x * width, y + end.y * height]);
    const crosses = [...places];
    if (this.#canvas.matches(":focus-visible")) crosses.push([pane.x + pane.width / 2, pane.y + pane.height / 2]);
    context.beginPath();
    for (const [px, py] of crosses) {
      for (const [dx, dy] of [[7, 0], [0, 7]]) {
        context.moveTo(px - dx, py - dy);
        context.lineTo(px + dx, py + dy);
      }
    }
    if (places.length > 1) {
      context.moveTo(...places[0]);
      context.lineTo(...places[1]);
    }
    for (const [strokeStyle, lineWidth] of [["#000000", 4], ["#ffd33d", 1.5]]) {
      Object.assign(context, { strokeStyle, lineWidth });
      context.stroke();
    }
  }
}
