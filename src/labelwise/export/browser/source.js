// Where the page of photographs gets its answers: from the model in this folder, in this browser.
import { at } from "./common.js";
import { load } from "./labelwise.js";

export const AT_ONCE = 1; // the graph answers one after the other

const megabytes = (count) => (count / 1e6).toFixed(0);

// A photograph that is dropped before the model is here must not replace the page.
for (const event of ["dragover", "drop"]) document.addEventListener(event, (e) => e.preventDefault());
document.querySelector(".late").remove();

let read = 0;
let shown = -1;
function progress(bytes) {
  read += bytes;
  if (megabytes(read) === shown) return;
  shown = megabytes(read);
  at("what").textContent = `Loading the model: ${shown} MB`;
}

const provider = new URLSearchParams(location.search).get("provider") ?? "auto";
const opened = await load(undefined, { provider, progress }).catch((error) => {
  at("problem").textContent = error.message;
  at("what").textContent = "The model cannot be loaded.";
  throw error;
});

const PROVIDERS = { wasm: "WebAssembly", webgpu: "WebGPU" };
export const about = "Photographs stay on this device; nothing is sent.";
export const model = {
  model: opened.title,
  labels: opened.labels,
  groups: opened.groups,
  rules: opened.rules,
  top_k: opened.topK,
  takes_states: false,
  gives_maps: opened.hasMaps,
  view: opened.view,
};

at("engine").textContent = `computed here with ${PROVIDERS[opened.provider]}`;
at("choose").disabled = false;
at("problem").textContent = opened.note;

/** One photograph in each part. */
export const inParts = (photographs) => photographs.map((photograph) => [photograph]);

/** The answer for the photograph of a part. */
export async function predict([photograph]) {
  // The page shows the progress before the next photograph keeps the browser busy.
  await new Promise((done) => setTimeout(done));
  return [await opened.predict(photograph.file, { maps: opened.hasMaps })];
}
