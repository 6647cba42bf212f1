// Where the page of photographs gets its answers: from the model in this folder, in this browser.
import { at } from "./common.js";
import { load } from "./labelwise.js";

export const AT_ONCE = 1; // the graph answers one after the other

const megabytes = (count) => (count / 1e6).toFixed(0);

// A photograph that is dropped before the model is here must not replace the page.
for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault());
document.querySelector(".late").remove();

let loaded = 0;
let shownMegabytes = -1;
function progress(bytes) {
  loaded += bytes;
  if (megabytes(loaded) === shownMegabytes) return;
  shownMegabytes = megabytes(loaded);
  at("what").textContent = `Loading the model: ${shownMegabytes} MB`;
}

const provider = new URLSearchParams(location.search).get("provider") ?? "auto";
const loadedModel = await load(undefined, { provider, progress }).catch((error) => {
  at("problem").textContent = error.message;
  at("what").textContent = "The model cannot be loaded.";
  throw error;
});

const PROVIDERS = { wasm: "WebAssembly", webgpu: "WebGPU" };
export const about = "Photographs stay on this device; nothing is sent.";
export const model = {
  model: loadedModel.title,
  labels: loadedModel.labels,
  groups: loadedModel.groups,
  rules: loadedModel.rules,
  top_k: loadedModel.topK,
  takes_states: false,
  gives_maps: loadedModel.hasMaps,
  view: loadedModel.view,
};

at("engine").textContent = `computed here with ${PROVIDERS[loadedModel.provider]}`;
at("choose").disabled = false;
at("problem").textContent = loadedModel.note;

/** One photograph in each part. */
export const inParts = (photographs) => photographs.map((photograph) => [photograph]);

/** The answer for the photograph of a part. */
export async function predict([photograph]) {
  // The page shows the progress before the next photograph keeps the browser busy.
  await new Promise((done) => setTimeout(done));
  return [await loadedModel.predict(photograph.file, { maps: loadedModel.hasMaps })];
}
