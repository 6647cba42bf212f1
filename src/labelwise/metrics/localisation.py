"""The pointing game: does a label's map peak inside one of the label's boxes?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from labelwise.errors import LabelwiseError

Box = tuple[int, float, float, float, float]
Size = tuple[int, int]
Region = tuple[float, float, float, float]
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
_TIE = 1e-6


def pointing(
    maps: Float[Tensor, "B L h w"],
    boxes: Sequence[Sequence[Box]],
    sizes: Sequence[Size] | None = None,
    canvas: int = 224,
    tolerance: float = 0.0,
    covers: Sequence[Region] | None = None,
) -> tuple[Float[np.ndarray, " L"], Float[np.ndarray, " L"]]:
    """Hits and misses per label over images where the label has a box.

    A map is resized bilinearly (`align_corners=False`) to the image, and the centre of its highest pixel is
    looked up in the boxes. Where several pixels are highest (to 1e-6 of the maximum), as at a border or in an
    even map, the image counts as the share of them that lies in a box.

    Args:
        maps: `[B, L, h, w]` finite evidence.
        boxes: for each image its boxes `(label, x0, y0, x1, y1)` in fractions of width and height.
        sizes: for each image its original `(height, width)` in pixels, for its shape; `None`: square.
        canvas: longest side of the resized map in pixels, in place of the original size; larger is finer.
        tolerance: pixels of the canvas by which a box is widened on every side.
        covers: for each image the part `(x0, y0, x1, y1)` of it that the map covers, when it was cropped.

    Returns:
        Hits and misses, each `[L]` float64; the score of a label is `hits / (hits + misses)`.

    Raises:
        LabelwiseError: on lists whose lengths differ from the batch, boxes out of place, or maps with NaN.

    Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop" (with tolerance 15).

    >>> maps = torch.zeros(1, 2, 4, 4)
    >>> maps[0, 0, 1, 1] = maps[0, 1, 3, 3] = 1.0
    >>> hits, misses = pointing(maps, [[(0, 0.2, 0.2, 0.6, 0.6), (1, 0.0, 0.0, 0.5, 0.5)]])
    >>> hits.tolist(), misses.tolist()
    ([1.0, 0.0], [0.0, 1.0])
    """
    for name, rows in (("boxes", boxes), ("sizes", sizes), ("covers", covers)):
        if rows is not None and len(rows) != len(maps):
            raise LabelwiseError(
                f"{name} of {len(rows)} images", f"{len(maps)}, as the maps", "pass one an image"
            )
    hits, tested = np.zeros(maps.shape[1]), np.zeros(maps.shape[1])
    for index, labels in enumerate(_grouped(boxes, maps.shape[1])):
        if not labels:
            continue
        height, width = (1, 1) if sizes is None else sizes[index]
        chosen = maps[index, list(labels)].detach().float()
        if not torch.isfinite(chosen).all():
            raise LabelwiseError(
                f"maps of image {index} with NaN or infinity", "finite maps", "check the model"
            )
        scale = canvas / max(height, width)
        shape = max(1, round(height * scale)), max(1, round(width * scale))
        region = WHOLE if covers is None else covers[index]
        for label, points in zip(labels, _peaks(chosen, shape, region), strict=True):
            reach = tolerance / shape[1], tolerance / shape[0]
            hits[label] += _inside(points, labels[label], reach).mean()
            tested[label] += 1
    return hits, tested - hits


def pointing_centre(
    boxes: Sequence[Sequence[Box]], labels: int
) -> tuple[Float[np.ndarray, " L"], Float[np.ndarray, " L"]]:
    """Hits and misses per label of always pointing at the middle of the image; `boxes` as in `pointing`."""
    middle = np.array([[0.5, 0.5]])
    return _score(boxes, labels, lambda own: float(_inside(middle, own, (0.0, 0.0))[0]))


def pointing_area(
    boxes: Sequence[Sequence[Box]], labels: int
) -> tuple[Float[np.ndarray, " L"], Float[np.ndarray, " L"]]:
    """Expected hits and misses per label of pointing anywhere: the area of the union of the label's boxes.

    >>> hits, _ = pointing_area([[(0, 0.0, 0.0, 0.5, 0.5), (0, 0.25, 0.0, 0.75, 0.5)]], labels=1)
    >>> hits.tolist()
    [0.375]
    """
    return _score(boxes, labels, _union)


class PointingGame:
    """The pointing game over many batches, with its two baselines.

    Args:
        labels: how many labels.
        canvas, tolerance: as in `pointing`.

    >>> game = PointingGame(labels=1)
    >>> game.update(torch.ones(1, 1, 2, 2), [[(0, 0.0, 0.0, 0.5, 1.0)]])
    >>> game.compute()["score"]
    0.5
    """

    def __init__(self, labels: int, canvas: int = 224, tolerance: float = 0.0) -> None:
        self.labels, self.canvas, self.tolerance = labels, canvas, tolerance
        self._sums = {name: np.zeros((2, labels)) for name in ("score", "centre", "area")}

    def update(
        self,
        maps: Float[Tensor, "B L h w"],
        boxes: Sequence[Sequence[Box]],
        sizes: Sequence[Size] | None = None,
        covers: Sequence[Region] | None = None,
    ) -> None:
        """Adds a batch; arguments as in `pointing`."""
        if maps.shape[1] != self.labels:
            raise LabelwiseError(f"maps of {maps.shape[1]} labels", f"{self.labels}", "use one label order")
        self._sums["score"] += pointing(maps, boxes, sizes, self.canvas, self.tolerance, covers)
        self._sums["centre"] += pointing_centre(boxes, self.labels)
        self._sums["area"] += pointing_area(boxes, self.labels)

    @classmethod
    def joined(cls, games: Sequence[PointingGame]) -> PointingGame:
        """One game from those of several processes."""
        whole = cls(games[0].labels, games[0].canvas, games[0].tolerance)
        for game in games:
            for name, sums in game._sums.items():
                whole._sums[name] += sums
        return whole

    def compute(self) -> dict[str, object]:
        """`score`, `centre`, `area`: means over tested labels or NaN; `per_label`, `tested`: `[L]` lists.

        `per_label` is NaN for a label that was never tested.
        """
        rates = {name: _rates(*sums) for name, sums in self._sums.items()}
        means = {n: float(np.nanmean(r)) if not np.isnan(r).all() else float("nan") for n, r in rates.items()}
        tested = self._sums["score"].sum(axis=0).round().astype(int)
        return {**means, "per_label": rates["score"].tolist(), "tested": tested.tolist()}


def _rates(hits: np.ndarray, misses: np.ndarray) -> np.ndarray:
    tested = hits + misses
    return np.divide(hits, tested, out=np.full(len(hits), np.nan), where=tested > 0)


def _grouped(boxes: Sequence[Sequence[Box]], labels: int) -> list[dict[int, np.ndarray]]:
    """For each image, label -> its boxes `[n, 4]`, checked."""
    images = []
    for index, rows in enumerate(boxes):
        own: dict[int, list[tuple[float, ...]]] = {}
        for label, x0, y0, x1, y1 in rows:
            if not (0 <= label < labels and 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                raise LabelwiseError(
                    f"box {(label, x0, y0, x1, y1)} of image {index}",
                    f"(label below {labels}, x0, y0, x1, y1) with 0 <= x0 < x1 <= 1, likewise y",
                    "divide pixels by the image's width and height",
                )
            own.setdefault(int(label), []).append((x0, y0, x1, y1))
        images.append({label: np.array(found) for label, found in own.items()})
    return images


def _peaks(maps: Float[Tensor, "n h w"], shape: Size, region: Region) -> list[np.ndarray]:
    """For each map the centres `[k, 2]` (x, y) of its highest pixels, in fractions of the image.

    The canvas is laid over the whole image, so a map of a part of it is stretched over that part's share.
    """
    x0, y0, x1, y1 = region
    height, width = max(1, round(shape[0] * (y1 - y0))), max(1, round(shape[1] * (x1 - x0)))
    large = interpolate(maps[None], size=(height, width), mode="bilinear", align_corners=False)[0].flatten(1)
    top = large.amax(dim=1, keepdim=True)
    highest = (large >= top - _TIE * top.abs()).cpu().numpy()
    points = []
    for row in highest:
        y, x = np.divmod(np.flatnonzero(row), width)
        points.append(
            np.stack((x0 + (x + 0.5) / width * (x1 - x0), y0 + (y + 0.5) / height * (y1 - y0)), axis=1)
        )
    return points


def _inside(points: np.ndarray, boxes: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    """Bool `[k]`: which points lie in any of the boxes widened by `reach`, edges included."""
    low, high = boxes[None, :, :2] - reach, boxes[None, :, 2:] + reach
    within = (points[:, None] >= low) & (points[:, None] <= high)
    return np.any(np.all(within, axis=2), axis=1)


def _union(boxes: np.ndarray) -> float:
    """Exact area of the union of boxes, on the grid that their edges span."""
    x, y = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    middle_x, middle_y = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    points = np.stack(np.meshgrid(middle_x, middle_y, indexing="ij"), axis=-1).reshape(-1, 2)
    return float(_inside(points, boxes, (0.0, 0.0)) @ np.outer(np.diff(x), np.diff(y)).ravel())


def _score(
    boxes: Sequence[Sequence[Box]], labels: int, rate: Callable[[np.ndarray], float]
) -> tuple[np.ndarray, np.ndarray]:
    hits, tested = np.zeros(labels), np.zeros(labels)
    for image in _grouped(boxes, labels):
        for label, own in image.items():
            hits[label] += rate(own)
            tested[label] += 1
    return hits, tested - hits
