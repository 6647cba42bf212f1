// The search of a collection: the address holds the search, the server answers a page of results, keys reach everything.
import { ask, askJson, at, build, percent, send } from "/assets/common.js";
import { drawing } from "/assets/drawing.js";

const FIRST_PICTURES = 6; // results whose pictures come first
const SHOWN = 40; // labels at once; the field finds the others
const LISTS = ["like", "unlike", "present", "absent"];
const base = (name) => `/collection/${name}`;

let search = read();
let answer = null;
let about = { labels: [], images: 0 };
let currentRequest = null; // the request on its way
const selection = new Map();
const isTouch = matchMedia("(hover: none)").matches;
const urls = []; // of the pictures on the page
const examples = new Map(); // the elements of each photograph of the search

// The search in the address -----------------------------------------------------------------------------------------

function read() {
  const query = new URLSearchParams(location.search);
  return {
    label: query.get("label"), by: query.get("by") === "score" ? "score" : "feature",
    least: Number(query.get("least")) || 0, page: Math.max(1, Number.parseInt(query.get("page") ?? "1", 10) || 1),
    boxes: Object.fromEntries(query.getAll("box").map((box) => box.split(":", 2))),
    ...Object.fromEntries(LISTS.map((name) => [name, query.getAll(name)])),
  };
}

function parameters() {
  const query = new URLSearchParams();
  if (search.label !== null) query.set("label", search.label);
  for (const name of LISTS) for (const value of search[name]) query.append(name, value);
  for (const [id, sides] of Object.entries(search.boxes)) query.append("box", `${id}:${sides}`);
  if (search.least) query.set("least", search.least);
  if (search.by === "score") query.set("by", "score");
  if (search.page > 1) query.set("page", search.page);
  return query.toString();
}

/** Changes the search, and the address with it; a page number belongs to one search only. */
function changeSearch(changes, { replace = false } = {}) {
  search = { ...search, page: 1, ...changes };
  search.boxes = Object.fromEntries(Object.entries(search.boxes).filter(([id]) => [...search.like, ...search.unlike].includes(id)));
  const query = parameters();
  history[replace ? "replaceState" : "pushState"](null, "", query ? `?${query}` : location.pathname);
  return load();
}

async function load() {
  currentRequest?.abort();
  const request = new AbortController();
  currentRequest = request;
  const fromGrid = at("grid").contains(document.activeElement);
  at("grid").setAttribute("aria-busy", "true");
  showSearch();
  try {
    const content = await askJson(`${base("results")}?${parameters()}`, { signal: request.signal });
    if (currentRequest !== request) return;
    answer = content;
    if (content.label !== search.label || content.page !== search.page) {
      search = { ...search, label: content.label, page: content.page };
      history.replaceState(null, "", `?${parameters()}`);
    }
    at("problem").replaceChildren();
    showSearch();
    showResults();
  } catch (error) {
    if (currentRequest !== request || error.name === "AbortError") return;
    answer = null;
    showFailure(error);
  }
  at("grid").removeAttribute("aria-busy");
  at("grid").classList.remove("first");
  if (fromGrid) (at("grid").querySelector(".shot") ?? at("problem").querySelector("button"))?.focus({ preventScroll: true });
  document.body.dataset.ready = String(Number(document.body.dataset.ready ?? 0) + 1);
}

function showFailure(error) {
  at("count").textContent = "The search failed";
  at("order").textContent = "";
  at("pager").hidden = true;
  at("grid").replaceChildren();
  const retry = build("button", { className: "button", type: "button", textContent: "Try again" });
  const start = build("button", { className: "button", type: "button", textContent: "New search" });
  retry.addEventListener("click", load);
  start.addEventListener("click", () => changeSearch(emptySearch()));
  at("problem").replaceChildren(build("p", { className: "error", textContent: error.message }), retry, " ", start);
}

const emptySearch = () => ({ label: null, least: 0, by: "feature", boxes: {}, ...Object.fromEntries(LISTS.map((name) => [name, []])) });

// What is searched --------------------------------------------------------------------------------------------------

