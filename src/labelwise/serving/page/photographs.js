// The page of photographs: show what the model sees in them, and let thresholds and known labels be tried.
import { at, build, fit, lay, paint, percent } from "./common.js";
import { select } from "./decide.js";
import { byGroup, shares } from "./groups.js";
import { AT_ONCE, about, inParts, model, predict } from "./source.js";

const FEWEST = 8; // rows of a card, unless all are shown
const NEXT = 4; // rows below the selected ones
const SLIDERS = 60; // at once; the field finds the others

const names = model.labels.map((label) => label.name);
const ownThresholds = new Map(model.labels.map((label) => [label.name, label.threshold]));
const thresholds = new Map(ownThresholds);
const never = new Set(model.labels.filter((label) => label.never_selected).map((label) => label.name));
const NEVER = "never selected: no positive in train";
let photographs = [];

at("model").textContent = model.model;
document.title = `Labelwise: ${model.model}`;
at("what").textContent = `${names.length} labels. ${about}`;
at("filter").hidden = names.length <= 12;
if (matchMedia("(max-width: 900px)").matches) at("panel").open = false;

// Adding photographs -------------------------------------------------------------------------------------------------

async function add(files) {
  const added = [...files].map((file) => ({ file, url: URL.createObjectURL(file), states: {}, showsAll: false, pinned: null }));
  if (!added.length) return;
  document.body.classList.remove("empty");
  for (const photograph of added) {
    photograph.card = card(photograph);
    at("cards").append(photograph.card.element);
  }
  photographs.push(...added);
  showProgress();
  const parts = inParts(added);
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let part = parts.shift(); part; part = parts.shift()) await answer(part);
  }));
}

async function answer(part) {
  try {
    const lines = await predict(part);
    part.forEach((photograph, i) => setAnswer(photograph, lines[i]));
  } catch (error) {
    part.forEach((photograph) => setAnswer(photograph, { error: error.message }));
  }
  showProgress();
}

function setAnswer(photograph, line) {
  photograph.error = line.error;
  photograph.scores = line.labels && new Map(line.labels.map((label) => [label.name, label.score]));
  photograph.decided = new Set((line.labels ?? []).filter((label) => label.selected).map((label) => label.name));
  photograph.maps = line.labels && new Map(line.labels.filter((label) => label.map).map((label) => [label.name, label.map]));
  show(photograph);
}

// Cards --------------------------------------------------------------------------------------------------------------

function card(photograph) {
  const image = build("img", { src: photograph.url, alt: photograph.file.name });
  const canvas = build("canvas", { "aria-hidden": "true" });
  const photo = build("span", { className: "photo" }, image, canvas);
  image.addEventListener("load", () => fit(image));
  image.addEventListener("error", () => image.replaceWith(build("span", { className: "none", textContent: "This browser cannot show the file." })));
  const title = build("h2", { textContent: photograph.file.name });
  const state = build("p", { className: "soft", textContent: "Waiting…" });
  const rows = build("ul", { className: "rows", "aria-label": `Labels of ${photograph.file.name}` });
  const more = build("button", { className: "plain more", type: "button", hidden: true });
  more.addEventListener("click", () => {
    photograph.showsAll = !photograph.showsAll;
    show(photograph);
  });
  const element = build("li", { className: "card" },
    build("div", { className: "frame" }, photo),
    build("div", {}, build("header", {}, title), state, rows, more));
  return { element, image, canvas, state, rows, more };
}

function show(photograph) {
  const { state, rows, more } = photograph.card;
  state.className = photograph.error ? "error" : "soft";
  state.textContent = photograph.error ?? "";
  if (!photograph.scores) return;
  const chosen = select(names, photograph.scores, thresholds, model.rules, model.top_k, never, photograph.decided);
  photograph.chosen = chosen;
  state.textContent = chosen.size ? "" : "Nothing over its threshold.";
  const ranked = [...photograph.scores.keys()].sort((a, b) => chosen.has(b) - chosen.has(a));
  const count = Math.max(FEWEST, chosen.size + NEXT);
  const focused = rows.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  rows.replaceChildren(...groupedRows(photograph, photograph.showsAll ? ranked : ranked.slice(0, count)).filter(Boolean));
  if (focused) rows.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  more.hidden = ranked.length <= count;
  more.textContent = photograph.showsAll ? "Fewer labels" : `All ${ranked.length} labels`;
}

