// Answers batches for labelwise in Node: a line with the shape and the bytes of uint8 images in, a line with the shapes
// and the bytes of float32 outputs out. The first line out is the runtime's name, or an error.
import { pathToFileURL } from "node:url";

const write = (bytes) => new Promise((done) => process.stdout.write(bytes, done));
const line = (value) => write(`${JSON.stringify(value)}\n`);
const folder = pathToFileURL(`${process.argv[2]}/`);

async function* chunks() {
  for await (const chunk of process.stdin) yield chunk;
}

const input = chunks();
let buffered = Buffer.alloc(0);

/** The next bytes of the input up to a number of them, or up to a line's end; nothing at its end. */
async function next(until) {
  const parts = [buffered];
  for (let size = buffered.length; ;) {
    const bytes = parts.length > 1 ? Buffer.concat(parts.splice(0)) : parts.pop();
    const end = typeof until === "number" ? (bytes.length >= until ? until : -1) : bytes.indexOf(until) + 1 || -1;
    if (end >= 0) {
      buffered = bytes.subarray(end);
      return bytes.subarray(0, end);
    }
    parts.push(bytes);
    for (const least = typeof until === "number" ? until : size + 1; size < least;) {
      const { done, value } = await input.next();
      if (done) return null;
      parts.push(value);
      size += value.length;
    }
  }
}

try {
  const { load } = await import(new URL("labelwise.js", folder));
  const model = await load(folder, { provider: "wasm" });
  await line({ name: model.runtime });
  for (let head = await next("\n"); head; head = await next("\n")) {
    const [count, , height, width] = JSON.parse(head);
    const data = await next(count * 3 * height * width);
    const size = 3 * height * width;
    const inputs = Array.from({ length: count }, (_, i) => ({ data: data.subarray(i * size, (i + 1) * size), height, width }));
    const output = await model.run(inputs);
    const outputs = [output.logits, ...(output.maps ? [output.maps] : [])];
    await line(outputs.map((tensor) => tensor.dims));
    for (const { data: values } of outputs) await write(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  }
} catch (error) {
  await line({ error: error.message });
}
process.exit(0); // the runtime's compiler keeps the process alive
