/** How a net learned: loss and accuracy by epoch, read one epoch at a time. */

import { byId } from "./elements.js";
import { drawLearning, paintAtWidth } from "./study.charts.js";

const PARTS = { loss: ["loss", "val_loss"], accuracy: ["accuracy", "val_accuracy"] };

/** The learning curves of the net that is looked at. */
export class Learning {
  #curve = null;
  #charts = {};
  #paints;

  constructor() {
    this.slider = byId("epoch");
    this.slider.addEventListener("input", () => this.#read(Number(this.slider.value)));
    this.#paints = Object.entries(PARTS).map(([name, [train, val]]) => {
      const host = byId(`${name}-plot`);
      for (const kind of ["pointermove", "pointerdown"]) {
        host.addEventListener(kind, (event) => this.#curve && this.#read(this.#charts[name].find(event.clientX)));
      }
      return paintAtWidth(host, (width) => {
        if (!this.#curve) return;
        const { [train]: first, [val]: second, chosen_epoch: chosen } = this.#curve;
        this.#charts[name] = drawLearning(host, width, { train: first, val: second, chosen });
        this.#charts[name].place(Number(this.slider.value));
      });
    });
  }

  /** Show another net. */
  show(net) {
    this.#curve = net.curve;
    const epochs = net.curve.loss.length;
    this.slider.max = String(epochs);
    this.slider.value = String(net.curve.chosen_epoch);
    byId("learning-lead").textContent = `${net.title}: ${describeTraining(net)}`;
    for (const paint of this.#paints) paint();
    this.#read(net.curve.chosen_epoch);
  }

  #read(epoch) {
    const at = (name) => this.#curve[name][epoch - 1];
    this.slider.value = String(epoch);
    this.slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    for (const chart of Object.values(this.#charts)) chart.place(epoch);
    const losses = `loss ${say(at("loss"))} in training, ${say(at("val_loss"))} on validation`;
    const [accuracy, valAccuracy] = [sayPercentage(at("accuracy")), sayPercentage(at("val_accuracy"))];
    byId("epoch-reading").textContent =
      `Epoch ${epoch}: ${losses}; accuracy ${accuracy} in training, ${valAccuracy} on validation.`;
  }
}

function say(value) {
  return value === null ? "–" : value.toFixed(4);
}

function sayPercentage(value) {
  return value === null ? "–" : `${(100 * value).toFixed(1)}%`;
}

/** Return how long a net learned, its size, and which weights were kept. */
export function describeTraining({ curve, parameters }) {
  const epochs = curve.loss.length;
  return (
    `${epochs} ${epochs === 1 ? "epoch" : "epochs"} in ${sayTime(curve.seconds)}, ` +
    `${parameters.toLocaleString("en-US")} parameters. The weights of epoch ${curve.chosen_epoch} were kept.`
  );
}

function sayTime(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
