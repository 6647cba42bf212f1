// A box drawn on a photograph: by mouse, pen or finger, or moved and resized by keys.
import { build } from "/assets/common.js";

const LEAST = 0.04; // of a side, so that a click draws nothing
const STEP = 0.02; // of a key
const PAUSE = 350; // ms without a key until a search begins
const FIRST = [0.25, 0.25, 0.75, 0.75];
const MOVES = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
const clip = (value, low = 0, high = 1) => Math.min(high, Math.max(low, value));
const same = (a, b) => a?.join() === b?.join();

/**
 * Lets a person draw on the element `inner`; `changed` is called with `[x0, y0, x1, y1]` in shares, or `null`.
 * `button` draws a box for the keys or removes the one that is there; `show` shows one that was not drawn here.
 */
export function drawing(inner, name, changed) {
  let box = null;
  let told = null; // the last box that was given or told
  let drag = null;
  let waiting = 0;
  const mark = build("span", { className: "drawn", tabIndex: 0, role: "application", "aria-roledescription": "box" },
    ...["nw", "ne", "sw", "se"].map((corner) => build("span", { className: `corner ${corner}`, "data-corner": corner })));

  const button = build("button", { className: "plain small", type: "button" });

  function place() {
    inner.classList.toggle("boxed", box !== null);
    button.textContent = box ? "Remove the box" : "Draw a box";
    button.setAttribute("aria-label", `${button.textContent}: ${name}`);
    if (!box) {
      if (document.activeElement === mark) button.focus({ preventScroll: true });
      return mark.remove();
    }
    const [left, top, right, bottom] = box.map((side) => 100 * side);
    Object.assign(mark.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
    const whole = [left, right, top, bottom].map(Math.round);
    mark.setAttribute("aria-label", `Part of ${name} that is compared: ${whole[0]} to ${whole[1]} % from the left, ${whole[2]} to ${whole[3]} % from the top. Arrow keys move it, with Shift they resize it, Escape removes it.`);
    if (!mark.isConnected) inner.append(mark);
  }

  function tell() {
    clearTimeout(waiting);
    if (same(box, told)) return;
    told = box;
    changed(box);
  }

  const set = (sides) => {
    box = sides && sides.map((side) => Number(side.toFixed(3)));
    place();
  };

  function moved(dx, dy) {
    const [x, y] = [clip(dx, -box[0], 1 - box[2]), clip(dy, -box[1], 1 - box[3])];
    return [box[0] + x, box[1] + y, box[2] + x, box[3] + y];
  }

  const spanned = ([x, y], [u, v]) => [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)];

  inner.classList.add("drawable");
  inner.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return;
    event.preventDefault();
    const area = inner.getBoundingClientRect();
    const at = (e) => [clip((e.clientX - area.left) / area.width), clip((e.clientY - area.top) / area.height)];
    const { corner } = event.target.dataset;
    const start = at(event);
    const before = box;
    const fixed = corner && [corner.endsWith("w") ? box[2] : box[0], corner.startsWith("n") ? box[3] : box[1]];
    let last = start;
    drag = (e) => {
      const now = at(e);
      if (fixed || !mark.contains(event.target)) set(spanned(fixed ?? start, now));
      else set(moved(now[0] - last[0], now[1] - last[1]));
      last = now;
    };
    const end = (e) => {
      drag = null;
      const small = box && (box[2] - box[0] < LEAST || box[3] - box[1] < LEAST);
      if (small || e.type === "pointercancel") set(before);
      if (box) mark.focus({ preventScroll: true });
      tell();
    };
    const over = new AbortController();
    for (const type of ["pointerup", "pointercancel"]) {
      inner.addEventListener(type, (e) => { over.abort(); end(e); }, { signal: over.signal });
    }
    inner.addEventListener("pointermove", (e) => drag?.(e), { signal: over.signal });
    inner.setPointerCapture(event.pointerId);
  });

  mark.addEventListener("keydown", (event) => {
    if (["Escape", "Delete", "Backspace"].includes(event.key)) remove();
    else if (event.key in MOVES) {
      const [dx, dy] = MOVES[event.key];
      set(event.shiftKey
        ? [box[0], box[1], clip(box[2] + dx, box[0] + LEAST), clip(box[3] + dy, box[1] + LEAST)]
        : moved(dx, dy));
      clearTimeout(waiting);
      waiting = setTimeout(tell, PAUSE);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  function remove() {
    set(null);
    tell();
  }

  button.addEventListener("click", () => {
    if (box) return remove();
    set(FIRST);
    mark.focus({ preventScroll: true });
    tell();
  });
  place();
  return {
    button,
    show(sides) {
      if (drag || same(sides, told)) return;
      told = sides;
      set(sides);
    },
  };
}
