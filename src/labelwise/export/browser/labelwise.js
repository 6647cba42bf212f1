// Predicts in the browser, or in Node on pixels, with the files of one folder that `labelwise export --format web` wrote.
import { select } from "./decide.js";
import { averaged, sheet, shownWindow } from "./resize.js";

const FORMAT = 1; // of web.json
const ARTEFACT = 3; // newest format of artefact.json
const MOST_PIXELS = 100_000_000;
const NEAR = 1e-4; // of a probability, by which the check's answer may differ from the run's

/** A refusal in one line: what was given, what was expected, what to do. */
export class LabelwiseError extends Error {
  constructor(given, expected, todo) {
    super(`${given}; expected ${expected}; ${todo}`);
    this.name = "LabelwiseError";
    Object.assign(this, { given, expected, todo });
  }
}

// Files --------------------------------------------------------------------------------------------------------------

async function bytesOf(url, progress = () => {}) {
  const name = url.pathname.split("/").at(-1);
  const missingError = (reason) => new LabelwiseError(`${name} (${reason})`, "every file of the export", "copy the whole folder again");
  if (url.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    return readFile(url).then((bytes) => new Uint8Array(bytes), (error) => Promise.reject(missingError(error.code)));
  }
  const response = await fetch(url).catch((error) => Promise.reject(missingError(error.message)));
  if (!response.ok) throw missingError(`status ${response.status}`);
  const parts = [];
  let size = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    progress(value.length);
  }
  const bytes = new Uint8Array(size);
  parts.reduce((from, part) => (bytes.set(part, from), from + part.length), 0);
  return bytes;
}

function parsed(bytes, name) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new LabelwiseError(`${name}, which is not JSON`, "what labelwise export writes", "copy the whole folder again");
  }
}

/** Refuses bytes that differ from the export's; a page that is not served by HTTPS or from this machine cannot tell. */
async function verified(bytes, name, checksums) {
  if (!globalThis.crypto?.subtle) return bytes;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hex = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if (checksums[name] === hex) return bytes;
  throw new LabelwiseError(`${name}, changed since it was exported`, "the file of its checksum", "copy it again, or export again");
}

// Loading ------------------------------------------------------------------------------------------------------------

/**
 * Opens an exported folder.
 * @param {string | URL} [url] of the folder; by default that of this module
 * @param {{provider?: "auto" | "wasm" | "webgpu", progress?: (bytes: number) => void}} [options]
 * @returns {Promise<Model>}
 */
export async function load(url = new URL(".", import.meta.url), { provider = "auto", progress } = {}) {
  if (!["auto", "wasm", "webgpu"].includes(provider)) {
    throw new LabelwiseError(`provider ${JSON.stringify(provider)}`, "auto, wasm or webgpu", "correct it");
  }
  const folder = new URL(url, globalThis.document?.baseURI ?? import.meta.url);
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  const rawFile = (name) => bytesOf(new URL(name, folder), progress);
  const contents = await Promise.all(["checksums.json", "artefact.json"].map(rawFile));
  const checksums = parsed(contents[0], "checksums.json");
  const file = async (name) => verified(await rawFile(name), name, checksums);
  const artefact = parsed(await verified(contents[1], "artefact.json", checksums), "artefact.json");
  if (!(artefact.format_version <= ARTEFACT)) {
    throw new LabelwiseError(`artefact.json of format version ${artefact.format_version}`, `version ${ARTEFACT} or older`, "use the labelwise.js of this export");
  }
  if (artefact.kind !== "onnx" || !("web.json" in checksums)) {
    throw new LabelwiseError(`an export of kind ${artefact.kind} without web.json`, "a folder of --format web", "export the run again with --format web");
  }
  const web = parsed(await file("web.json"), "web.json");
  if (web.format_version !== FORMAT) {
    throw new LabelwiseError(`web.json of format version ${web.format_version}`, `version ${FORMAT}`, "use the labelwise.js of this export");
  }
  const graph = file(artefact.file);
  graph.catch(() => {}); // awaited below
  const open = async (name) => {
    const { module, binary } = web.runtime[name];
    const [ort, wasm, bytes] = await Promise.all([import(new URL(module, folder)), file(binary), graph]);
    ort.env.wasm.numThreads = 1; // more need SharedArrayBuffer, which a plain file server does not allow
    ort.env.wasm.wasmBinary = wasm;
    ort.env.logLevel = "error";
    const session = await ort.InferenceSession.create(bytes, { executionProviders: [name], graphOptimizationLevel: "all" })
      .catch((error) => Promise.reject(new LabelwiseError(`${artefact.file} (${firstLine(error)})`, `a graph that onnxruntime-web opens with ${name}`, "update the browser, or export again")));
    const model = new Model(artefact, web, name, ort, session);
    await model.check();
    return model;
  };
  const gpu = provider !== "wasm" && Boolean(await globalThis.navigator?.gpu?.requestAdapter().catch(() => null));
  if (provider === "webgpu" && !gpu) {
    throw new LabelwiseError("provider webgpu without a WebGPU adapter", "a browser and a GPU that support it", "leave the provider out");
  }
  if (!gpu) return open("wasm");
  try {
    return await open("webgpu");
  } catch (error) {
    if (provider === "webgpu") throw error;
    const model = await open("wasm");
    model.note = `WebGPU is not used: ${error.message}`;
    return model;
  }
}

