/**
 * The threshold explorer of a report: metrics on validation and test images at any threshold.
 *
 * An image counts as positive if its probability is at or above the threshold.
 */
const SPLITS = ["val", "test"]; // the columns of the table
const REACH = Math.log(9999); // ends of the slider in log-odds, because most probabilities are near 0 or 1
const METRICS = {
  Sensitivity: ({ tp, fn }) => [tp, tp + fn],
  Specificity: ({ tn, fp }) => [tn, tn + fp],
  "Positive predictive value": ({ tp, fp }) => [tp, tp + fp],
  "Negative predictive value": ({ tn, fn }) => [tn, tn + fn],
  Accuracy: ({ tp, fp, fn, tn }) => [tp + tn, tp + fp + fn + tn],
};
const COUNTS = { tp: "True positives", fn: "False negatives", fp: "False positives", tn: "True negatives" };

/** Return the confusion counts of one split. */
function countDecisions({ positive, scores }, threshold) {
  const counts = { tp: 0, fn: 0, fp: 0, tn: 0 };
  scores.forEach((score, image) => {
    const predicted = score >= threshold;
    if (positive[image]) counts[predicted ? "tp" : "fn"] += 1;
    else counts[predicted ? "fp" : "tn"] += 1;
  });
  return counts;
}

function toPlace(threshold) {
  if (threshold <= 0 || threshold >= 1) return threshold <= 0 ? 0 : 1;
  return Math.min(1, Math.max(0, 0.5 + Math.log(threshold / (1 - threshold)) / (2 * REACH)));
}

function toThreshold(place) {
  if (place <= 0 || place >= 1) return place <= 0 ? 0 : 1;
  return 1 / (1 + Math.exp((1 - 2 * place) * REACH));
}

/** Return an element with properties and children; strings become text, never markup. */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function start(explorer) {
  const classifiers = JSON.parse(explorer.querySelector("script").textContent);
  const [choice, slider, field, points, note, body] = ["select", ".slider", ".field", ".points", ".note", "tbody"].map(
    (selector) => explorer.querySelector(selector),
  );
  choice.append(...classifiers.map(({ title }, value) => make("option", { value }, title)));

  /** Show the metrics at a threshold. Operating points are exact; the slider is rounded. */
  function show(threshold) {
    const classifier = classifiers[choice.value];
    slider.value = toPlace(threshold);
    field.value = Number(threshold.toPrecision(4));
    const isChosen = Object.values(classifier.points).includes(threshold);
    note.textContent = isChosen
      ? "This threshold was chosen on validation images. The test column is an unbiased estimate."
      : "This threshold was not chosen on validation images, so do not report its test column.";
    for (const button of points.children) {
      button.setAttribute("aria-pressed", String(classifier.points[button.value] === threshold));
    }
    const counts = SPLITS.map((split) => countDecisions(classifier.splits[split], threshold));
    const metrics = Object.entries(METRICS).map(([name, measure]) => makeRow(name, counts.map(measure).map(formatShare)));
    const numbers = Object.entries(COUNTS).map(([key, name]) => makeRow(name, counts.map((count) => [count[key]])));
    body.replaceChildren(...metrics, ...numbers);
  }

  function selectClassifier() {
    const { points: thresholds } = classifiers[choice.value];
    points.replaceChildren(...Object.entries(thresholds).map(([name, threshold]) => {
      const button = make("button", { type: "button", value: name }, `${name} ${threshold.toPrecision(3)}`);
      button.addEventListener("click", () => show(threshold));
      return button;
    }));
    show(thresholds.balanced);
  }

  choice.addEventListener("change", selectClassifier);
  slider.addEventListener("input", () => show(toThreshold(Number(slider.value))));
  field.addEventListener("change", () => show(Math.min(1, Math.max(0, Number(field.value)))));
  explorer.hidden = false;
  selectClassifier();
}

function makeRow(name, cells) {
  const numbers = cells.map((parts) => make("td", { className: "number" }, ...parts));
  return make("tr", {}, make("th", { scope: "row" }, name), ...numbers);
}

function formatShare([part, whole]) {
  const fraction = make("span", { className: "interval" }, `(${part} of ${whole})`);
  return [whole ? `${((100 * part) / whole).toFixed(1)}% ` : "undefined ", fraction];
}

for (const explorer of document.querySelectorAll(".explorer")) start(explorer);