function showSearch() {
  const photographs = answer && answersSearch() ? [...answer.like, ...answer.unlike] : [];
  const compared = search.like.length > 0;
  const exampleCount = search.like.length + search.unlike.length;
  at("question").hidden = !exampleCount;
  at("teach").hidden = search.like.length < 2;
  // Its place is taken before the photographs come.
  at("examples").style.setProperty("--wide", `${exampleCount > 1 ? Math.min(560, 144 * exampleCount - 8) : 204}px`);
  for (const button of at("labels").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.label === search.label));
  }
  const filters = [...search.present.map((name) => ["present", name]), ...search.absent.map((name) => ["absent", name])];
  at("active").replaceChildren(...filters.map(([list, name]) => {
    const what = list === "present" ? "with" : "without";
    const chip = build("button", { className: "chip", type: "button", "aria-label": `Remove: ${what} ${name}` },
      build("span", { textContent: `${what} ${name}` }), build("span", { textContent: "×" }));
    chip.addEventListener("click", () => changeSearch({ [list]: search[list].filter((other) => other !== name) }));
    return build("li", {}, chip);
  }));
  at("least").value = search.least;
  at("least-value").textContent = percent(search.least);
  at("least").disabled = search.label === null && !compared;
  for (const radio of document.querySelectorAll('[name="by"]')) {
    radio.disabled = !compared;
    radio.checked = radio.value === (compared ? search.by : "score");
  }
  const count = filters.length + (search.least ? 1 : 0);
  at("chosen").textContent = [search.label, count ? `${count} filter${count > 1 ? "s" : ""}` : ""].filter(Boolean).join(", ");
  if (photographs.length) showQuestion(photographs);
}

const ids = (photographs) => photographs.map((photograph) => photograph.id).join();
const answersSearch = () => ids(answer.like) === search.like.join() && ids(answer.unlike) === search.unlike.join();

function showQuestion(photographs) {
  const key = JSON.stringify([search.like, search.unlike, answer.label, about.takes_boxes]);
  if (at("examples").dataset.key !== key) {
    at("examples").dataset.key = key;
    at("examples").classList.toggle("many", photographs.length > 1);
    examples.clear();
    at("examples").replaceChildren(...photographs.map(example));
  }
  for (const photograph of photographs) showExample(photograph, photographs.length > 1);
  const drawn = Object.keys(search.boxes).length > 0;
  at("hint").textContent = !about.takes_boxes ? ""
    : drawn ? (isTouch ? "Drag the box or its corners." : "Arrow keys move the box, with Shift they resize it; Esc removes it.") : "Draw a box on the photograph to compare only that part.";
  const first = photographs[0];
  const stored = new Set(about.labels.map((label) => label.name));
  const compared = first.labels.filter((label) => stored.has(label.name)).slice(0, 12);
  if (answer.label && !compared.some((label) => label.name === answer.label)) compared.unshift({ name: answer.label, score: first.score });
  at("of").replaceChildren(...compared.map((label) => {
    const chip = build("button", { className: "chip", type: "button", "aria-pressed": String(label.name === answer.label) },
      build("span", { textContent: label.name }), build("span", { className: "number", textContent: percent(label.score) }));
    chip.addEventListener("click", () => changeSearch({ label: label.name }));
    return build("li", {}, chip);
  }));
}

/** A photograph of the search, on which a box can be drawn. */
function example(photograph) {
  const { id, name } = photograph;
  const list = search.like.includes(id) ? "like" : "unlike";
  const remove = build("button", { className: "remove", type: "button", textContent: "×", "aria-label": `Remove ${name} from the search` });
  remove.addEventListener("click", () => changeSearch({ [list]: search[list].filter((other) => other !== id) }));
  const picture = frame("div", photograph);
  const text = build("p", { className: "small", title: name });
  const boxDrawing = about.takes_boxes ? drawing(picture.querySelector(".inner"), name, (box) => {
    const { [id]: removed, ...others } = search.boxes;
    changeSearch({ boxes: box ? { ...others, [id]: box.join() } : others, by: "feature" });
  }) : null;
  examples.set(id, { picture, text, boxDrawing });
  return build("li", {}, picture, remove, text, ...(boxDrawing ? [boxDrawing.button] : []));
}

/** What an answer says of a photograph of the search, and its box in the address. */
function showExample({ id, name, score, box }, many) {
  const { picture, text, boxDrawing } = examples.get(id);
  const sides = search.boxes[id];
  const scoreText = score === undefined ? "" : `score ${percent(score)}${sides ? " in the box" : ""}`;
  text.textContent = [search.unlike.includes(id) ? "Unlike" : "", many || sides ? "" : name, scoreText].filter(Boolean).join(" · ");
  if (box) place(picture.querySelector(".box"), box);
  boxDrawing?.show(sides ? sides.split(",").map(Number) : null);
}

