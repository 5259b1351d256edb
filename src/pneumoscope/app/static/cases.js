/** The images of the worklist and the queue of their predictions. Closing the page discards them. */
import { RequestError, decide, readFile } from "./api.js";
import { hashFile } from "./reviews.js";

const MAX_FULL = 8;
const RETRY_MS = 2000;
const MAX_TRIES = 5;
const SETTLED = ["done", "deciding"]; // states with a prediction

/**
 * One image.
 *
 * @typedef {object} Case
 * @property {File} file
 * @property {string} name file name, or path relative to a dropped folder.
 * @property {boolean} phantom whether it is one of the example phantoms.
 * @property {"waiting" | "reading" | "deciding" | "done"} state of its row.
 * @property {string | null} hash SHA-256 of the file in hexadecimal digits; null until it is read.
 * @property {object | null} row the prediction without maps.
 * @property {object | null} full the prediction with its maps; only for the last few selected images.
 * @property {object | null} evidence of its decision, see `decide` of api.js.
 * @property {object | null} dicom header, values and windows of a DICOM file; kept and dropped with `full`.
 * @property {string | null} image the radiograph as a data: URL, if the browser cannot show the file itself.
 */

/** All images; fires `change` if a row or the selection changes, and `trouble` with a message in `detail`. */
export class Cases extends EventTarget {
  /** @type {Case[]} */
  list = [];
  /** @type {Case | null} */
  chosen = null;
  point = "balanced";
  maxBytes;
  #order = [];
  #request = null; // the one in progress: `item`, `detail`, `control`
  #deciding = false;
  #recent = [];

  /** @param {number} maxBytes larger files are not sent. */
  constructor(maxBytes) {
    super();
    this.maxBytes = maxBytes;
  }

  /**
   * Add images, select the first of them, and request predictions.
   *
   * @param {{file: File, name: string, phantom?: boolean}[]} files
   */
  add(files) {
    const added = files.map(({ file, name, phantom = false }) => ({
      file, name, phantom, state: "waiting", hash: null, row: null, evidence: null, full: null, dicom: null, image: null,
    }));
    this.list.push(...added);
    for (const item of added.filter((one) => !this.#fits(one))) {
      const [size, limit] = [item.file.size, this.maxBytes].map((bytes) => Math.ceil(bytes / 2 ** 20));
      this.#settle(item, { error: `The file size is ${size} MB; the limit is ${limit} MB` });
    }
    if (added.length) this.choose(added[0]);
  }

  /** Remove all images and cancel the request. */
  clear() {
    this.#cancel();
    Object.assign(this, { list: [], chosen: null });
    this.#order = [];
    this.#recent = [];
    this.#announce();
  }

  /** @param {Case} item to select; it is requested at once, and again if its request failed before. */
  choose(item) {
    this.chosen = item;
    if (item.row?.error && !item.full && this.#fits(item)) item.state = "waiting";
    const isRequested = this.#request?.item === item && this.#request.detail === "full";
    if (this.#lacksMaps(item) && !isRequested) this.#cancel();
    this.#announce();
    this.#readNext();
  }

  /** @param {Case[]} items the images that `step` visits, in order. */
  arrange(items) {
    this.#order = items;
  }

  /** The images that `step` visits, in order. */
  get arranged() {
    return this.#order;
  }

  /** @param {number} by 1 for the next image, -1 for the previous. */
  step(by) {
    const next = this.arranged[this.arranged.indexOf(this.chosen) + by];
    if (next) this.choose(next);
  }

  /** @param {string} point operating point; all decisions are made again from their probabilities. */
  setPoint(point) {
    this.point = point;
    this.#decide();
  }

  /** Request what failed again. */
  retry() {
    for (const item of this.list) {
      if (item.state === "done" && !item.row.operating_point && this.#fits(item)) item.state = "waiting";
    }
    this.#decide();
    if (this.chosen) this.choose(this.chosen);
  }

  /** Wait until all images have their prediction, or the server does not respond. */
  async finish() {
    while (this.numDone < this.list.length && (this.#request || this.#deciding)) {
      await new Promise((resolve) => this.addEventListener("change", resolve, { once: true }));
    }
  }

  /** The number of filled rows. */
  get numDone() {
    return this.list.filter((item) => item.state === "done").length;
  }

  #cancel() {
    this.#request?.control.abort();
    if (this.#request?.item.state === "reading") this.#request.item.state = "waiting";
    this.#request = null;
  }

  #announce() {
    this.dispatchEvent(new Event("change"));
  }

  #fits(item) {
    return item.file.size <= this.maxBytes;
  }

  #lacksMaps(item) {
    return !SETTLED.includes(item.state) || !(item.full || item.row.error);
  }

  #settle(item, { evidence = null, ...row }, full = null) {
    Object.assign(item, { state: "done", row: { ...row, path: item.name }, evidence, full });
  }

  /** Decide all readings of another operating point again, until there are none. */
  async #decide() {
    const { point } = this;
    const isStale = ({ row, state }) => row?.operating_point && row.operating_point !== point && SETTLED.includes(state);
    const stale = this.list.filter(isStale);
    if (this.#deciding || !stale.length) return;
    this.#deciding = true;
    for (const item of stale) item.state = "deciding";
    this.#announce();
    const failure = await this.#decideAll(stale, point).catch((error) => error);
    this.#deciding = false;
    if (failure?.status === 400) {
      // The server was started again with other models.
      for (const item of stale) item.state = "waiting";
      this.#readNext();
    } else if (failure) {
      this.dispatchEvent(new CustomEvent("trouble", { detail: failure.message }));
    }
    this.#announce();
    if (!failure) this.#decide();
  }

  async #decideAll(items, point) {
    const scored = items.filter(({ evidence }) => evidence);
    const { model } = (scored[0] ?? items[0]).row;
    const { decisions, thresholds } = await decide(scored.map(({ evidence }) => evidence), { point, model });
    const decided = new Map(scored.map((item, number) => [item, decisions[number]]));
    for (const item of items) {
      const { explained, ...values } = decided.get(item) ?? {};
      item.row = { ...item.row, ...values, operating_point: point, thresholds };
      if (item.full?.heatmaps && explained) item.full.heatmaps.explained = explained;
      item.state = "done";
    }
  }