const firstLine = (error) => String(error?.message ?? error).split("\n")[0];

// Predictions --------------------------------------------------------------------------------------------------------

class Model {
  constructor(artefact, web, provider, ort, session) {
    const { names } = artefact.labels;
    const { thresholds, calibration, rules } = artefact.decisions;
    const never = new Set(rules.never ?? []);
    this.labels = names.map((name) => ({ name, threshold: thresholds[name], never_selected: never.has(name) }));
    this.groups = Object.entries(artefact.labels.groups ?? {}).map(([name, group]) => ({ name, ...group }));
    this.hasMaps = artefact.outputs.includes("maps");
    this.provider = provider;
    this.runtime = `onnxruntime-web ${web.runtime.version}`;
    this.note = "";
    this.rules = web.rules;
    this.topK = rules.top_k;
    this.card = artefact.card;
    this.title = `${artefact.card.method.name}, ${artefact.card.backbone}`;
    const { size, larger, resize } = artefact.preprocessing;
    this.view = { size, resize };
    this.sizes = larger ? [size, larger] : [size];
    this._names = names;
    this._scale = names.map((name) => calibration.scale[name]);
    this._bias = names.map((name) => calibration.bias[name]);
    this._never = never;
    this._expected = web.check;
    [this._ort, this._session, this._last] = [ort, session, Promise.resolve()];
  }

  /** The labels of one image, the most probable first, and those that are selected. */
  async predict(image, { maps = false } = {}) {
    if (maps && !this.hasMaps) {
      throw new LabelwiseError("an export without evidence maps", "an export with maps", "export again with --maps");
    }
    const pixels = await decode(image, { shrinkTo: Math.max(...this.sizes.flat()) });
    const output = await this.run([sheet(pixels, this.sizes, this.view.resize)]);
    const scores = this.probabilities(output.logits.data);
    const chosen = this.select(scores);
    const order = [...this._names.keys()].sort((a, b) => scores[b] - scores[a]);
    const labels = order.map((j) => {
      const label = { name: this._names[j], score: scores[j], threshold: this.labels[j].threshold, selected: chosen.has(this._names[j]) };
      return maps ? { ...label, map: mapOf(output.maps, j) } : label;
    });
    const { top, left, height, width } = shownWindow(pixels.height, pixels.width, this.view.size, this.view.resize);
    const shown = [left / pixels.width, top / pixels.height, (left + width) / pixels.width, (top + height) / pixels.height];
    return { labels, selected: labels.filter((label) => label.selected).map((label) => label.name), shown };
  }

  /** Outputs of the graph for several inputs of `sheet`, one call after the other. */
  run(inputs) {
    const { height, width } = inputs[0];
    const data = new Uint8Array(inputs.length * 3 * height * width);
    inputs.forEach((input, i) => data.set(input.data, i * 3 * height * width));
    const images = new this._ort.Tensor("uint8", data, [inputs.length, 3, height, width]);
    this._last = this._last.catch(() => {}).then(() => this._session.run({ images }));
    return this._last;
  }

  /** Calibrated probabilities of the logits of one image. */
  probabilities(logits) {
    return Array.from(logits, (logit, j) => {
      const z = logit * this._scale[j] + this._bias[j];
      const e = Math.exp(-Math.abs(z));
      return (z >= 0 ? 1 : e) / (1 + e);
    });
  }

  /** Names that thresholds, exclusive groups and rules select. */
  select(scores) {
    const byName = (values) => new Map(this._names.map((name, j) => [name, values[j]]));
    const thresholds = byName(this.labels.map((label) => label.threshold));
    return select(this._names, byName(scores), thresholds, this.rules, this.topK, this._never, new Set());
  }

