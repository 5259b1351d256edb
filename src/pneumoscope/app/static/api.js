/** The only doors to the server: every request that the reading room makes is one of these. */

/** What the server, or the lack of one, said instead of an answer; its message is fit to be shown. */
export class RequestError extends Error {
  /**
   * @param {string} message for the person.
   * @param {number} status of HTTP, or 0 where there was no answer at all.
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function request(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { credentials: "omit", redirect: "error", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError("The program does not answer. Is “pneumoscope app” still running?", 0);
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const fallback = `The program answered ${response.status} ${response.statusText}.`;
  throw new RequestError(said.error ?? fallback, response.status);
}

/**
 * Return what a JSON address holds.
 *
 * @param {string} url of our own server.
 */
export async function getJson(url) {
  return (await request(url)).json();
}

/**
 * Return a file of our own server, such as a phantom.
 *
 * @param {string} url
 * @param {string} name to give it.
 * @returns {Promise<File>}
 */
export async function getFile(url, name) {
  const blob = await (await request(url)).blob();
  return new File([blob], name, { type: blob.type });
}

/**
 * Read films.
 *
 * @param {File[]} files at most 8.
 * @param {{point: string, detail: "row" | "full", signal?: AbortSignal}} how
 * @returns {Promise<object[]>} one reading for each file, in their order.
 */
export async function readFiles(files, { point, detail, signal }) {
  const body = new FormData();
  for (const file of files) body.append("files", file, file.name || "film");
  body.append("operating_point", point);
  const answer = await (await request(`/api/read?detail=${detail}`, { method: "POST", body, signal })).json();
  if (answer.readings?.length !== files.length) {
    throw new RequestError(`${files.length} films were sent and ${answer.readings?.length ?? 0} answers came.`, 200);
  }
  return answer.readings;
}

/**
 * Return a zip with the secondary capture and the structured report of one film.
 *
 * @param {File} file
 * @param {{point: string, deidentify: boolean}} how
 * @returns {Promise<Blob>}
 */
export async function makeDicom(file, { point, deidentify }) {
  const body = new FormData();
  body.append("file", file, file.name || "film");
  body.append("operating_point", point);
  body.append("deidentify", String(deidentify));
  return (await request("/api/dicom", { method: "POST", body })).blob();
}

/**
 * Return the bytes behind base64 text.
 *
 * @param {string} text
 * @returns {Uint8Array}
 */
export function decodeBytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