  /** Return what to request next: the selected image with its maps, then all rows, then the next image with its maps. */
  #pick() {
    const { arranged, chosen } = this;
    if (this.#lacksMaps(chosen)) return { item: chosen, detail: "full" };
    const isWaiting = ({ state }) => state === "waiting";
    const waiting = arranged.find(isWaiting) ?? this.list.find(isWaiting);
    if (waiting) return { item: waiting, detail: "row" };
    const next = arranged[arranged.indexOf(chosen) + 1];
    return next && this.#lacksMaps(next) ? { item: next, detail: "full" } : null;
  }

  /** Request one image after the other, until all have their predictions or the server does not respond. */
  async #readNext() {
    if (this.#request) return;
    const picked = this.#pick();
    if (!picked) return;
    const { item, detail } = picked;
    const control = new AbortController();
    this.#request = { item, detail, control };
    if (item.state === "waiting") item.state = "reading";
    this.#announce();
    const reached = await this.#read(item, detail, control.signal);
    if (control.signal.aborted) return;
    this.#request = null;
    this.#announce();
    this.#decide();
    if (reached) this.#readNext();
  }

  /** Request the prediction for one image and keep it; return false if the server does not respond. */
  async #read(item, detail, signal) {
    try {
      item.hash ??= await hashFile(item.file);
      const reading = await this.#send(item, detail, signal);
      if (signal.aborted) return false;
      if (detail === "full") this.#keepFull(item, reading);
      else this.#settle(item, reading);
      return true;
    } catch (error) {
      if (!signal.aborted) this.#fail(item, error);
      return error.status !== 0;
    }
  }

  #keepFull(item, reading) {
    const { heatmaps, anomaly_map, content, image, position, size, dicom, ...row } = reading;
    // The table has no index of reference cases.
    const neighbors = row.neighbors.map(({ index, ...neighbor }) => neighbor);
    this.#settle(item, { ...row, neighbors }, { ...row, heatmaps, anomaly_map, content, position, size });
    Object.assign(item, { image: image ?? null, dicom: dicom ?? null });
    this.#recent = [item, ...this.#recent.filter((other) => other !== item)];
    for (const old of this.#recent.splice(MAX_FULL)) Object.assign(old, { full: null, image: null, dicom: null });
  }

  /** Request the prediction for one image; try again later if the server is busy. */
  async #send(item, detail, signal) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await readFile(item.file, { point: this.point, detail, signal });
      } catch (error) {
        if (error.status !== 503 || tries === MAX_TRIES || signal.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS * tries));
      }
    }
  }

  /** Show the error in the row. If the server did not respond, an image that is not selected waits for a retry. */
  #fail(item, error) {
    const message = error instanceof RequestError ? error.message : `Error in this page: ${error.message}`;
    if (error.status !== 0 || item === this.chosen) this.#settle(item, { error: message });
    else item.state = "waiting";
    if (error.status === 0) this.dispatchEvent(new CustomEvent("trouble", { detail: message }));
  }
}
