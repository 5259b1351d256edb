/** What follows from scores, truths and a threshold: counts, shares, intervals, ROC curves. Numbers only. */

const RESAMPLES = 1000;
const MAX_UNDEFINED = 0.05;
const REACH = Math.log(9999);

/** The shares of a decision between sick and normal, in the order in which they are shown. */
export const SHARES = ["sensitivity", "specificity", "accuracy", "ppv", "npv"];

/**
 * The axis of a probability: by its log-odds, so that the ends, where nets put most images, are told apart.
 *
 * `toPlace` takes a probability in [0, 1] to a place in [0, 1]; `toValue` goes back. The ends are exactly 0 and 1.
 * `format` words a tick, `say` a value, and `type` a value as it stands in a field.
 */
export const PROBABILITY = {
  steps: 1000,
  toPlace(value) {
    if (value <= 0 || value >= 1) return value <= 0 ? 0 : 1;
    return Math.min(1, Math.max(0, 0.5 + Math.log(value / (1 - value)) / (2 * REACH)));
  },
  toValue(place) {
    if (place <= 0 || place >= 1) return place <= 0 ? 0 : 1;
    return 1 / (1 + Math.exp(-(place - 0.5) * 2 * REACH));
  },
  ticks: [0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999],
  format: sayProbability,
  say: sayProbability,
  type: (value) => String(Number(value.toPrecision(4))),
};

/**
 * Return the axis of a score that runs evenly from the least to the greatest of some values.
 *
 * @param {number[]} values
 * @param {number} unit what a score is divided by to be read.
 */
export function makeEvenAxis(values, unit) {
  const least = values.reduce((low, value) => Math.min(low, value), Infinity);
  const greatest = values.reduce((high, value) => Math.max(high, value), -Infinity);
  const margin = (greatest - least || Math.abs(greatest) || 1) * 0.03;
  const [low, high] = [Math.max(0, least - margin), greatest + margin];
  const step = niceStep((high - low) / unit, 7) * unit;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(tick);
  return {
    steps: 1000,
    toPlace: (value) => Math.min(1, Math.max(0, (value - low) / (high - low))),
    toValue: (place) => low + place * (high - low),
    ticks,
    format: (value) => (value / unit).toFixed(step / unit < 0.1 ? 2 : step / unit < 1 ? 1 : 0),
    say: (value) => (value / unit).toFixed(2),
    type: (value) => (value / unit).toFixed(3),
  };
}

/** Return a step of 1, 2 or 5 times a power of ten that cuts a span into about so many parts. */
export function niceStep(span, parts) {
  const rough = span / parts;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
}

