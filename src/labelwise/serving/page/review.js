// The review: one suspicious label at a time, decided by key or click, on the server's disk before the next one shows.
import { ask, askJson, at, build, fit, lay, paint, percent, send } from "/assets/common.js";

const STATES = { 1: "present", 0: "absent", "": "unknown" };
const KEYS = { k: "keep", c: "change", u: "unknown" };

const [model, queue] = await Promise.all([askJson("/labels"), askJson("/review/items")]);
const items = queue.items;
const photos = new Map();
let current = Math.max(0, items.findIndex((item) => item.choice === null));
let saving = false;
let showsEvidence = false;

at("model").textContent = model.model;
at("saved").textContent = `· every decision is saved to ${queue.journal}`;
at("queue").hidden = !items.length;
if (!items.length) at("problem").textContent = "The audit's list is empty.";
if (!queue.exports) {
  at("export").disabled = true;
  at("export-what").textContent = "Start the server with --data SOURCE to write the corrected table.";
}

const CHOICES = [
  ["keep", "K", (item) => `Keep: ${STATES[item.current]}`, "the label is not changed"],
  ["change", "C", (item) => `Change: ${STATES[item.proposed]}`, "as the audit proposes"],
  ["unknown", "U", () => "Unknown", "cannot be decided; training leaves it out"],
];

function showItem() {
  const item = items[current];
  if (!item) return;
  at("question").textContent = `Is “${item.label}” in this photograph?`;
  at("why").textContent = item.reason || `Listed as ${item.kind}.`;
  at("facts").replaceChildren(...facts(item));
  at("choices").replaceChildren(...CHOICES.map(([choice, key, text, why]) => {
    const button = build("button", { type: "button", className: "choice", "data-choice": choice, "aria-pressed": String(item.choice === choice), "aria-keyshortcuts": key },
      build("span", {}, text(item), build("small", { textContent: why })), build("kbd", { textContent: key }));
    button.addEventListener("click", () => decide(choice));
    return button;
  }));
  at("back").disabled = current === 0;
  at("forward").disabled = current === items.length - 1;
  showProgress();
  return showPicture();
}

function facts(item) {
  const rows = [
    ["The table says", STATES[item.current]],
    ["The audit proposes", STATES[item.proposed]],
    ["Probability", item.probability === "" ? "" : percent(Number(item.probability))],
    ["Kind", item.kind],
    ["Image", item.image],
  ];
  return rows.filter(([, text]) => text !== "").flatMap(([head, text]) => [build("dt", { textContent: head }), build("dd", { textContent: text })]);
}

function showProgress() {
  const done = items.filter((item) => item.choice !== null).length;
  at("progress").textContent = `Item ${current + 1} of ${items.length}, ${done} decided`;
  at("done").style.width = `${items.length ? (100 * done) / items.length : 0}%`;
}

// Photographs are kept as they come, and the next one is fetched while this one is looked at.
function photo(i) {
  if (i >= items.length) return null;
  if (!photos.has(i)) {
    photos.set(i, ask(`/review/items/${i}/photo`).then((answer) => (answer.ok ? answer.blob() : Promise.reject(answer))).then((blob) => URL.createObjectURL(blob)));
    photos.get(i).catch(() => photos.delete(i));
  }
  if (photos.size > 12) forget(photos.keys().next().value);
  return photos.get(i);
}

function forget(i) {
  photos.get(i).then((url) => URL.revokeObjectURL(url), () => {});
  photos.delete(i);
}

async function showPicture() {
  const index = current;
  const image = at("image");
  at("map").classList.remove("on");
  try {
    const url = await photo(index);
    if (index !== current) return;
    image.src = url;
    image.alt = items[index].image;
    await image.decode();
    fit(image);
  } catch {
    if (index === current) {
      image.removeAttribute("src");
      image.alt = `${items[index].image} cannot be shown`;
    }
  }
  photo(index + 1)?.catch(() => {});
  if (showsEvidence) overlay();
}

async function overlay() {
  const index = current;
  const item = items[index];
  item.map ??= (await askJson(`/review/items/${index}/map`)).map ?? false;
  if (index !== current || !showsEvidence) return;
  at("problem").textContent = item.map ? "" : "This model has no map for the label.";
  if (!item.map) return;
  lay(at("map"), at("image"), model.view);
  paint(at("map"), item.map);
  at("map").classList.add("on");
}

async function decide(choice) {
  if (saving) return;
  saving = true;
  const index = current;
  try {
    await send(`/review/items/${index}`, { choice });
    items[index].choice = choice;
    at("problem").textContent = "";
    if (index < items.length - 1) current = index + 1;
    showItem();
  } catch (error) {
    at("problem").textContent = `Not saved: ${error.message}`;
  } finally {
    saving = false;
  }
}

function step(offset) {
  const next = Math.min(items.length - 1, Math.max(0, current + offset));
  if (saving || next === current) return;
  current = next;
  showItem();
}

function toggle() {
  showsEvidence = !showsEvidence;
  at("show").setAttribute("aria-pressed", String(showsEvidence));
  if (showsEvidence) overlay();
  else at("map").classList.remove("on");
}

at("back").addEventListener("click", () => step(-1));
at("forward").addEventListener("click", () => step(1));
at("show").addEventListener("click", toggle);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || document.querySelector("dialog[open]")) return;
  const key = event.key.toLowerCase();
  if (key in KEYS) decide(KEYS[key]);
  else if (key === "arrowleft") step(-1);
  else if (key === "arrowright") step(1);
  else if (key === "e") toggle();
  else return;
  event.preventDefault();
});

at("export").addEventListener("click", async () => {
  at("export").disabled = true;
  try {
    const result = await askJson("/review/export", { method: "POST" });
    at("exported").replaceChildren(
      `${result.changed} of ${result.decided} decided cells changed. The table is ${result.table}, its changes are in ${result.changes}. Train on it:`,
      build("code", { textContent: result.command }));
  } catch (error) {
    at("exported").replaceChildren(build("span", { className: "error", textContent: error.message }));
  }
  at("export").disabled = false;
});

await showItem();
document.body.dataset.ready = "yes";
