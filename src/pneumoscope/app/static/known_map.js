/** The map of known films, and where the new one falls on it. */
import { decodeBytes } from "./api.js";
import { byId, make, makeMark } from "./elements.js";
import { ARROWS, followGestures } from "./gestures.js";
import { isInside, listFilms } from "./loop.js";

const MARGIN = 26;
const MAX_ZOOM = 40;
const REACH = 14;
const IDLE_HINT = matchMedia("(pointer: coarse)").matches
  ? "Tap a film for its name. Pinch to zoom."
  : "Point at a film for its name. Click, then turn the wheel to zoom.";

/** A scatter plot of all known films on a canvas. */
export class KnownMap {
  #canvas = byId("map-canvas");
  #known = null;
  #points = new Float32Array();
  #hidden = new Set();
  #answer = null;
  #zoom = 1;
  #center = { x: 0.5, y: 0.5 };
  #hovered = -1;
  #loop = [];
  #frame = 0;

  constructor() {
    followGestures(this.#canvas, {
      move: (dx, dy) => this.#move(dx, dy),
      zoom: (factor, x, y) => this.#zoomAt(factor, x, y),
      point: (x, y) => this.#pointAt(x, y),
      leave: () => this.#pointAt(null),
      window: (_dx, _dy, x, y) => this.#drawLoop(x, y),
      windows: () => byId("map-loop").getAttribute("aria-pressed") === "true",
      // A page is scrolled by the wheel too, until the reader has turned to the map.
      wheels: () => document.activeElement === this.#canvas,
    });
    this.#canvas.addEventListener("pointerdown", () => this.#clearLoop());
    this.#canvas.addEventListener("keydown", (event) => this.#steer(event));
    const acts = {
      "map-in": () => this.#zoomAt(1.6), "map-out": () => this.#zoomAt(1 / 1.6),
      "map-reset": () => this.#look(1, { x: 0.5, y: 0.5 }), "map-find": () => this.#find(),
      "map-loop": () => this.#toggleLoop(),
    };
    for (const [id, act] of Object.entries(acts)) byId(id).addEventListener("click", act);
    new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    for (const name of ["themechange", "visibilitychange"]) document.addEventListener(name, () => this.#redraw());
  }

  /** @param {{classes: string[], names: string[], labels: string[], coordinates: string}} known */
  offer(known) {
    this.#known = known;
    this.#points = scalePoints(new Float32Array(decodeBytes(known.coordinates).buffer));
    byId("map-filters").replaceChildren(byId("map-filters").querySelector("legend"), ...known.classes.map((name) => {
      const box = make("input", { type: "checkbox", checked: "" });
      box.addEventListener("change", () => {
        this.#hidden[box.checked ? "delete" : "add"](name);
        this.#redraw();
      });
      return make("label", { class: "small" }, box, makeMark(name), name);
    }));
    this.#redraw();
  }

  /** @param {object | null} answer in full, with `position` and `neighbors`. */
  show(answer) {
    byId("map").hidden = !answer?.position;
    if (answer === this.#answer) return;
    this.#answer = answer;
    this.#say();
    this.#redraw();
  }

  get #position() {
    const scaled = this.#answer?.position && this.#points.scale?.(this.#answer.position);
    return scaled ? { x: scaled[0], y: scaled[1] } : null;
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    if (!clientWidth || !clientHeight) return; // not laid out: on paper, or hidden
    const ratio = devicePixelRatio || 1;
    Object.assign(this.#canvas, { width: Math.round(clientWidth * ratio), height: Math.round(clientHeight * ratio) });
    this.#draw();
  }

  #redraw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  /** How many CSS pixels the unit takes at which the whole map just fits. */
  #side() {
    const { clientWidth, clientHeight } = this.#canvas;
    const [across, down] = this.#points.spans ?? [1, 1];
    return Math.max(1, Math.min((clientWidth - 2 * MARGIN) / across, (clientHeight - 2 * MARGIN) / down));
  }

