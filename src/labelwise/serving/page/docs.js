// The documentation of the API, from the server's own schema.
import { askJson, at, build } from "/assets/common.js";

const curl = `curl -F files=@photo.jpg ${location.origin}/predict
curl -F files=@a.jpg -F files=@b.jpg "${location.origin}/predict?maps=true"
curl -H "Content-Type: application/json" -d '{"image_base64": "..."}' ${location.origin}/predict`;
at("example").textContent = curl;

const pair = (head, text) => build("tr", {}, build("td", { textContent: head }), build("td", { textContent: text }));

function route(path, method, what) {
  const rows = [];
  for (const p of what.parameters ?? []) rows.push(pair(p.name, `${p.in}, ${p.schema?.type ?? "any"}${p.required ? "" : ", optional"}`));
  for (const kind of Object.keys(what.requestBody?.content ?? {})) rows.push(pair("body", kind));
  for (const [status, { description }] of Object.entries(what.responses ?? {})) {
    if (description !== "Successful Response") rows.push(pair(status, description));
  }
  return build("section", { className: "route" },
    build("h2", {}, build("b", { textContent: method.toUpperCase() }), path, build("span", { textContent: what.summary ?? "" })),
    build("table", {}, build("tbody", {}, ...rows)));
}

const described = await askJson("/openapi.json");
for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, what] of Object.entries(methods)) at("routes").append(route(path, method, what));
}
at("model").textContent = described.info.title.replace(/^Labelwise: /, "");
