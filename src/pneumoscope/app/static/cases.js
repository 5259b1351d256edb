/**
 * The images of the worklist and the queue of their predictions. Closing the page discards them.
 *
 * The selected image is requested at once, with its maps. The rows of the other images are filled in the background.
 */
import { RequestError, readFiles } from "./api.js";

const MAX_BATCH_FILES = 8;
const MAX_BATCH_BYTES = 64e6;
const MAX_FULL = 8;
const RETRY_MS = 2000;
const MAX_TRIES = 5;

/**
 * One image.
 *
 * @typedef {object} Case
 * @property {File} file
 * @property {string} name file name, or path relative to a dropped folder.
 * @property {boolean} phantom whether it is one of the example phantoms.
 * @property {"waiting" | "reading" | "done"} state of its row.
 * @property {object | null} row the prediction without maps.
 * @property {object | null} full the prediction with its maps; only for the last few selected images.
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
  #rows = null; // AbortController of the requests for rows
  #full = null; // the request of one image with maps: `item`, `control`, `waited`
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
      file, name, phantom, state: "waiting", row: null, full: null, image: null,
    }));
    this.list.push(...added);
    for (const item of added.filter((one) => !this.#fits(one))) {
      const [size, limit] = [item.file.size, this.maxBytes].map((bytes) => Math.ceil(bytes / 2 ** 20));
      this.#settle(item, { error: `The file size is ${size} MB; the limit is ${limit} MB` });
    }
    if (added.length) this.choose(added[0]);
  }

  /** Remove all images and cancel all requests. */
  clear() {
    this.#stop();
    Object.assign(this, { list: [], chosen: null });
    this.#order = [];
    this.#recent = [];
    this.#announce();
  }

  /** @param {Case} item to select. */
  choose(item) {
    this.chosen = item;
    this.#announce();
    this.#readFull(item);
    this.#readRows();
  }

  /** @param {Case[]} items all images in the order of `step`. */
  arrange(items) {
    this.#order = items;
  }

  /** The images in the order of `step`. */
  get arranged() {
    return this.#order.length === this.list.length ? this.#order : this.list;
  }

  /** @param {number} by 1 for the next image, -1 for the previous. */
  step(by) {
    const next = this.arranged[this.arranged.indexOf(this.chosen) + by];
    if (next) this.choose(next);
  }

  /** @param {string} point operating point; all predictions are requested again. */
  setPoint(point) {
    if (point === this.point) return;
    this.point = point;
    this.retry();
  }

  /** Request all predictions again. */
  retry() {
    this.#stop();
    for (const item of this.list.filter((one) => this.#fits(one))) item.state = "waiting";
    if (this.chosen) this.choose(this.chosen);
  }

  /** The number of filled rows. */
  get numDone() {
    return this.list.filter((item) => item.state === "done").length;
  }

  #stop() {
    this.#rows?.abort();
    this.#rows = null;
    this.#cancelFull();
  }

  #cancelFull() {
    if (!this.#full) return;
    const { item, control, waited } = this.#full;
    control.abort();
    if (waited && item.state === "reading") item.state = "waiting";
    this.#full = null;
  }

  #announce() {
    this.dispatchEvent(new Event("change"));
  }

  #fits(item) {
    return item.file.size <= this.maxBytes;
  }

  #settle(item, row, full = null) {
    Object.assign(item, { state: "done", row: { ...row, path: item.name }, full });
  }

  /** Request one image with its maps, and cancel such a request for another image. */
  async #readFull(item) {
    if (this.#full?.item === item) return;
    this.#cancelFull();
    if ((item.full && item.state === "done") || !this.#fits(item)) return;
    const control = new AbortController();
    this.#full = { item, control, waited: item.state === "waiting" };
    if (item.state === "waiting") item.state = "reading";
    try {
      const [reading] = await this.#request([item], "full", control.signal);
      if (!control.signal.aborted) this.#keepFull(item, reading);
    } catch (error) {
      if (!control.signal.aborted) this.#fail([item], error);
    }
    if (control.signal.aborted) return;
    this.#full = null;
    this.#announce();
    if (item.full) this.#readRows();
  }

  #keepFull(item, reading) {
    const { heatmaps, anomaly_map, image, position, ...row } = reading;
    // The table has no index of reference cases.
    const neighbors = row.neighbors.map(({ index, ...neighbor }) => neighbor);
    this.#settle(item, { ...row, neighbors }, { ...row, heatmaps, anomaly_map, position });
    item.image = image ?? null;
    this.#recent = [item, ...this.#recent.filter((other) => other !== item)];
    for (const old of this.#recent.splice(MAX_FULL)) Object.assign(old, { full: null, image: null });
  }

  /** Fill the waiting rows, one request at a time, then request the next image with its maps. Runs once at a time. */
  async #readRows() {
    if (this.#rows) return;
    this.#rows = new AbortController();
    const { signal } = this.#rows;
    for (let batch = this.#nextBatch(); batch.length; batch = this.#nextBatch()) {
      for (const item of batch) item.state = "reading";
      this.#announce();
      const reached = await this.#readBatch(batch, signal);
      if (signal.aborted) return;
      if (!reached) break;
    }
    this.#rows = null;
    this.#announce();
    this.#readAhead();
  }

  /** Request the next image in advance, so that it is shown without delay. */
  #readAhead() {
    const next = this.arranged[this.arranged.indexOf(this.chosen) + 1];
    if (next?.state === "done" && !next.row.error && this.chosen.full && !this.#full) this.#readFull(next);
  }

  /** Fill the rows of some images; return false if the server does not respond. */
  async #readBatch(batch, signal) {
    try {
      const readings = await this.#request(batch, "row", signal);
      // An image that was selected meanwhile may be complete already.
      batch.forEach((item, number) => item.state === "reading" && this.#settle(item, readings[number]));
    } catch (error) {
      if (signal.aborted) return false;
      if (batch.length === 1 || !error.status) {
        this.#fail(batch, error);
        return Boolean(error.status);
      }
      // One file must not make the other files of the request fail.
      for (const item of batch) if (!(await this.#readBatch([item], signal))) return false;
    }
    return true;
  }

  /** Request predictions; try again later if the server is busy. */
  async #request(items, detail, signal) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await readFiles(items.map(({ file }) => file), { point: this.point, detail, signal });
      } catch (error) {
        if (error.status !== 503 || tries === MAX_TRIES || signal.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS * tries));
      }
    }
  }

  #nextBatch() {
    const batch = [];
    let bytes = 0;
    for (const item of this.arranged.filter((one) => one.state === "waiting")) {
      bytes += item.file.size;
      if (batch.length && (batch.length === MAX_BATCH_FILES || bytes > MAX_BATCH_BYTES)) break;
      batch.push(item);
    }
    return batch;
  }

  /** Show the error in the rows. If the server did not respond, images that are not selected wait for a retry. */
  #fail(items, error) {
    const message = error instanceof RequestError ? error.message : `Error in this page: ${error.message}`;
    for (const item of items) {
      if (error.status || item === this.chosen) this.#settle(item, { error: message });
      else item.state = "waiting";
    }
    if (!error.status) this.dispatchEvent(new CustomEvent("trouble", { detail: message }));
  }
}