  /** Return where a point of the unit square lies on the canvas, in CSS pixels. */
  #project(x, y) {
    const size = this.#side() * this.#zoom;
    const { clientWidth, clientHeight } = this.#canvas;
    return [clientWidth / 2 + (x - this.#center.x) * size, clientHeight / 2 + (y - this.#center.y) * size];
  }

  #look(zoom, center) {
    if (this.#loop.length) this.#clearLoop(); // it is drawn on the canvas, not on the map
    this.#zoom = Math.min(MAX_ZOOM, Math.max(1, zoom));
    const bound = (value) => Math.min(1, Math.max(0, value));
    this.#center = { x: bound(center.x), y: bound(center.y) };
    this.#redraw();
  }

  #move(dx, dy) {
    const size = this.#side() * this.#zoom;
    this.#look(this.#zoom, { x: this.#center.x - dx / size, y: this.#center.y - dy / size });
    this.#canvas.classList.toggle("zoomed", this.#zoom > 1);
  }

  #zoomAt(factor, x = this.#canvas.clientWidth / 2, y = this.#canvas.clientHeight / 2) {
    const size = this.#side();
    const [fromX, fromY] = [x - this.#canvas.clientWidth / 2, y - this.#canvas.clientHeight / 2];
    const zoom = Math.min(MAX_ZOOM, Math.max(1, this.#zoom * factor));
    const shift = 1 / (size * this.#zoom) - 1 / (size * zoom);
    const center = { x: this.#center.x + fromX * shift, y: this.#center.y + fromY * shift };
    this.#look(zoom, zoom === 1 ? { x: 0.5, y: 0.5 } : center);
    this.#canvas.classList.toggle("zoomed", zoom > 1);
  }

  #toggleLoop() {
    const button = byId("map-loop");
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    this.#clearLoop();
  }

  #clearLoop() {
    this.#loop = [];
    listFilms(byId("map-list"), []);
    this.#redraw();
  }

  /** The loop goes through a place; list what lies inside, as if it were closed. */
  #drawLoop(x, y) {
    this.#loop.push([x, y]);
    const { names, labels } = this.#known;
    const inside = names.map((name, number) => ({ name, label: labels[number], number })).filter(
      ({ label, number }) => !this.#hidden.has(label) &&
        isInside(...this.#project(this.#points[2 * number], this.#points[2 * number + 1]), this.#loop),
    );
    listFilms(byId("map-list"), inside);
    byId("map-hint").textContent = `${inside.length} films inside the loop`;
    this.#redraw();
  }

  #find() {
    if (this.#position) this.#look(6, this.#position);
  }

  #steer(event) {
    const step = ARROWS[event.key];
    if (step) this.#move(...step);
    else if (event.key === "+" || event.key === "=") this.#zoomAt(1.6);
    else if (event.key === "-") this.#zoomAt(1 / 1.6);
    else if (event.key === "0") this.#look(1, { x: 0.5, y: 0.5 });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #pointAt(x, y) {
    let [nearest, best] = [-1, REACH ** 2];
    for (let number = 0; x !== null && this.#known && number < this.#known.names.length; number += 1) {
      if (this.#hidden.has(this.#known.labels[number])) continue;
      const [px, py] = this.#project(this.#points[2 * number], this.#points[2 * number + 1]);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < best) [nearest, best] = [number, distance];
    }
    if (nearest === this.#hovered) return;
    this.#hovered = nearest;
    this.#say();
    this.#redraw();
  }

  #say() {
    const number = this.#hovered;
    const hint = number < 0 ? "" : `${this.#known.names[number]}, ${this.#known.labels[number]}`;
    byId("map-hint").textContent = hint || IDLE_HINT;
  }

  #draw() {
    const canvas = this.#canvas;
    if (!canvas.clientWidth || !this.#known) return;
    const context = canvas.getContext("2d");
    const ratio = canvas.width / canvas.clientWidth;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    for (const name of this.#known.classes) if (!this.#hidden.has(name)) this.#drawClass(context, name);
    this.#drawMarks(context);
  }

  #drawClass(context, name) {
    const size = Math.min(5, 1.9 * this.#zoom ** 0.3);
    context.beginPath();
    this.#known.labels.forEach((label, number) => {
      if (label !== name) return;
      const [x, y] = this.#project(this.#points[2 * number], this.#points[2 * number + 1]);
      if (x > -9 && y > -9 && x < this.#canvas.clientWidth + 9 && y < this.#canvas.clientHeight + 9) {
        traceShape(context, name, x, y, size);
      }
    });
    context.globalAlpha = 0.75;
    context.fillStyle = readColor(this.#canvas, `--${name}`);
    context.fill();
    context.globalAlpha = 1;
  }

  #drawMarks(context) {
    const [ink, paper] = [readColor(this.#canvas, "--ink"), readColor(this.#canvas, "--paper")];
    const at = (number) => this.#project(this.#points[2 * number], this.#points[2 * number + 1]);
    for (const { index } of this.#answer?.neighbors ?? []) {
      if (index !== undefined) drawRing(context, ...at(index), 6, ink, paper, 1.5);
    }
    if (this.#hovered >= 0) drawRing(context, ...at(this.#hovered), 8, ink, paper, 2);
    context.strokeStyle = ink;
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [x, y] of this.#loop) context.lineTo(x, y);
    context.stroke();
    if (!this.#position) return;
    const [x, y] = this.#project(this.#position.x, this.#position.y);
    drawRing(context, x, y, 11, ink, paper, 3);
    drawRing(context, x, y, 2, ink, paper, 3);
    context.font = "600 13px system-ui, sans-serif";
    context.lineWidth = 4;
    context.strokeStyle = paper;
    context.fillStyle = ink;
    const left = x > this.#canvas.clientWidth - 90;
    context.textAlign = left ? "right" : "left";
    for (const draw of ["strokeText", "fillText"]) context[draw]("this film", x + (left ? -16 : 16), y + 4);
  }
}

/** Scale coordinates into the unit square, one unit for both axes; the result knows its spans and can scale more. */
function scalePoints(raw) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let at = 0; at < raw.length; at += 2) {
    [left, right] = [Math.min(left, raw[at]), Math.max(right, raw[at])];
    [top, bottom] = [Math.min(top, raw[at + 1]), Math.max(bottom, raw[at + 1])];
  }
  const span = Math.max(right - left, bottom - top) || 1;
  const spans = [right - left, bottom - top].map((length) => Math.max(length / span, 0.1));
  const scale = ([x, y]) => [0.5 + (x - (left + right) / 2) / span, 0.5 - (y - (top + bottom) / 2) / span];
  const points = new Float32Array(raw.length);
  for (let at = 0; at < raw.length; at += 2) points.set(scale([raw[at], raw[at + 1]]), at);
  return Object.assign(points, { scale, spans });
}

function traceShape(context, name, x, y, size) {
  if (name === "normal") {
    context.moveTo(x + size, y);
    context.arc(x, y, size, 0, 2 * Math.PI);
  } else if (name === "bacterial") {
    context.moveTo(x, y - 1.2 * size);
    context.lineTo(x + 1.15 * size, y + size);
    context.lineTo(x - 1.15 * size, y + size);
    context.closePath();
  } else {
    context.rect(x - 0.9 * size, y - 0.9 * size, 1.8 * size, 1.8 * size);
  }
}

function drawRing(context, x, y, radius, ink, paper, width) {
  for (const [color, thick] of [[paper, width + 2.5], [ink, width]]) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.lineWidth = thick;
    context.strokeStyle = color;
    context.stroke();
  }
}

/** Return a color of the style sheet as the browser resolves it now, light or dark. */
function readColor(element, name) {
  element.style.color = `var(${name})`;
  return getComputedStyle(element).color;
}
