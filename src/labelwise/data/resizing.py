"""Bicubic resizing of arrays, equal to the bit to that of torch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from labelwise.lazy import Float64, UInt8

Size = tuple[int, int]
_OUTPUTS = 16
"""Output pixels of one matrix product: their windows overlap, so a larger number multiplies more zeros."""
_MOST_BITS = 22


def window(height: int, width: int, size: Size, resize: str, scale: float = 1.0) -> Size:
    """Height and width in pixels of the part of an image that is resized to `size`.

    Args:
        height: of the image.
        width: of the image.
        size: height and width of the result.
        resize: `squash`, the whole image, or `crop`, the largest part of the aspect of `size`.
        scale: relative side of the part, in (0, 1].

    >>> window(50, 100, (32, 32), "crop")
    (50, 50)
    """
    extent = float(height), float(width)
    if resize == "crop":
        factor = min(height / size[0], width / size[1])
        extent = factor * size[0], factor * size[1]
    return max(1, min(height, round(extent[0] * scale))), max(1, min(width, round(extent[1] * scale)))


def resized(pixels: UInt8[np.ndarray, "3 H W"], size: Size) -> UInt8[np.ndarray, "3 h w"]:
    """Bicubic, antialiased, in whole numbers: equal to the bit to torch's resize of uint8 images.

    `y_i = clip(floor(sum_j w_ij x_j / 2^p + 1/2), 0, 255)`, first along the width, then along the height, with the
    weights of `_weights`. The sums are computed in float64, which holds them exactly.

    Args:
        pixels: of the image.
        size: height and width of the result.

    >>> resized(np.full((3, 5, 7), 9, np.uint8), (2, 3)).tolist()[0]
    [[9, 9, 9], [9, 9, 9]]
    """
    channels, height, width = pixels.shape
    columns = np.ascontiguousarray(pixels.transpose(2, 1, 0)).reshape(width, -1)
    narrowed = _resized_axis(columns, size[1]).reshape(size[1], height, channels)
    columns = np.ascontiguousarray(narrowed.transpose(1, 0, 2)).reshape(height, -1)
    return _resized_axis(columns, size[0]).reshape(size[0], size[1], channels).transpose(2, 0, 1)


def _resized_axis(values: UInt8[np.ndarray, "n k"], out: int) -> UInt8[np.ndarray, "m k"]:
    """The resize along the first axis."""
    if len(values) == out:  # each weight is 1
        return values
    taps, first, bits = _weights(len(values), out)
    result = np.empty((out, values.shape[1]), np.uint8)
    for start in range(0, out, _OUTPUTS):
        first_input = int(first[start])
        rows, offsets = taps[start : start + _OUTPUTS], first[start : start + _OUTPUTS, None] - first_input
        weights = np.zeros((len(rows), int(offsets[-1, 0]) + taps.shape[1]))
        np.put_along_axis(weights, offsets + np.arange(taps.shape[1]), rows, axis=1)
        inputs = values[first_input : first_input + weights.shape[1]]  # taps beyond the end weigh 0
        sums = weights[:, : len(inputs)] @ inputs.astype(np.float64)
        sums += 1 << (bits - 1)
        sums *= 0.5**bits
        result[start : start + _OUTPUTS] = np.clip(sums, 0, 255, out=sums)
    return result


@lru_cache(maxsize=8)
def _weights(size: int, out: int) -> tuple[Float64[np.ndarray, "m t"], np.ndarray, int]:
    """Weights in whole numbers for the taps of each output, the first tap's place, and the bits p of their fraction.

    `w_ij = f((j + 1/2 - c_i) / s) / sum_j f`, `c_i = (i + 1/2) size / out`, `s = max(size / out, 1)`, with the cubic
    convolution `f` of `a = -1/2`; then `round(2^p w_ij)` with the largest p, 22 at most, at which all fit in 16 bits.

    Source: R. Keys, Cubic convolution interpolation for digital image processing, 1981; the precision is torch's.
    """
    scale = size / out
    support, inverse = (2 * scale, 1 / scale) if scale >= 1 else (2.0, 1.0)
    centre = scale * (np.arange(out) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + support + 0.5).astype(np.int64), size) - first
    taps = np.arange(int(count.max()))[:, None]  # one row per tap: sums run in the order of the taps
    x = np.abs((taps + first - centre + 0.5) * inverse)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    f = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    f[taps >= count] = 0
    total = f.sum(0)
    f /= np.where(total == 0, 1, total)
    bits = 0
    while bits < _MOST_BITS and int(0.5 + float(f.max()) * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    return np.trunc(f * (1 << bits) + np.copysign(0.5, f)).T, first, bits
