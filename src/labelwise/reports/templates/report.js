"use strict";
document.documentElement.classList.add("has-script");

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const textual = column === 0;
      const descending = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : !textual;
      const key = (row) => (textual ? row.cells[0].textContent : Number(row.cells[column].dataset.value));
      const compare = (a, b) => (textual ? key(a).localeCompare(key(b)) : key(a) - key(b));
      const rows = [...body.rows].sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      body.append(...rows);
    });
  });
}

const explorerData = document.getElementById("explored");
if (explorerData) {
  const labels = JSON.parse(explorerData.textContent);
  const pick = document.getElementById("pick");
  const setAttributes = (id, values) => {
    for (const [name, value] of Object.entries(values)) document.getElementById(id).setAttribute(name, value);
  };
  const showLabel = () => {
    const label = labels[pick.value];
    setAttributes("curve", { d: label.curve });
    setAttributes("operating", { cx: label.x, cy: label.y });
    setAttributes("up", { d: label.up });
    setAttributes("down", { d: label.down });
    setAttributes("threshold", { x1: label.threshold, x2: label.threshold });
    document.getElementById("picked").textContent = label.text;
  };
  pick.addEventListener("change", showLabel);
  document.getElementById("others").addEventListener("click", (event) => {
    if (event.target.dataset.label === undefined) return;
    pick.value = event.target.dataset.label;
    showLabel();
  });
  showLabel();
}

const photos = [...document.querySelectorAll("button.photo")];
for (const photo of photos) {
  photo.addEventListener("click", () => {
    photo.setAttribute("aria-pressed", String(photo.getAttribute("aria-pressed") !== "true"));
  });
}
const maps = document.getElementById("maps");
if (maps) {
  maps.addEventListener("change", () => {
    for (const photo of photos) photo.setAttribute("aria-pressed", String(maps.checked));
  });
}