/** Rows of these labels below the names of their groups; of an exclusive group only the choice, unless all are shown. */
function groupedRows(photograph, shown) {
  return byGroup(model.groups, shown).flatMap((group) => {
    if (!group.exclusive) return [heading(group.name), ...group.labels.map((name) => row(photograph, name))];
    const whole = model.groups.find(({ name }) => name === group.name).labels;
    const share = shares(whole, photograph.scores);
    const rank = (name) => share.get(name) + photograph.chosen.has(name);
    const labels = photograph.showsAll ? group.labels : [whole.reduce((a, b) => (rank(b) > rank(a) ? b : a))];
    return [heading(group.name, `one of ${whole.length}`), ...labels.map((name) => row(photograph, name, share.get(name)))];
  });
}

function heading(name, note = "") {
  return name && build("li", { className: "group" }, name, build("span", { className: "soft", textContent: note }));
}

/** A name that may break before its capitals and after its separators. */
const breakable = (name) => name.split(/(?<=[a-z])(?=[A-Z])|(?<=[_/.-])/).flatMap((part, i) => (i ? [build("wbr"), part] : [part]));

/** A row of a label; `share`: its probability as the one choice of its group, shown in place of its own. */
function row(photograph, name, share) {
  const [threshold, selected] = [thresholds.get(name), photograph.chosen.has(name)];
  const score = share ?? photograph.scores.get(name);
  const fill = build("span", { className: "fill" });
  fill.style.width = `${100 * score}%`;
  const tick = build("span", { className: "tick" });
  tick.style.left = `${100 * threshold}%`;
  tick.hidden = never.has(name) || share !== undefined;
  const rule = share === undefined ? `threshold ${percent(threshold)}` : "as the one choice of its group";
  const decided = never.has(name) ? NEVER : `${rule}, ${selected ? "selected" : "not selected"}`;
  const button = build("button", {
    type: "button", className: selected ? "row selected" : "row", title: name,
    "data-key": `row ${name}`, "aria-pressed": String(photograph.pinned === name),
    "aria-label": `${name}: ${percent(score)}, ${decided}`,
  },
    build("span", { className: "mark", textContent: selected ? "✓" : "" }),
    build("span", { className: "name" }, ...breakable(name)),
    build("span", { className: "track" }, fill, tick),
    build("span", { className: "value", textContent: percent(score) }));
  const showMap = () => overlay(photograph, name);
  const restoreMap = () => overlay(photograph, photograph.pinned);
  for (const event of ["mouseenter", "focus"]) button.addEventListener(event, showMap);
  for (const event of ["mouseleave", "blur"]) button.addEventListener(event, restoreMap);
  button.addEventListener("click", () => {
    photograph.pinned = photograph.pinned === name ? null : name;
    for (const other of photograph.card.rows.querySelectorAll(".row")) {
      other.setAttribute("aria-pressed", String(other.title === photograph.pinned));
    }
    overlay(photograph, photograph.pinned);
  });
  return build("li", {}, button, ...(model.takes_states ? [stateButton(photograph, name)] : []));
}

function overlay(photograph, name) {
  const { canvas, image } = photograph.card;
  const map = name === null ? null : photograph.maps.get(name);
  canvas.classList.toggle("on", Boolean(map));
  if (!map) return;
  lay(canvas, image, model.view);
  paint(canvas, map);
  canvas.dataset.label = name;
}

const STATES = new Map([["", "unknown"], ["true", "present"], ["false", "absent"]]);