/** Return a probability with as many digits as tell it from 0 and 1. */
export function sayProbability(value) {
  if (value === 0 || value === 1) return String(value);
  const nearest = Math.min(value, 1 - value);
  if (nearest < 0.00005) return value < 0.5 ? "<0.0001" : ">0.9999";
  const digits = nearest >= 0.00995 ? 3 : 4;
  return value.toFixed(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

/** Return a share as a percentage with one decimal, or a dash where it is not defined. */
export function sayShare(share) {
  return Number.isFinite(share) ? `${(100 * share).toFixed(1)}%` : "–";
}

/** Return an interval of shares in brackets, or nothing. */
export function sayInterval(interval) {
  return interval ? `[${(100 * interval[0]).toFixed(1)}, ${(100 * interval[1]).toFixed(1)}]` : "";
}

/**
 * Count the decisions at a threshold; an image counts as sick where its score is at or over it.
 *
 * @param {{scores: number[], sick: boolean[]}} group
 * @param {number} threshold
 */
export function countDecisions({ scores, sick }, threshold) {
  const counts = { found: 0, missed: 0, alarms: 0, spared: 0 };
  for (let image = 0; image < scores.length; image += 1) counts[decide(sick[image], scores[image] >= threshold)] += 1;
  return counts;
}

function decide(sick, flagged) {
  if (sick) return flagged ? "found" : "missed";
  return flagged ? "alarms" : "spared";
}

/** Return the shares that counts give; one with nothing to share is NaN. */
export function shareCounts({ found, missed, alarms, spared }) {
  return {
    sensitivity: found / (found + missed),
    specificity: spared / (spared + alarms),
    accuracy: (found + spared) / (found + missed + alarms + spared),
    ppv: found / (found + alarms),
    npv: spared / (spared + missed),
  };
}

/**
 * Resamples of the patients of a group of images, drawn once with a fixed seed, so that intervals do not tremble.
 *
 * Images of one child are no independent cases, so whole patients are drawn, as the study itself does.
 */
export class Resampler {
  /**
   * @param {{scores: number[], sick: boolean[], patients: number[]}} group
   */
  constructor(group) {
    const owners = [...new Set(group.patients)];
    const places = new Map(owners.map((owner, place) => [owner, place]));
    this.group = group;
    this.members = Int32Array.from(group.patients, (owner) => places.get(owner));
    this.size = owners.length;
    this.draws = new Uint8Array(RESAMPLES * this.size);
    const random = makeRandom(1);
    for (let resample = 0; resample < RESAMPLES; resample += 1) {
      const start = resample * this.size;
      for (let drawn = 0; drawn < this.size; drawn += 1) this.draws[start + Math.floor(random() * this.size)] += 1;
    }
    const [sick, normal] = [new Float64Array(this.size), new Float64Array(this.size)];
    group.sick.forEach((isSick, image) => ((isSick ? sick : normal)[this.members[image]] += 1));
    this.totals = { sick: this.#sumDraws(sick), normal: this.#sumDraws(normal) };
  }

  /** Return the 95 % interval of every share at a threshold, or null where it cannot be had. */
  estimateShares(threshold) {
    const { scores, sick } = this.group;
    const [flaggedSick, flaggedNormal] = [new Float64Array(this.size), new Float64Array(this.size)];
    for (let image = 0; image < scores.length; image += 1) {
      if (scores[image] >= threshold) (sick[image] ? flaggedSick : flaggedNormal)[this.members[image]] += 1;
    }
    const [found, alarms] = [this.#sumDraws(flaggedSick), this.#sumDraws(flaggedNormal)];
    const all = SHARES.map(() => new Float64Array(RESAMPLES));
    for (let resample = 0; resample < RESAMPLES; resample += 1) {
      const shares = shareCounts({
        found: found[resample],
        missed: this.totals.sick[resample] - found[resample],
        alarms: alarms[resample],
        spared: this.totals.normal[resample] - alarms[resample],
      });
      for (let share = 0; share < SHARES.length; share += 1) all[share][resample] = shares[SHARES[share]];
    }
    return Object.fromEntries(SHARES.map((share, place) => [share, this.size > 1 ? middle(all[place]) : null]));
  }

  /** Return the 95 % interval of the area under the ROC curve. */
  estimateArea() {
    const { scores, sick } = this.group;
    const order = scores.map((_, image) => image).sort((a, b) => scores[b] - scores[a]);
    const areas = new Float64Array(RESAMPLES);
    for (let resample = 0; resample < RESAMPLES; resample += 1) {
      const start = resample * this.size;
      areas[resample] = sumArea(order, scores, sick, (image) => this.draws[start + this.members[image]]);
    }
    return this.size > 1 ? middle(areas) : null;
  }

  /** Return for every resample the sum of a number that each patient has. */
  #sumDraws(ofPatient) {
    const { draws, size } = this;
    const sums = new Float64Array(RESAMPLES);
    for (let resample = 0, start = 0; resample < RESAMPLES; resample += 1, start += size) {
      let sum = 0;
      for (let patient = 0; patient < size; patient += 1) sum += draws[start + patient] * ofPatient[patient];
      sums[resample] = sum;
    }
    return sums;
  }
}

/** Return the area under the ROC curve of a group: how often a sick image scores over a normal one. */
export function measureArea({ scores, sick }) {
  const order = scores.map((_, image) => image).sort((a, b) => scores[b] - scores[a]);
  return sumArea(order, scores, sick, () => 1);
}

function sumArea(order, scores, sick, weigh) {
  let [hits, alarms, area, tiedHits, tiedAlarms] = [0, 0, 0, 0, 0];
  order.forEach((image, rank) => {
    if (sick[image]) tiedHits += weigh(image);
    else tiedAlarms += weigh(image);
    // Images of equal score pass the threshold together.
    if (rank + 1 < order.length && scores[order[rank + 1]] === scores[image]) return;
    area += tiedAlarms * (hits + tiedHits / 2);
    hits += tiedHits;
    alarms += tiedAlarms;
    [tiedHits, tiedAlarms] = [0, 0];
  });
  return hits && alarms ? area / (hits * alarms) : NaN;
}

/**
 * Return the points of the ROC curve from the strictest threshold to the loosest; none where a class is missing.
 *
 * @returns {{threshold: number, alarms: number, hits: number}[]} shares in [0, 1].
 */
export function traceRoc({ scores, sick }) {
  const order = scores.map((_, image) => image).sort((a, b) => scores[b] - scores[a]);
  const numSick = sick.filter(Boolean).length;
  const numNormal = sick.length - numSick;
  if (!numSick || !numNormal) return [];
  const points = [{ threshold: Infinity, alarms: 0, hits: 0 }];
  let [hits, alarms] = [0, 0];
  order.forEach((image, rank) => {
    if (sick[image]) hits += 1;
    else alarms += 1;
    if (rank + 1 < order.length && scores[order[rank + 1]] === scores[image]) return;
    points.push({ threshold: scores[image], alarms: alarms / numNormal, hits: hits / numSick });
  });
  return points;
}

/** Return the middle 95 % of values, or null where too many of them are not defined. */
function middle(values) {
  const defined = values.filter((value) => !Number.isNaN(value)).sort();
  if (values.length - defined.length > MAX_UNDEFINED * values.length) return null;
  return [quantile(defined, 0.025), quantile(defined, 0.975)];
}

function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

/** Return a source of even random numbers in [0, 1) (mulberry32, public domain). */
function makeRandom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
