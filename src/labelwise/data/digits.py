"""Built-in scenes: real handwritten digits among clutter, several to an image, with boxes."""

from __future__ import annotations

from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image, ImageColor, ImageDraw

from labelwise.data.dataset import BOX_TYPE, Dataset
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

Box = tuple[int, int, int, int]

SPLITS = ("train", "val", "test")
_SHARES = (0.6, 0.15, 0.25)  # of the handwritten digits of each class
_BASE_SIDE = 96  # the sizes below are pixels of a scene with this side
_HEIGHTS = (20, 36)
_GAP = 2
_INK_CURVE = np.clip((np.arange(256) - 96.0) * 2.2, 0, 255)  # sharpens the blurred strokes of enlarged digits

_NIGHT_GROUNDS = ("#181c30", "#281e34", "#122c32", "#322620", "#1e2226", "#163224")
_NIGHT_INKS = ("#ffd666", "#7cdeec", "#ff92a4", "#ace87c", "#f0f0f8", "#ffae60", "#c8acff")
_DAY_GROUNDS = ("#f4ecda", "#e0eaf2", "#f0e4ec", "#e4f0e2", "#ecece8", "#faf0c8")
_DAY_INKS = ("#1c3e80", "#9e1e36", "#126448", "#602888", "#262834", "#964406")


class Scene(NamedTuple):
    """One picture `[S, S, 3]` uint8 and its digits: (digit, x0, y0, x1, y1) in pixels, ends excluded."""

    image: np.ndarray
    digits: list[tuple[int, int, int, int, int]]


def make_scenes(
    seed: int = 0, train: int = 3000, val: int = 500, test: int = 1000, size: int = 96
) -> Dataset:
    """Scenes of one to five handwritten digits, 10 labels "0" to "9", the same for the same arguments.

    The digits are the 1,797 real ones of scikit-learn. Each belongs to a single split, so that test scenes
    contain handwriting of no training scene. Colours, sizes, tilt, background, noise and clutter vary; clutter
    is lines, arcs, dots and blobs, never a digit. Boxes are tight around the ink.

    Args:
        seed: of the division of the digits and of every scene, >= 0.
        train: number of training scenes; likewise `val` and `test`. A scene does not depend on these
            numbers; a split of 0 scenes does not exist.
        size: side of a scene in pixels, at least 64.

    Returns:
        A data set of PNG bytes, all labels known, with boxes and the three splits.

    Raises:
        LabelwiseError: on a negative seed, a negative number of scenes, no scenes, or a size below 64; or without
            scikit-learn.

    >>> make_scenes(train=2, val=0, test=1).splits()
    {'train': 2, 'test': 1}
    """
    counts = (train, val, test)
    if min(counts) < 0 or sum(counts) == 0:
        given = f"{train} train, {val} val and {test} test scenes"
        raise LabelwiseError(given, "numbers from 0 on, not all 0", "request at least one scene")
    if size < 64 or seed < 0:
        raise LabelwiseError(
            f"size {size} and seed {seed}", "a size from 64 and a seed from 0", "change them"
        )
    glyphs, classes = _handwriting()
    pools = source_split(seed)
    filled = [code for code in range(3) if counts[code]]
    encoded: list[bytes] = []
    boxes: list[list[dict[str, int | float]]] = []
    values = np.zeros((sum(counts), 10), np.uint8)
    for code in filled:
        pool = [[glyphs[i] for i in pools[code] if classes[i] == digit] for digit in range(10)]
        for number in range(counts[code]):
            scene = make_scene(pool, np.random.default_rng([seed, code, number]), size)
            values[len(encoded), [digit for digit, *_ in scene.digits]] = 1
            encoded.append(_png(scene.image))
            boxes.append([_fractions(digit, size) for digit in scene.digits])
    return Dataset(
        labels=LabelSet(tuple("0123456789")),
        images=pa.array(encoded, pa.binary()),
        root=None,
        values=values,
        known=np.ones(values.shape, bool),
        split_of=np.repeat(np.arange(len(filled), dtype=np.int8), [counts[code] for code in filled]),
        split_names=tuple(SPLITS[code] for code in filled),
        group=None,
        boxes=pa.array(boxes, BOX_TYPE),
        source="digits:",
        notes=("handwritten digits of train, val and test scenes are different ones",),
    )


def source_split(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Disjoint indices of scikit-learn's digits for train, val and test scenes."""
    classes = _digit_data().target
    rng = np.random.default_rng([seed, 0x5D])  # not the code of a split, so that scenes follow other streams
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(classes == digit))
        ends = np.round(np.cumsum(_SHARES)[:2] * len(members)).astype(int)
        for part, rows in zip(parts, np.split(members, ends), strict=True):
            part.extend(rows.tolist())
    return tuple(np.sort(part) for part in parts)  # type: ignore[return-value]