  /** Compares the answer for a computed image with the run's; also the first, slow call of the graph. */
  async check() {
    const height = this.sizes.reduce((sum, [rows]) => sum + rows, 0);
    const width = Math.max(...this.sizes.map(([, columns]) => columns));
    const data = Uint8Array.from({ length: 3 * height * width }, (_, i) => (i * 7 + Math.floor(i / width) * 13) % 256);
    const { logits } = await this.run([{ data, height, width }]);
    const expected = this.probabilities(this._expected);
    const difference = Math.max(...this.probabilities(logits.data).map((p, j) => Math.abs(p - expected[j])));
    if (!(difference <= NEAR)) {
      throw new LabelwiseError(`${this.provider} with a probability ${difference.toPrecision(2)} from the run's`, `at most ${NEAR}`, "use another provider or browser");
    }
  }

  /** Frees the memory of the graph. */
  release() {
    return this._session.release();
  }
}

function mapOf({ data, dims: [, , rows, columns] }, label) {
  const start = label * rows * columns;
  return Array.from({ length: rows }, (_, y) => Array.from(data.subarray(start + y * columns, start + (y + 1) * columns)));
}

// Decoding -----------------------------------------------------------------------------------------------------------

/**
 * Upright RGB pixels of an image; transparency is laid over white.
 * @param image a Blob or File, anything that a canvas draws, an ImageData, or `{data, width, height}` of 3 or 4 bytes a pixel
 * @param {{shrinkTo?: number}} [options] pixels that both sides of a smaller JPEG keep: the run decodes large ones at 1/2,
 *   1/4 or 1/8, which means of squares of pixels come close to
 * @returns {Promise<{data: Uint8Array, width: number, height: number}>}
 */
export async function decode(image, { shrinkTo = Infinity } = {}) {
  if (ArrayBuffer.isView(image?.data)) return opaque(image);
  if (typeof OffscreenCanvas === "undefined") {
    throw new LabelwiseError("an image file where nothing decodes it", "{data, width, height}, as in Node", "decode it first");
  }
  const name = image?.name || "the image";
  const unreadable = () => new LabelwiseError(`${name}, which this browser cannot decode`, "a whole image file (JPEG, PNG, WebP, ...)", "save it as one of these");
  const bytes = image instanceof Blob ? new Uint8Array(await image.arrayBuffer()) : [];
  const jpeg = bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
  if (jpeg && cutShort(bytes)) {
    throw new LabelwiseError(`${name}, which ends early`, "a whole image file (JPEG, PNG, WebP, ...)", "copy it again");
  }
  const options = { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(image, options).catch(() => Promise.reject(unreadable()));
  try {
    const { width, height } = bitmap;
    if (width * height > MOST_PIXELS) {
      throw new LabelwiseError(`${name} with ${width} x ${height} pixels`, `at most ${MOST_PIXELS}`, "shrink it");
    }
    // Drawn in memory: a canvas on a graphics card may round otherwise.
    const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = "#fff";
    canvas.fillRect(0, 0, width, height);
    canvas.drawImage(bitmap, 0, 0);
    const pixels = opaque(canvas.getImageData(0, 0, width, height));
    const steps = Math.floor(Math.min(width, height) / shrinkTo);
    return jpeg ? averaged(pixels, [8, 4, 2].find((scale) => steps >= scale) ?? 1) : pixels;
  } finally {
    bitmap.close();
  }
}

/** Whether a JPEG lacks its end: browsers fill the rest with grey, the run refuses such a file. */
function cutShort(bytes) {
  for (let i = bytes.length - 2; i > 1; i--) {
    if (bytes[i] === 0xff && bytes[i + 1] === 0xd9) return false;
    if (bytes[i] === 0xff && bytes[i + 1] === 0xda) return true;
  }
  return true;
}

/** RGB of pixels of three or four bytes, over white. */
function opaque({ data, width, height }) {
  const count = width * height;
  const channels = data.length / count;
  if (!(count > 0) || (channels !== 3 && channels !== 4) || data.BYTES_PER_ELEMENT !== 1) {
    throw new LabelwiseError(`${data.length} values for ${width} x ${height} pixels`, "three or four bytes a pixel", "pass {data, width, height}");
  }
  if (channels === 3) return { data, width, height };
  const rgb = new Uint8Array(3 * count);
  for (let i = 0, from = 0, to = 0; i < count; i++, from += 4, to += 3) {
    const alpha = data[from + 3];
    for (let c = 0; c < 3; c++) {
      const value = data[from + c] * alpha + 255 * (255 - alpha) + 128;
      rgb[to + c] = alpha === 255 ? data[from + c] : (value + (value >> 8)) >> 8;
    }
  }
  return { data: rgb, width, height };
}