function showLabels() {
  const text = at("find").value.trim().toLowerCase();
  const matches = about.labels.filter((label) => label.name.toLowerCase().includes(text));
  // The label of the search stays in view.
  matches.sort((a, b) => (b.name === search.label) - (a.name === search.label));
  const listed = matches.slice(0, SHOWN);
  at("labels").replaceChildren(...listed.map((label) => {
    const button = build("button", { type: "button", "data-label": label.name, title: label.name, "aria-pressed": String(label.name === search.label) },
      build("span", { textContent: label.name }), build("span", { className: "number", textContent: label.photographs.toLocaleString("en") }));
    button.addEventListener("click", () => changeSearch({ label: label.name === search.label && !search.like.length ? null : label.name }));
    return build("li", {}, button);
  }));
  oneStop(at("labels"));
  at("others").textContent = !matches.length && about.labels.length ? "No label of this name."
    : matches.length > SHOWN ? `and ${(matches.length - SHOWN).toLocaleString("en")} more; find them by name` : "";
}

// Results -----------------------------------------------------------------------------------------------------------

function showResults() {
  const { total, listed, page, pages, results, order, label } = answer;
  const number = total.toLocaleString("en");
  const what = build("span", { className: label ? "wide" : "", textContent: ` photograph${total === 1 ? "" : "s"}` });
  at("count").replaceChildren(...(total === 0 ? ["No photograph fits"] : [number, what, label ? ` with ${label}` : ""]));
  const lines = {
    collection: "Choose a label, or a photograph to find others like it.",
    score: "Highest score first.",
    feature: `Most similar to the photograph${search.like.length > 1 ? "s" : ""} above first${listed < total ? `; ${listed.toLocaleString("en")} are listed` : ""}.`,
  };
  at("order").textContent = total === 0 ? "" : lines[order];
  if (total === 0) showNothing();
  for (const url of urls.splice(0)) URL.revokeObjectURL(url);
  at("grid").replaceChildren(...results.map(tile));
  oneStop(at("grid"));
  at("pager").hidden = pages < 2;
  at("page").textContent = `Page ${page.toLocaleString("en")} of ${pages.toLocaleString("en")}`;
  at("previous").disabled = page <= 1;
  at("next").disabled = page >= pages;
  document.title = `Labelwise: ${label ? `${label} in ` : ""}${about.name ?? "collection"}`;
}

function showNothing() {
  const filtered = search.present.length || search.absent.length || search.least;
  const text = filtered ? "The filters leave nothing." : about.images ? "The collection stores no feature of this label." : "The collection is empty: labelwise embed adds photographs.";
  at("problem").replaceChildren(build("p", { className: "soft", textContent: text }));
  if (!filtered) return;
  const remove = build("button", { className: "button", type: "button", textContent: "Remove the filters" });
  remove.addEventListener("click", () => changeSearch({ present: [], absent: [], least: 0 }));
  at("problem").append(remove);
}

function tile(photograph) {
  const { id, name, similarity, score } = photograph;
  const others = photograph.labels.filter((label) => label !== answer.label).join(", ");
  const values = [...(similarity === null ? [] : [similarity.toFixed(3)]), ...(score === null ? [] : [`score ${percent(score)}`])];
  const spoken = [name, similarity === null ? "" : "similarity", ...values, others];
  const shot = frame("button", photograph, { className: "frame shot", type: "button", "data-id": id, "aria-label": spoken.filter(Boolean).join(", "), title: photograph.path, "aria-keyshortcuts": "Enter Space" });
  const box = build("input", { type: "checkbox", checked: selection.has(id), tabIndex: -1, "aria-label": `Select ${name}` });
  const element = build("li", { className: selection.has(id) ? "tile picked" : "tile" }, shot,
    build("label", { className: "pick" }, box),
    build("p", { className: "line number" }, build("span", { textContent: values[0] ?? name }), build("span", { className: "soft", textContent: values[1] ?? "" })),
    build("p", { className: "with", textContent: others, title: others }));
  shot.addEventListener("click", () => {
    scrollTo(0, 0);
    changeSearch({ like: [id], unlike: [], by: "feature" });
  });
  box.addEventListener("change", () => setSelected(element, photograph, box.checked));
  element.toggle = () => setSelected(element, photograph, !selection.has(id));
  return element;
}

/** A photograph in a frame of fixed size, with a box where the model saw the label; it is fetched when it comes near. */
function frame(kind, photograph, properties = { className: "frame" }) {
  const { width, height, box } = photograph;
  const image = build("img", { draggable: kind === "button", alt: kind === "button" ? "" : photograph.name, width, height, "data-src": `${base(`photographs/${photograph.id}`)}/thumbnail?version=${photograph.version}` });
  const inner = build("span", { className: 3 * width < 4 * height ? "inner tall" : "inner" }, image);
  inner.style.aspectRatio = `${width} / ${height}`;
  if (box) {
    const mark = build("span", { className: "box" });
    place(mark, box);
    inner.append(mark);
  }
  pictureObserver.observe(inner);
  return build(kind, properties, inner);
}

