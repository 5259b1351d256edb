/**
 * The images of the work list and the queue of their reading. Nothing of this outlives the page.
 *
 * The chosen image is read in full at once; the rows of the others are filled in the background.
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
 * @property {string} name as shown; the path below a dropped folder.
 * @property {boolean} phantom whether it is one of the phantoms of the package.
 * @property {"waiting" | "reading" | "done"} state of its row.
 * @property {object | null} row the reading, without maps.
 * @property {object | null} full the reading with its maps; only of the last few chosen images.
 * @property {string | null} picture the image as a data address, where a browser cannot show the file itself.
 */

/** All images; fires `change` when a row or the choice changed, and `trouble` with a message in `detail`. */
export class Cases extends EventTarget {
  /** @type {Case[]} */
  list = [];
  /** @type {Case | null} */
  chosen = null;
  point = "balanced";
  maxBytes;
  #order = [];
  #rows = null; // stops the reading of rows
  #full = null; // the reading of one case in full: `item`, `control`, `waited`
  #recent = [];

  /** @param {number} maxBytes of one file; a larger one is not sent. */
  constructor(maxBytes) {
    super();
    this.maxBytes = maxBytes;
  }

  /**
   * Add images, choose the first of them, and begin to read.
   *
   * @param {{file: File, name: string, phantom?: boolean}[]} files
   */
  add(files) {
    const added = files.map(({ file, name, phantom = false }) => ({
      file, name, phantom, state: "waiting", row: null, full: null, picture: null,
    }));
    this.list.push(...added);
    for (const item of added.filter((one) => !this.#fits(one))) {
      const [size, limit] = [item.file.size, this.maxBytes].map((bytes) => Math.ceil(bytes / 2 ** 20));
      this.#settle(item, { error: `${size} MB; expected at most ${limit} MB` });
    }
    if (added.length) this.choose(added[0]);
  }

  /** Remove all images and stop reading. */
  clear() {
    this.#stop();
    Object.assign(this, { list: [], chosen: null });
    this.#order = [];
    this.#recent = [];
    this.#announce();
  }

  /** @param {Case} item to show. */
  choose(item) {
    this.chosen = item;
    this.#announce();
    this.#readFull(item);
    this.#readRows();
  }

  /** @param {Case[]} items all images in the order in which `step` goes through them. */
  arrange(items) {
    this.#order = items;
  }

  /** The images in the order in which `step` goes through them. */
  get arranged() {
    return this.#order.length === this.list.length ? this.#order : this.list;
  }

  /** @param {number} by 1 for the next image, -1 for the previous. */
  step(by) {
    const next = this.arranged[this.arranged.indexOf(this.chosen) + by];
    if (next) this.choose(next);
  }

  /** @param {string} point operating point; all images are read again. */
  setPoint(point) {
    if (point === this.point) return;
    this.point = point;
    this.retry();
  }

  /** Read all images again that can be sent. */
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

  /** Read one image with its maps, and stop reading another one so. */
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
    const { heatmaps, anomaly_map, picture, position, ...row } = reading;
    // The index of a reference case is no part of the table.
    const neighbors = row.neighbors.map(({ index, ...neighbor }) => neighbor);
    this.#settle(item, { ...row, neighbors }, { ...row, heatmaps, anomaly_map, position });
    item.picture = picture ?? null;
    this.#recent = [item, ...this.#recent.filter((other) => other !== item)];
    for (const old of this.#recent.splice(MAX_FULL)) Object.assign(old, { full: null, picture: null });
  }

  /** Fill the waiting rows, one request at a time, then read the next image in full; does nothing while it runs. */
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

  /** Read the next image, so that stepping to it does not wait. */
  #readAhead() {
    const next = this.arranged[this.arranged.indexOf(this.chosen) + 1];
    if (next?.state === "done" && !next.row.error && this.chosen.full && !this.#full) this.#readFull(next);
  }

  /** Fill the rows of some images; false if the server did not answer. */
  async #readBatch(batch, signal) {
    try {
      const readings = await this.#request(batch, "row", signal);
      // An image that was meanwhile chosen may have its full reading already.
      batch.forEach((item, number) => item.state === "reading" && this.#settle(item, readings[number]));
    } catch (error) {
      if (signal.aborted) return false;
      if (batch.length === 1 || !error.status) {
        this.#fail(batch, error);
        return Boolean(error.status);
      }
      // One file must not fail the others of its request.
      for (const item of batch) if (!(await this.#readBatch([item], signal))) return false;
    }
    return true;
  }

  /** Request readings, again after a while where the server was busy. */
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

  /** Show the error in the rows; images that were not chosen wait for another try if the server did not answer. */
  #fail(items, error) {
    const message = error instanceof RequestError ? error.message : `This page failed: ${error.message}`;
    for (const item of items) {
      if (error.status || item === this.chosen) this.#settle(item, { error: message });
      else item.state = "waiting";
    }
    if (!error.status) this.dispatchEvent(new CustomEvent("trouble", { detail: message }));
  }
}
