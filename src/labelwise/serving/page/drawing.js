// A box drawn on a photograph: by mouse, pen or finger, or moved and resized by keys.
import { build } from "/assets/common.js";

const SMALLEST_SIDE = 0.04; // of a side, so that a click draws nothing
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
  let reported = null; // the last box that was given or reported
  let drag = null;
  let timer = 0;
  const mark = build("span", { className: "drawn", tabIndex: 0, role: "application", "aria-roledescription": "box" },
    ...["nw", "ne", "sw", "se"].map((corner) => build("span", { className: `corner ${corner}`, "data-corner": corner })));

  const button = build("button", { className: "plain small", type: "button" });

  function render() {
    inner.classList.toggle("boxed", box !== null);
    button.textContent = box ? "Remove the box" : "Draw a box";
    button.setAttribute("aria-label", `${button.textContent}: ${name}`);
    if (!box) {
      if (document.activeElement === mark) button.focus({ preventScroll: true });
      return mark.remove();
    }
    const [left, top, right, bottom] = box.map((side) => 100 * side);
    Object.assign(mark.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
    const percents = [left, right, top, bottom].map(Math.round);
    mark.setAttribute("aria-label", `Part of ${name} that is compared: ${percents[0]} to ${percents[1]} % from the left, ${percents[2]} to ${percents[3]} % from the top. Arrow keys move it, with Shift they resize it, Escape removes it.`);
    if (!mark.isConnected) inner.append(mark);
  }

  function report() {
    clearTimeout(timer);
    if (same(box, reported)) return;
    reported = box;
    changed(box);
  }

  const setBox = (sides) => {
    box = sides && sides.map((side) => Number(side.toFixed(3)));
    render();
  };

  function movedBox(dx, dy) {
    const [x, y] = [clip(dx, -box[0], 1 - box[2]), clip(dy, -box[1], 1 - box[3])];
    return [box[0] + x, box[1] + y, box[2] + x, box[3] + y];
  }

  const spannedBox = ([x, y], [u, v]) => [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)];

  inner.classList.add("drawable");
  inner.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return;
    event.preventDefault();
    const area = inner.getBoundingClientRect();
    const pointOf = (e) => [clip((e.clientX - area.left) / area.width), clip((e.clientY - area.top) / area.height)];
    const { corner } = event.target.dataset;
    const start = pointOf(event);
    const oldBox = box;
    const fixed = corner && [corner.endsWith("w") ? box[2] : box[0], corner.startsWith("n") ? box[3] : box[1]];
    let last = start;
    drag = (e) => {
      const point = pointOf(e);
      if (fixed || !mark.contains(event.target)) setBox(spannedBox(fixed ?? start, point));
      else setBox(movedBox(point[0] - last[0], point[1] - last[1]));
      last = point;
    };
    const end = (e) => {
      drag = null;
      const isTooSmall = box && (box[2] - box[0] < SMALLEST_SIDE || box[3] - box[1] < SMALLEST_SIDE);
      if (isTooSmall || e.type === "pointercancel") setBox(oldBox);
      if (box) mark.focus({ preventScroll: true });
      report();
    };
    const listeners = new AbortController();
    for (const type of ["pointerup", "pointercancel"]) {
      inner.addEventListener(type, (e) => { listeners.abort(); end(e); }, { signal: listeners.signal });
    }
    inner.addEventListener("pointermove", (e) => drag?.(e), { signal: listeners.signal });
    inner.setPointerCapture(event.pointerId);
  });

  mark.addEventListener("keydown", (event) => {
    if (["Escape", "Delete", "Backspace"].includes(event.key)) remove();
    else if (event.key in MOVES) {
      const [dx, dy] = MOVES[event.key];
      setBox(event.shiftKey
        ? [box[0], box[1], clip(box[2] + dx, box[0] + SMALLEST_SIDE), clip(box[3] + dy, box[1] + SMALLEST_SIDE)]
        : movedBox(dx, dy));
      clearTimeout(timer);
      timer = setTimeout(report, PAUSE);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  function remove() {
    setBox(null);
    report();
  }

  button.addEventListener("click", () => {
    if (box) return remove();
    setBox(FIRST);
    mark.focus({ preventScroll: true });
    report();
  });
  render();
  return {
    button,
    show(sides) {
      if (drag || same(sides, reported)) return;
      reported = sides;
      setBox(sides);
    },
  };
}