function place(mark, [left, top, right, bottom]) {
  Object.assign(mark.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` });
}

const pictureObserver = new IntersectionObserver((entries) => {
  for (const entry of entries.filter(({ isIntersecting }) => isIntersecting)) {
    pictureObserver.unobserve(entry.target);
    fetchPicture(entry.target);
  }
}, { rootMargin: "400px" });

async function fetchPicture(inner) {
  const image = inner.querySelector("img");
  try {
    // The first photographs do not wait for those below.
    const priority = [...at("grid").children].indexOf(inner.closest("li")) < FIRST_PICTURES ? "high" : "low";
    const response = await ask(image.dataset.src, { priority });
    if (!response.ok) throw new Error((await response.json()).error);
    const url = URL.createObjectURL(await response.blob());
    urls.push(url);
    image.src = url;
    await image.decode();
    image.classList.add("come");
  } catch (error) {
    if (inner.isConnected) inner.replaceChildren(build("span", { className: "missing", textContent: "The photograph cannot be shown.", title: error.message }));
  }
}

// Selection ---------------------------------------------------------------------------------------------------------

function setSelected(element, photograph, chosen) {
  if (chosen) selection.set(photograph.id, photograph);
  else selection.delete(photograph.id);
  element.classList.toggle("picked", chosen);
  element.querySelector("input").checked = chosen;
  showSelection();
}

function showSelection() {
  at("selection").hidden = !selection.size;
  at("grid").classList.toggle("picking", selection.size > 0);
  at("review").disabled = search.label === null;
  at("selected").textContent = `${selection.size.toLocaleString("en")} selected`;
}

function unselect() {
  selection.clear();
  for (const element of at("grid").querySelectorAll(".picked")) {
    element.classList.remove("picked");
    element.querySelector("input").checked = false;
  }
  showSelection();
}

function joinSearch(list) {
  const chosen = [...selection.keys()];
  const other = list === "like" ? "unlike" : "like";
  unselect();
  scrollTo(0, 0);
  changeSearch({ [list]: [...new Set([...search[list], ...chosen])].slice(0, 100), [other]: search[other].filter((id) => !chosen.includes(id)), by: "feature" });
}

async function saveTable() {
  const body = JSON.stringify({ images: [...selection.keys()].map(Number) });
  const response = await ask(base("table"), { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (!response.ok) return showMessage((await response.json()).error);
  const url = URL.createObjectURL(await response.blob());
  build("a", { href: url, download: "photographs.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function openTeaching() {
  const field = build("input", { id: "new-name", required: true, maxLength: 100, autocomplete: "off" });
  const status = build("p", { role: "status", textContent: `${search.like.length} photographs have the label, ${search.unlike.length} do not. The served run is not changed.` });
  const start = build("button", { className: "button main", textContent: "Teach" });
  const close = build("button", { className: "button", type: "button", textContent: "Close" });
  const form = build("form", {}, build("label", { htmlFor: "new-name", textContent: "Name of the new label" }), field, status, start, close);
  const dialog = build("dialog", { "aria-label": "Teach a new label" }, form);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    start.disabled = true;
    status.className = "soft";
    status.textContent = "Teaching …";
    try {
      const { sentence, run, command } = await send(base("teach"), { name: field.value.trim(), positives: search.like, negatives: search.unlike });
      status.replaceChildren(`${sentence}. The new run is ${run}. Try it:`, build("code", { textContent: command }));
    } catch (error) {
      status.className = "error";
      status.textContent = error.message;
      start.disabled = false;
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}

async function sendToReview() {
  try {
    const { added, there, absent } = await send(base("review"), { images: [...selection.keys()].map(Number), label: search.label });
    const notes = [there ? `${there} in the queue already` : "", absent ? `${absent} not in the data of the review` : ""].filter(Boolean);
    unselect();
    showMessage(`${added} added to the review${notes.length ? `; ${notes.join(", ")}` : ""}.`, false);
  } catch (error) {
    showMessage(error.message);
  }
}

function showMessage(text, alert = true) {
  const close = build("button", { className: "button main", textContent: "Close" });
  const dialog = build("dialog", {}, build("form", { method: "dialog" }, build("p", { className: alert ? "error" : "", textContent: text }), close));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// Uploading ---------------------------------------------------------------------------------------------------------

async function upload(file) {
  if (!file) return;
  const form = new FormData();
  form.append("files", file);
  at("grid").setAttribute("aria-busy", "true");
  try {
    const { id } = await askJson(base("photographs"), { method: "POST", body: form });
    await changeSearch({ like: [id], unlike: [], label: null, by: "feature" });
  } catch (error) {
    at("grid").removeAttribute("aria-busy");
    showMessage(error.message);
  }
}

// Keys --------------------------------------------------------------------------------------------------------------

/** Makes a list one stop of the Tab key. */
function oneStop(list) {
  const buttons = [...list.querySelectorAll("li > button")];
  const first = buttons.find((button) => button.getAttribute("aria-pressed") === "true") ?? buttons[0];
  for (const button of buttons) button.tabIndex = button === first ? 0 : -1;
}

function move(event) {
  const buttons = [...event.currentTarget.querySelectorAll("li > button")];
  const index = buttons.indexOf(event.target.closest("li > button"));
  if (index < 0) return;
  const columns = Math.max(1, buttons.findIndex((button) => button.offsetTop + button.parentElement.offsetTop > buttons[0].offsetTop + buttons[0].parentElement.offsetTop));
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -index, End: buttons.length - 1 - index };
  if (event.key === " " && event.currentTarget === at("grid")) event.target.closest("li").toggle();
  else if (event.key in steps) {
    const next = buttons[Math.min(buttons.length - 1, Math.max(0, index + steps[event.key]))];
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
    next.focus();
  } else return;
  event.preventDefault();
}

function escape(event) {
  if (event.key !== "Escape" || document.querySelector("dialog[open]") || event.target.value) return;
  if (selection.size) unselect();
  else if (search.like.length || search.unlike.length) changeSearch({ like: [], unlike: [] });
}

for (const list of ["grid", "labels"]) at(list).addEventListener("keydown", move);
document.addEventListener("keydown", escape);
addEventListener("popstate", () => {
  search = read();
  showLabels();
  load();
});
at("find").addEventListener("input", showLabels);
at("find").addEventListener("keydown", (event) => {
  if (event.key === "Enter") at("labels").querySelector("button")?.click();
  if (event.key === "ArrowDown") at("labels").querySelector("button")?.focus();
});
for (const list of ["present", "absent"]) {
  at(list).addEventListener("change", () => {
    const name = at(list).value;
    at(list).value = "";
    if (about.labels.some((label) => label.name === name) && !search[list].includes(name)) changeSearch({ [list]: [...search[list], name] });
  });
}
at("least").addEventListener("input", () => { at("least-value").textContent = percent(Number(at("least").value)); });
at("least").addEventListener("change", () => changeSearch({ least: Number(at("least").value) }));
for (const radio of document.querySelectorAll('[name="by"]')) radio.addEventListener("change", () => changeSearch({ by: radio.value }));
for (const [id, step] of [["previous", -1], ["next", 1]]) {
  at(id).addEventListener("click", () => {
    scrollTo(0, 0);
    changeSearch({ page: search.page + step });
  });
}
at("clear-question").addEventListener("click", () => changeSearch({ like: [], unlike: [] }));
at("alike").addEventListener("click", () => joinSearch("like"));
at("unlike").addEventListener("click", () => joinSearch("unlike"));
at("table").addEventListener("click", saveTable);
at("teach").addEventListener("click", openTeaching);
at("review").addEventListener("click", sendToReview);
at("none").addEventListener("click", unselect);
at("whole").addEventListener("click", () => {
  for (const element of at("grid").children) if (!element.classList.contains("picked")) element.toggle();
});
at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => {
  upload(at("file").files[0]);
  at("file").value = "";
});
for (const event of ["dragenter", "dragover"]) {
  document.addEventListener(event, (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  upload(event.dataTransfer.files[0]);
});

// Start: frames of results stand in place before anything has come.
if (matchMedia("(max-width: 900px)").matches) at("side").open = false;
at("side").classList.add("waiting");
at("grid").classList.add("first");
at("grid").replaceChildren(...Array.from({ length: 24 }, () => build("li", { className: "tile", "aria-hidden": "true" },
  build("span", { className: "frame" }), build("p", { className: "line" }), build("p", { className: "with" }))));
at("main").hidden = false;
const results = load();
try {
  const [model, description] = await Promise.all([askJson("/labels"), askJson(base("about"))]);
  about = description;
  at("model").textContent = model.model;
  at("review").hidden = !model.review;
  at("names").replaceChildren(...about.labels.map((label) => build("option", { value: label.name })));
  showLabels();
  // What lies below stays in place while labels are looked for.
  at("labels").style.minHeight = `${at("labels").offsetHeight}px`;
  at("side").classList.remove("waiting");
  await results;
  delete at("examples").dataset.key;
  showSearch();
} catch (error) {
  showFailure(error);
}
document.body.dataset.whole = "yes";