/** A button for the known state of a label: unknown, present or absent; a change predicts the photograph again. */
function stateButton(photograph, name) {
  const state = name in photograph.states ? String(photograph.states[name]) : "";
  const button = build("button", {
    type: "button", className: "state", "data-state": state, "data-key": `state ${name}`, textContent: STATES.get(state),
    "aria-label": `${name}: ${STATES.get(state)}; change the known state`,
  });
  button.addEventListener("click", async () => {
    const next = { "": true, true: false, false: undefined }[state];
    if (next === undefined) delete photograph.states[name];
    else photograph.states[name] = next;
    await answer([photograph]);
  });
  return button;
}

// Thresholds ---------------------------------------------------------------------------------------------------------

function sliders() {
  const text = at("filter").value.trim().toLowerCase();
  const matches = names.filter((name) => name.toLowerCase().includes(text));
  at("sliders").replaceChildren(...matches.slice(0, SLIDERS).map(slider));
  if (matches.length > SLIDERS) at("sliders").append(build("p", { className: "soft small", textContent: `and ${matches.length - SLIDERS} more; find them by name` }));
}

function slider(name, index) {
  const id = `threshold-${index}`;
  if (never.has(name)) {
    const note = build("span", { className: "soft small never", textContent: NEVER });
    return build("div", { className: "slider" }, build("span", { textContent: name, title: name }), note);
  }
  const value = build("output", { htmlFor: id });
  const range = build("input", { type: "range", id, min: 0, max: 1, step: 0.01, value: thresholds.get(name) });
  const element = build("div", { className: "slider" }, build("label", { htmlFor: id, textContent: name, title: name }), value, range);
  const update = () => {
    value.textContent = thresholds.get(name).toFixed(2);
    element.classList.toggle("moved", thresholds.get(name) !== ownThresholds.get(name));
    at("reset").hidden = names.every((other) => thresholds.get(other) === ownThresholds.get(other));
  };
  range.addEventListener("input", () => {
    thresholds.set(name, Number(range.value));
    update();
    photographs.forEach(show);
    showProgress();
  });
  update();
  return element;
}

at("filter").addEventListener("input", sliders);
at("reset").addEventListener("click", () => {
  for (const [name, value] of ownThresholds) thresholds.set(name, value);
  sliders();
  photographs.forEach(show);
  showProgress();
  at("panel").querySelector("input")?.focus();
});
sliders();

// Results ------------------------------------------------------------------------------------------------------------

function showProgress() {
  const done = photographs.filter((photograph) => photograph.scores || photograph.error).length;
  const unreadable = photographs.filter((photograph) => photograph.error).length;
  const total = photographs.length;
  const count = done < total ? `${done} of ${total} photographs` : `${total} photograph${total === 1 ? "" : "s"}`;
  at("count").textContent = unreadable ? `${count}, ${unreadable} unreadable` : count;
  at("save").disabled = done < total;
}

const cell = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function table() {
  const lines = photographs.map((photograph) => {
    const selected = photograph.scores ? [...photograph.scores.keys()].filter((name) => photograph.chosen.has(name)) : [];
    const scores = names.map((name) => photograph.scores?.get(name).toFixed(6) ?? "");
    return [photograph.file.name, photograph.error ?? "", selected.join("; "), ...scores];
  });
  return [["image", "error", "selected", ...names], ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

at("save").addEventListener("click", () => {
  const url = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  build("a", { href: url, download: "labels.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
});

at("clear").addEventListener("click", () => {
  for (const photograph of photographs) URL.revokeObjectURL(photograph.url);
  photographs = [];
  at("cards").replaceChildren();
  document.body.classList.add("empty");
  at("choose").focus();
});

// Choosing and dropping ----------------------------------------------------------------------------------------------

at("choose").addEventListener("click", () => at("files").click());
at("files").addEventListener("change", () => {
  add(at("files").files);
  at("files").value = "";
});
for (const event of ["dragenter", "dragover"]) {
  document.addEventListener(event, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  add(event.dataTransfer.files);
});
document.body.dataset.ready = "yes";
