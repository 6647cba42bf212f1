// The documentation of the API, from the server's own schema.
import { askJson, at, build } from "/assets/common.js";

const curl = `curl -F files=@photo.jpg ${location.origin}/predict
curl -F files=@a.jpg -F files=@b.jpg "${location.origin}/predict?maps=true"
curl -H "Content-Type: application/json" -d '{"image_base64": "..."}' ${location.origin}/predict`;
at("example").textContent = curl;

const tableRow = (head, text) => build("tr", {}, build("td", { textContent: head }), build("td", { textContent: text }));

function route(path, method, operation) {
  const rows = [];
  for (const parameter of operation.parameters ?? []) rows.push(tableRow(parameter.name, `${parameter.in}, ${parameter.schema?.type ?? "any"}${parameter.required ? "" : ", optional"}`));
  for (const kind of Object.keys(operation.requestBody?.content ?? {})) rows.push(tableRow("body", kind));
  for (const [status, { description }] of Object.entries(operation.responses ?? {})) {
    if (description !== "Successful Response") rows.push(tableRow(status, description));
  }
  return build("section", { className: "route" },
    build("h2", {}, build("b", { textContent: method.toUpperCase() }), path, build("span", { textContent: operation.summary ?? "" })),
    build("table", {}, build("tbody", {}, ...rows)));
}

const schema = await askJson("/openapi.json");
for (const [path, methods] of Object.entries(schema.paths)) {
  for (const [method, operation] of Object.entries(methods)) at("routes").append(route(path, method, operation));
}
at("model").textContent = schema.info.title.replace(/^Labelwise: /, "");
