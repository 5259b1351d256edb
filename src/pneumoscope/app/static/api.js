/** All requests to the server. */

/** A failed request; `status` is the HTTP status, or 0 without a response. The message can be shown to the user. */
export class RequestError extends Error {
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
    throw new RequestError("The server does not respond. Check that “pneumoscope app” is running.", 0);
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new RequestError(error ?? `The server responded with ${response.status} ${response.statusText}.`, response.status);
}

async function post(url, fileField, file, fields, signal) {
  const body = new FormData();
  body.append(fileField, file, file.name || "image");
  for (const [name, value] of Object.entries(fields)) body.append(name, String(value));
  return request(url, { method: "POST", body, signal });
}

/** Return the JSON at a URL. */
export async function getJson(url) {
  return (await request(url)).json();
}

/** Download a file from the server, and give it a name. */
export async function getFile(url, name) {
  const blob = await (await request(url)).blob();
  return new File([blob], name, { type: blob.type });
}

/**
 * Return the prediction for one file.
 *
 * @param {File} file
 * @param {{point: string, detail: "row" | "full", signal?: AbortSignal}} options
 */
export async function readFile(file, { point, detail, signal }) {
  const response = await post(`/api/read?detail=${detail}`, "files", file, { operating_point: point }, signal);
  return (await response.json()).readings[0];
}

/**
 * Return the decisions of readings at an operating point; the models do not run again.
 *
 * @param {object[]} evidence of readings, see `readFile`.
 * @param {{point: string, model: string}} options
 */
export async function decide(evidence, { point, model }) {
  const body = JSON.stringify({ model, operating_point: point, evidence });
  return (await request("/api/decide", { method: "POST", headers: { "content-type": "application/json" }, body })).json();
}

/** Return a zip with the secondary capture and the structured report of one image. */
export async function makeDicom(file, { point, deidentify }) {
  return (await post("/api/dicom", "file", file, { operating_point: point, deidentify })).blob();
}

/** Decode base64 to bytes. */
export function decodeBytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
