// Bicubic, antialiased resizing in whole numbers, equal to the bit to that of the run: see labelwise/data/resizing.py.

const MOST_BITS = 22;

/** Rounds half to even, as Python does. */
function rounded(x) {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 ? low + 1 : low;
}

/**
 * The part of an image that is resized to a size: all of it, or its middle of the aspect of `size`.
 * @returns {{top: number, left: number, height: number, width: number}} in pixels
 */
export function shownWindow(height, width, [rows, columns], resize) {
  const unit = Math.min(height / rows, width / columns);
  const [h, w] = resize === "crop" ? [unit * rows, unit * columns] : [height, width];
  const visible = { height: Math.max(1, Math.min(height, rounded(h))), width: Math.max(1, Math.min(width, rounded(w))) };
  return { top: Math.floor((height - visible.height) / 2), left: Math.floor((width - visible.width) / 2), ...visible };
}

/** Keys' cubic convolution with a = -1/2. */
function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/** For each output its first input, the number of inputs and their whole-number weights, `taps` apart. */
function weightsOf(size, out) {
  const scale = size / out;
  const [support, inverse] = scale >= 1 ? [2 * scale, 1 / scale] : [2, 1];
  const first = new Int32Array(out);
  const count = new Int32Array(out);
  for (let i = 0; i < out; i++) {
    const centre = scale * (i + 0.5);
    first[i] = Math.max(Math.trunc(centre - support + 0.5), 0);
    count[i] = Math.min(Math.trunc(centre + support + 0.5), size) - first[i];
  }
  const taps = count.reduce((a, b) => Math.max(a, b), 0);
  const shares = new Float64Array(out * taps);
  let largest = 0;
  for (let i = 0; i < out; i++) {
    const centre = scale * (i + 0.5);
    let total = 0;
    for (let j = 0; j < count[i]; j++) {
      const share = cubic(Math.abs((j + first[i] - centre + 0.5) * inverse));
      shares[i * taps + j] = share;
      total += share;
    }
    for (let j = 0; j < count[i]; j++) {
      shares[i * taps + j] /= total === 0 ? 1 : total;
      largest = Math.max(largest, shares[i * taps + j]);
    }
  }
  let bits = 0;
  while (bits < MOST_BITS && Math.trunc(0.5 + largest * 2 ** (bits + 1)) < 1 << 15) bits++;
  const weights = shares.map((share) => Math.trunc(share * 2 ** bits + (share < 0 ? -0.5 : 0.5)));
  return { first, count, taps, weights, bits };
}

/** Resizes `lines` lines of `size` values, `step` apart within a line and `stride` between lines, to `out` each. */
function resizeLines(pixels, lines, stride, size, step, out, result, outStride, outStep) {
  const { first, count, taps, weights, bits } = weightsOf(size, out);
  const half = 2 ** (bits - 1);
  const unit = 0.5 ** bits;
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < out; i++) {
      let sum = half;
      let from = line * stride + first[i] * step;
      for (let j = i * taps, end = j + count[i]; j < end; j++, from += step) sum += weights[j] * pixels[from];
      const value = sum * unit;
      result[line * outStride + i * outStep] = value <= 0 ? 0 : value >= 255 ? 255 : Math.trunc(value);
    }
  }
}

/** The means of squares of `scale` pixels, smaller at the right and the bottom. */
export function averaged({ data, width, height }, scale) {
  if (scale === 1) return { data, width, height };
  const [columns, rows] = [Math.ceil(width / scale), Math.ceil(height / scale)];
  const result = new Uint8Array(3 * rows * columns);
  for (let y = 0; y < rows; y++) {
    const bottom = Math.min(height, (y + 1) * scale);
    for (let x = 0; x < columns; x++) {
      const right = Math.min(width, (x + 1) * scale);
      const sums = [0, 0, 0];
      for (let v = y * scale; v < bottom; v++) {
        for (let u = x * scale, from = 3 * (v * width + u); u < right; u++, from += 3) {
          for (let c = 0; c < 3; c++) sums[c] += data[from + c];
        }
      }
      const count = (bottom - y * scale) * (right - x * scale);
      for (let c = 0; c < 3; c++) result[3 * (y * columns + x) + c] = Math.floor(sums[c] / count + 0.5);
    }
  }
  return { data: result, width: columns, height: rows };
}

/**
 * One image of one size.
 * @param {{data: Uint8Array, width: number, height: number}} image RGB, three bytes a pixel
 * @param {[number, number]} size rows and columns
 * @param {string} resize `squash` or `crop`
 * @returns {Uint8Array} three planes of `rows x columns` bytes
 */
export function resized({ data, width, height }, size, resize) {
  const visible = shownWindow(height, width, size, resize);
  const [rows, columns] = size;
  const wide = new Uint8Array(3 * visible.height * columns);
  const result = new Uint8Array(3 * rows * columns);
  for (let colour = 0; colour < 3; colour++) {
    const from = data.subarray(3 * (visible.top * width + visible.left) + colour);
    const plane = wide.subarray(colour * visible.height * columns);
    if (visible.width === columns) {
      for (let y = 0; y < visible.height; y++) {
        for (let x = 0; x < columns; x++) plane[y * columns + x] = from[3 * (y * width + x)];
      }
    } else {
      resizeLines(from, visible.height, 3 * width, visible.width, 3, columns, plane, columns, 1);
    }
    const target = result.subarray(colour * rows * columns, (colour + 1) * rows * columns);
    if (visible.height === rows) target.set(plane.subarray(0, rows * columns));
    else resizeLines(plane, columns, 1, visible.height, columns, rows, target, 1, columns);
  }
  return result;
}

/**
 * The input of the graph: the image at each size, below each other, black elsewhere.
 * @param {[number, number][]} sizes
 * @returns {{data: Uint8Array, height: number, width: number}}
 */
export function sheet(image, sizes, resize) {
  const height = sizes.reduce((sum, [rows]) => sum + rows, 0);
  const width = Math.max(...sizes.map(([, columns]) => columns));
  if (sizes.length === 1) return { data: resized(image, sizes[0], resize), height, width };
  const data = new Uint8Array(3 * height * width);
  let top = 0;
  for (const [rows, columns] of sizes) {
    const view = resized(image, [rows, columns], resize);
    for (let colour = 0; colour < 3; colour++) {
      for (let y = 0; y < rows; y++) {
        const start = (colour * rows + y) * columns;
        data.set(view.subarray(start, start + columns), (colour * height + top + y) * width);
      }
    }
    top += rows;
  }
  return { data, height, width };
}
