// Where the page of photographs gets its answers: from this server.
import { askJson } from "./common.js";

export const AT_ONCE = 2; // requests on their way

export const model = await askJson("/labels");
export const about = "Photographs are sent to this server and nowhere else.";

/** Photographs in parts that the server accepts in one request. */
export function inParts(photographs) {
  const parts = [];
  let space = 0;
  for (const photograph of photographs) {
    if (photograph.file.size > space || parts.at(-1)?.length >= Math.min(4, model.limits.files)) {
      parts.push([]);
      space = model.limits.request_bytes - 65536;
    }
    parts.at(-1).push(photograph);
    space -= photograph.file.size;
  }
  return parts;
}

/** An answer for each photograph of a part: its labels, or an error. */
export async function predict(part) {
  const form = new FormData();
  for (const photograph of part) form.append("files", photograph.file);
  if (Object.keys(part[0].states).length) form.append("states", JSON.stringify(part[0].states));
  const content = await retried(() => askJson(`/predict?maps=${model.gives_maps}`, { method: "POST", body: form }));
  return content.predictions;
}

/** Repeats a request after the time that a full server returns. */
async function retried(call) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      if (error.status !== 429 || attempt === 20) throw error;
      await new Promise((done) => setTimeout(done, 1000 * Math.max(1, error.after)));
    }
  }
}