def make_scene(pool: list[list[Image.Image]], rng: np.random.Generator, size: int) -> Scene:
    """One scene from a pool with masks of handwriting for each of the ten digits."""
    night = bool(rng.integers(2))
    grounds, inks = (_NIGHT_GROUNDS, _NIGHT_INKS) if night else (_DAY_GROUNDS, _DAY_INKS)
    canvas = _background(grounds, rng, size)
    _clutter(canvas, inks, rng)
    digits: list[tuple[int, int, int, int, int]] = []
    for _ in range(int(rng.integers(1, 6))):
        digit = int(rng.integers(10))
        glyph = pool[digit][int(rng.integers(len(pool[digit])))]
        mask = _mask(glyph, rng, size)
        corner = _free_corner(mask.size, [box for _, *box in digits], rng, size)
        if corner is None:
            continue
        canvas.paste(inks[int(rng.integers(len(inks)))], corner, mask)
        x, y = corner
        digits.append((digit, x, y, x + mask.width, y + mask.height))
    grain = int(rng.integers(1, 10))
    noise = rng.integers(-grain, grain + 1, (size, size, 1), dtype=np.int16)
    return Scene(np.clip(np.asarray(canvas) + noise, 0, 255).astype(np.uint8), digits)


def _digit_data() -> Any:
    """The data set of scikit-learn's digits; raises `LabelwiseError` without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise LabelwiseError(
            "scenes of handwritten digits without scikit-learn",
            "its digits",
            "run: pip install 'labelwise[demo]'",
        ) from None
    return load_digits()


def _handwriting() -> tuple[list[Image.Image], np.ndarray]:
    """Each digit as an 8-bit mask cut to its ink, and its class."""
    bunch = _digit_data()
    pictures = (bunch.images * 255 / 16).round().astype(np.uint8)
    images = [Image.fromarray(picture) for picture in pictures]
    return [picture.crop(picture.getbbox()) for picture in images], bunch.target


def _mask(glyph: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
    """The handwriting enlarged to smooth strokes, tilted a little, cut to its ink."""
    height = max(8, round(int(rng.integers(*_HEIGHTS)) * size / _BASE_SIDE))
    width = max(3, round(height * glyph.width / glyph.height * rng.uniform(0.85, 1.1)))
    mask = glyph.resize((width, height), Image.Resampling.BICUBIC)
    mask = mask.rotate(rng.uniform(-9, 9), Image.Resampling.BICUBIC, expand=True)
    ink = _INK_CURVE[np.asarray(mask)]
    rows, columns = (np.flatnonzero((ink >= 128).any(axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Image.fromarray((ink * rng.uniform(0.8, 1.0)).astype(np.uint8))


def _free_corner(
    extent: tuple[int, int], occupied: list[list[int]], rng: np.random.Generator, size: int
) -> tuple[int, int] | None:
    """The top left corner for a digit that touches no other, or `None` after twenty tries."""
    width, height = extent
    for _ in range(20):
        x, y = (int(rng.integers(1, size - side)) for side in (width, height))
        margin_box = (x - _GAP, y - _GAP, x + width + _GAP, y + height + _GAP)
        if not any(_overlap(margin_box, box) for box in occupied):
            return x, y
    return None


def _overlap(a: Box, b: list[int]) -> bool:
    """Whether two boxes share a pixel."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _background(grounds: tuple[str, ...], rng: np.random.Generator, size: int) -> Image.Image:
    """A slanted gradient between two colours of one family."""
    first, last = (grounds[i] for i in rng.integers(len(grounds), size=2))
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-85, 85, size)
    opacity = 127 + ramp[:, None] * np.sin(angle) + ramp * np.cos(angle)
    canvas = Image.new("RGB", (size, size), first)
    canvas.paste(last, (0, 0), Image.fromarray(opacity.astype(np.uint8)))
    return canvas


def _clutter(canvas: Image.Image, inks: tuple[str, ...], rng: np.random.Generator) -> None:
    """Blobs, long thin lines, shallow arcs and dots: pale or tiny, so that none can be read as a digit."""
    size, scale = canvas.width, canvas.width / _BASE_SIDE
    draw = ImageDraw.Draw(canvas, "RGBA")  # this mode blends colours by their opacity
    for kind in rng.integers(4, size=int(rng.integers(4, 10))):
        x, y = (float(coordinate) for coordinate in rng.uniform(0, size, 2))
        ink, opacity = ImageColor.getrgb(inks[int(rng.integers(len(inks)))]), int(rng.integers(40, 90))
        if kind == 0:
            rx, ry = rng.uniform(5, 18, 2) * scale
            draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=(*ink, opacity // 3))
        elif kind == 1:
            dx, dy = rng.uniform(-1, 1, 2) * size
            draw.line((x - dx, y - dy, x + dx, y + dy), fill=(*ink, opacity))
        elif kind == 2:
            radius, start = rng.uniform(20, 60) * scale, rng.uniform(0, 360)
            bounds = (x - radius, y - radius, x + radius, y + radius)
            draw.arc(bounds, start, start + rng.uniform(20, 50), fill=(*ink, opacity))
        else:
            for dx, dy in rng.normal(0, 7, (int(rng.integers(2, 7)), 2)) * scale:
                r = rng.uniform(0.4, 1.3)
                draw.ellipse((x + dx - r, y + dy - r, x + dx + r, y + dy + r), fill=(*ink, 2 * opacity))


def _png(image: np.ndarray) -> bytes:
    """The image as a PNG file, without compression."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=0)  # fast to write and to read
    return buffer.getvalue()


def _fractions(digit: tuple[int, int, int, int, int], size: int) -> dict[str, int | float]:
    """A box of the table: its label, and its sides as fractions of the image's."""
    label, *edges = digit
    sides = zip(("x0", "y0", "x1", "y1"), (edge / size for edge in edges), strict=True)
    return {"label": label, **dict(sides)}
