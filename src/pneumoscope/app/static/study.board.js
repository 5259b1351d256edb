/** A histogram of scores with its threshold: moved by slider, by number, by named choices, or on the picture itself. */

import { byId, make } from "./elements.js";
import { drawScores, INSET, paintAtWidth } from "./study.charts.js";

/**
 * The threshold of one section, and everything that moves it.
 *
 * Elements are found by `prefix`: `-plot`, `-slider`, `-number`, `-presets`.
 */
export class Board {
  #axis = null;
  #presets = [];
  #rows = [];
  #unit = 1;
  #moveLine = () => {};
  #threshold = 0;
  #paint;

  /**
   * @param {string} prefix
   * @param {(threshold: number) => void} onMove told of every new threshold.
   */
  constructor(prefix, onMove) {
    this.plot = byId(`${prefix}-plot`);
    this.slider = byId(`${prefix}-slider`);
    this.number = byId(`${prefix}-number`);
    this.list = byId(`${prefix}-presets`);
    this.onMove = onMove;
    this.#paint = paintAtWidth(this.plot, (width) => {
      if (!this.#axis) return;
      const marks = this.#presets.map(({ name, value }) => ({ name, value }));
      this.#moveLine = drawScores(this.plot, width, this.#axis, this.#rows, marks);
      this.#moveLine(this.#threshold);
    });
    this.slider.addEventListener("input", () => {
      this.move(this.#axis.toValue(Number(this.slider.value) / this.#axis.steps), { slid: true });
    });
    this.number.addEventListener("input", () => {
      const typed = Number(this.number.value);
      if (this.number.value !== "" && Number.isFinite(typed)) this.move(typed * this.#unit, { typed: true });
    });
    this.number.addEventListener("change", () => this.#show());
    this.#followPointer();
  }

  get threshold() {
    return this.#threshold;
  }

  /**
   * Show other scores.
   *
   * @param {object} axis see `PROBABILITY`.
   * @param {object[]} rows see `drawScores`.
   * @param {{name: string, value: number, hint: string}[]} presets thresholds to choose from.
   * @param {{threshold: number, unit?: number, label: string}} start what to begin with; `unit` of the number field;
   *   `label` of the picture.
   */
  show(axis, rows, presets, { threshold, unit = 1, label }) {
    [this.#axis, this.#rows, this.#presets, this.#unit] = [axis, rows, presets, unit];
    Object.assign(this.slider, { min: "0", max: String(axis.steps), step: "1" });
    this.plot.setAttribute("aria-label", label);
    this.list.replaceChildren(
      ...presets.map(({ name, value, hint }) => {
        const button = make(
          "button", { type: "button" },
          make("span", {}, make("b", {}, name), " ", make("span", { class: "number" }, axis.say(value))),
          make("small", {}, hint),
        );
        button.addEventListener("click", () => this.move(value));
        return make("li", {}, button);
      }),
    );
    this.#threshold = threshold;
    this.#paint();
    this.move(threshold);
  }

  /** Put the threshold somewhere and tell. */
  move(threshold, { slid = false, typed = false } = {}) {
    this.#threshold = threshold;
    if (!slid) this.slider.value = String(Math.round(this.#axis.toPlace(threshold) * this.#axis.steps));
    if (!typed) this.#show();
    this.slider.setAttribute("aria-valuetext", this.#axis.say(threshold));
    this.#presets.forEach(({ value }, place) => {
      this.list.children[place].firstElementChild.setAttribute("aria-pressed", String(value === threshold));
    });
    this.#moveLine(threshold);
    this.onMove(threshold);
  }

  #show() {
    this.number.value = this.#axis.type(this.#threshold);
  }

  #followPointer() {
    const follow = (event) => {
      const box = this.plot.getBoundingClientRect();
      const place = (event.clientX - box.left - INSET) / (box.width - 2 * INSET);
      this.move(this.#axis.toValue(Math.min(1, Math.max(0, place))));
    };
    this.plot.addEventListener("pointerdown", (event) => {
      if (!this.#axis || event.button !== 0 || event.pointerType === "touch") return;
      this.plot.setPointerCapture(event.pointerId);
      follow(event);
    });
    this.plot.addEventListener("pointermove", (event) => {
      if (this.plot.hasPointerCapture(event.pointerId)) follow(event);
    });
    // A finger scrolls the page here; a tap still chooses.
    this.plot.addEventListener("click", (event) => {
      if (this.#axis && event.pointerType === "touch") follow(event);
    });
  }
}
