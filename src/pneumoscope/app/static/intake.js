/** Input of images: drop of files and folders, paste, file dialog, and phantoms. */
import { getFile, getJson } from "./api.js";
import { byId, compareNames, make, makeImage, showMessage } from "./elements.js";

const MAX_FILES = 5000;

/** @param {(files: {file: File, name: string, phantom?: boolean}[]) => void} take called with new images. */
export function openIntake(take) {
  const picker = byId("picker");
  for (const id of ["choose", "add"]) byId(id).addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    take(nameFiles([...picker.files]));
    picker.value = ""; // so that the same file can be picked again
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(nameFiles(files));
  });
  followDrops(take);
}

function nameFiles(files) {
  return files.map((file) => ({ file, name: file.name || "pasted image" }));
}

function followDrops(take) {
  const veil = byId("dropping");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  document.addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    const files = await unpackDrop(event.dataTransfer);
    if (files.length > MAX_FILES) showMessage(`${files.length} files were dropped. Only the first ${MAX_FILES} are used.`);
    if (files.length) take(files.slice(0, MAX_FILES));
    else showMessage("No files were dropped.");
  });
}

/** Return all files of a drop. Files in folders are named by their relative path. */
async function unpackDrop(transfer) {
  // The browser empties this list at the first await, so the entries are copied before.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return nameFiles([...transfer.files]);
  const files = (await Promise.all(entries.map(walkEntry))).flat();
  return files.sort((a, b) => compareNames(a.name, b.name));
}

async function walkEntry(entry) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null);
    return file ? [{ file, name: entry.fullPath.replace(/^\//, "") }] : [];
  }
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    // The browser lists a folder in portions; the last portion is empty.
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => []);
    if (!portion.length) return files;
    files.push(...(await Promise.all(portion.map(walkEntry))).flat());
  }
}

/** Show the example phantoms; see `openIntake` for `take`. */
export async function offerPhantoms(take) {
  const phantoms = await getJson("/api/phantoms");
  byId("phantoms").replaceChildren(...phantoms.map(({ name, label, url }) => {
    const image = makeImage({ src: url, alt: "", width: "160", height: "160" }, "not loaded");
    const caption = make("span", { class: "label" }, label ? `phantom: ${label}` : name.replace("-", " "));
    const button = make("button", { type: "button", class: "phantom" }, image, caption);
    button.addEventListener("click", async () => {
      try {
        take([{ file: await getFile(url, `${name}.png`), name: `${name}.png`, phantom: true }]);
      } catch (error) {
        showMessage(error.message);
      }
    });
    return make("li", {}, button);
  }));
}
