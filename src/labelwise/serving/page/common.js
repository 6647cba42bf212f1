// Functions shared by the pages: requests to the server, elements, maps.

const KEY = "labelwise-token";

/** Sends a request with the token, which the page asks for after a 401. */
export async function ask(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    await askToken();
    return ask(path, options);
  }
  return response;
}

/** Requests JSON; a refusal becomes an error with the server's message. */
export async function askJson(path, options) {
  const response = await ask(path, options);
  const content = await response.json().catch(() => ({ error: `the server answered with status ${response.status}` }));
  if (!response.ok && !content.predictions) {
    throw Object.assign(new Error(content.error ?? `status ${response.status}`), {
      status: response.status,
      after: Number(response.headers.get("Retry-After") ?? 0),
    });
  }
  return content;
}

/** Send JSON, get JSON. */
export function send(path, body) {
  return askJson(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

let tokenRequest = null;

function askToken() {
  tokenRequest ??= new Promise((done) => {
    const field = build("input", { type: "password", id: "token", autocomplete: "off", required: true });
    const form = build("form", { method: "dialog" },
      build("label", { htmlFor: "token", textContent: "This server requires a token." }), field,
      build("button", { className: "button main", textContent: "Continue" }));
    const dialog = build("dialog", {}, form);
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, field.value);
      dialog.remove();
      tokenRequest = null;
      done();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return tokenRequest;
}

/** An element with properties and children. */
export function build(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

export const at = (id) => document.getElementById(id);

/** A whole percentage; never 0 or 100 for what is only near them. */
export function percent(share) {
  if (share > 0 && share < 0.005) return "< 1 %";
  if (share < 1 && share >= 0.995) return "> 99 %";
  return `${(100 * share).toFixed(0)} %`;
}

const PALETTE = [[38, 20, 84], [46, 84, 148], [30, 146, 140], [122, 196, 84], [253, 231, 60]];
const SIDE = 64;

/** Paint rows of shares: dark violet and clear where low, yellow where high, stretched to the map's own range. */
export function paint(canvas, map) {
  const flat = map.flat();
  const low = Math.min(...flat);
  const range = Math.max(...flat) - low;
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(SIDE, SIDE);
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      const level = range ? (interpolated(map, (y + 0.5) / SIDE, (x + 0.5) / SIDE) - low) / range : 0;
      const alpha = range ? 255 * (0.14 + 0.54 * level) : 0;
      pixels.data.set([...colour(level), alpha], 4 * (y * SIDE + x));
    }
  }
  context.putImageData(pixels, 0, 0);
}

function interpolated(map, v, u) {
  const [top, bottom, down] = neighbours(v, map.length);
  const [left, right, across] = neighbours(u, map[0].length);
  const row = (y) => map[y][left] * (1 - across) + map[y][right] * across;
  return row(top) * (1 - down) + row(bottom) * down;
}

function neighbours(share, count) {
  const position = Math.min(count - 1, Math.max(0, share * count - 0.5));
  const first = Math.floor(position);
  return [first, Math.min(count - 1, first + 1), position - first];
}

function colour(level) {
  const [first, second, part] = neighbours((level * (PALETTE.length - 1) + 0.5) / PALETTE.length, PALETTE.length);
  return PALETTE[first].map((c, i) => c * (1 - part) + PALETTE[second][i] * part);
}

/** Let a photograph fill its frame, whatever its size, without growing too tall. */
export function fit(image) {
  image.parentElement.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
}

/** Lay a canvas over the part of a photograph that the model sees: all of it, or its middle. */
export function lay(canvas, image, view) {
  const [rows, columns] = view.size;
  const { naturalWidth: width, naturalHeight: height } = image;
  const unit = Math.min(height / rows, width / columns);
  const [h, w] = view.resize === "crop" ? [(unit * rows) / height, (unit * columns) / width] : [1, 1];
  Object.assign(canvas.style, {
    width: `${100 * w}%`, height: `${100 * h}%`, left: `${50 * (1 - w)}%`, top: `${50 * (1 - h)}%`,
  });
}
