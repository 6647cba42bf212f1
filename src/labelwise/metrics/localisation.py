"""Localisation metrics: whether a label's map peaks inside the label's boxes, and the share of it inside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from labelwise.errors import LabelwiseError
from labelwise.metrics.boxes import Box, Case, coverage, group_cases, points_in_boxes

Size = tuple[int, int]
Region = tuple[float, float, float, float]
PerLabel = Float[np.ndarray, " L"]
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
MEASURES = ("score", "energy", "centre", "area")
CASES = ("", "_hard", "_found", "_found_hard")
_TIE_TOLERANCE = 1e-6  # of the maximum
_MAPS_AT_ONCE = 64


def pointing(
    maps: Float[Tensor, "B L h w"],
    boxes: Sequence[Sequence[Box]],
    sizes: Sequence[Size] | None = None,
    canvas: int = 224,
    tolerance: float = 0.0,
    covers: Sequence[Region] | None = None,
) -> tuple[PerLabel, PerLabel]:
    """Hits and misses per label over images where the label has a box.

    A map is resized bilinearly (`align_corners=False`) to the image; it is a hit if the centre of its highest pixel
    lies in a box. If several pixels are highest (to 1e-6 of the maximum), as at a border or in a uniform map, the
    image counts as the share of them that lies in a box.

    Args:
        maps: `[B, L, h, w]` finite evidence.
        boxes: for each image its boxes `(label, x0, y0, x1, y1)` in fractions of width and height.
        sizes: for each image its original `(height, width)` in pixels, for its shape; `None`: square.
        canvas: longest side of the resized map in pixels, instead of the original size; larger is finer.
        tolerance: pixels of the canvas by which a box is widened on every side.
        covers: for each image the part `(x0, y0, x1, y1)` of it that the map covers, if it was cropped.

    Returns:
        Hits and misses, each `[L]` float64; the score of a label is `hits / (hits + misses)`.

    Raises:
        LabelwiseError: on lists of another length than the batch, boxes outside the image, or maps with NaN.

    Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop" (with tolerance 15).

    >>> maps = torch.zeros(1, 2, 4, 4)
    >>> maps[0, 0, 1, 1] = maps[0, 1, 3, 3] = 1.0
    >>> hits, misses = pointing(maps, [[(0, 0.2, 0.2, 0.6, 0.6), (1, 0.0, 0.0, 0.5, 0.5)]])
    >>> hits.tolist(), misses.tolist()
    ([1.0, 0.0], [0.0, 1.0])
    """
    _check_lengths(len(maps), boxes=boxes, sizes=sizes, covers=covers)
    cases = group_cases(boxes, maps.shape[1])
    shares = _hits(_maps_of_cases(maps, cases), cases, sizes, canvas, tolerance, covers)
    return _label_sums(cases, shares, maps.shape[1])


def energy(
    maps: Float[Tensor, "B L h w"], boxes: Sequence[Sequence[Box]], covers: Sequence[Region] | None = None
) -> tuple[PerLabel, PerLabel]:
    """Mass of the maps inside and outside the label's boxes, summed per label over images where it has a box.

    With `c_p` the share of cell `p` that the union of the label's boxes covers, a map adds

        sum_p A_lp c_p / sum_p A_lp

    to the mass inside and the rest to the mass outside: each cell's mass is distributed uniformly over the cell, and
    maps are not resized. A map of zeros counts as uniform.

    Args:
        maps: `[B, L, h, w]` finite, non-negative evidence.
        boxes, covers: as in `pointing`.

    Returns:
        Inside and outside, each `[L]` float64; the energy of a label is `inside / (inside + outside)`.

    Raises:
        LabelwiseError: as `pointing`, or on negative evidence.

    Source: the energy-based pointing game of Wang et al. 2020, "Score-CAM".
    Differs: cells that a box cuts count by the share inside.

    >>> inside, outside = energy(torch.ones(1, 1, 4, 4), [[(0, 0.0, 0.0, 0.5, 0.5)]])
    >>> inside.tolist(), outside.tolist()
    ([0.25], [0.75])
    """
    _check_lengths(len(maps), boxes=boxes, covers=covers)
    cases = group_cases(boxes, maps.shape[1])
    return _label_sums(cases, _energies(_maps_of_cases(maps, cases), cases, covers), maps.shape[1])


def pointing_centre(boxes: Sequence[Sequence[Box]], labels: int) -> tuple[PerLabel, PerLabel]:
    """Hits and misses per label of always pointing at the image centre; `boxes` as in `pointing`."""
    cases = group_cases(boxes, labels)
    return _label_sums(cases, [_centre(case) for case in cases], labels)


def pointing_area(boxes: Sequence[Sequence[Box]], labels: int) -> tuple[PerLabel, PerLabel]:
    """Expected hits and misses per label of pointing at random: the area of the union of the label's boxes.

    This is also the energy of a uniform map.

    >>> hits, _ = pointing_area([[(0, 0.0, 0.0, 0.5, 0.5), (0, 0.25, 0.0, 0.75, 0.5)]], labels=1)
    >>> hits.tolist()
    [0.375]
    """
    cases = group_cases(boxes, labels)
    return _label_sums(cases, [case.area for case in cases], labels)


class PointingGame:
    """Pointing and energy over many batches, with their baselines, over all cases and over the hard ones.

    A case is a label of an image that has boxes; it is hard if they cover under a quarter of the image and another
    label has boxes in the image. It counts as found if the model also selected the label, since maps are shown to
    users for these.

    Args:
        labels: number of labels.
        canvas, tolerance: as in `pointing`.

    >>> game = PointingGame(labels=1)
    >>> game.update(torch.ones(1, 1, 2, 2), [[(0, 0.0, 0.0, 0.5, 1.0)]])
    >>> metrics = game.compute()
    >>> metrics["score"], metrics["energy"]
    (0.5, 0.5)
    """

    def __init__(self, labels: int, canvas: int = 224, tolerance: float = 0.0) -> None:
        self.labels, self.canvas, self.tolerance = labels, canvas, tolerance
        self._sums = {name + suffix: np.zeros((2, labels)) for suffix in CASES for name in MEASURES}

    def update(
        self,
        maps: Float[Tensor, "B L h w"],
        boxes: Sequence[Sequence[Box]],
        sizes: Sequence[Size] | None = None,
        covers: Sequence[Region] | None = None,
        called: Bool[np.ndarray, "B L"] | None = None,
    ) -> None:
        """Adds a batch; `called` holds the labels selected for each image, other arguments as in `pointing`."""
        if maps.shape[1] != self.labels:
            raise LabelwiseError(f"maps of {maps.shape[1]} labels", f"{self.labels}", "use one label order")
        _check_lengths(len(maps), boxes=boxes, sizes=sizes, covers=covers)
        cases = group_cases(boxes, self.labels)
        case_maps = _maps_of_cases(maps, cases)
        shares: dict[str, Sequence[float] | np.ndarray] = {
            "score": _hits(case_maps, cases, sizes, self.canvas, self.tolerance, covers),
            "energy": _energies(case_maps, cases, covers),
            "centre": [_centre(case) for case in cases],
            "area": [case.area for case in cases],
        }
        hard = np.array([case.hard for case in cases], bool)
        selected = np.array([called is not None and called[case.image, case.label] for case in cases], bool)
        masks = (np.ones_like(hard), hard, selected, selected & hard)
        for name, values in shares.items():
            for suffix, mask in zip(CASES, masks, strict=True):
                self._sums[name + suffix] += _label_sums(cases, values, self.labels, mask)

    @classmethod
    def joined(cls, games: Sequence[PointingGame]) -> PointingGame:
        """One game from those of several processes."""
        merged = cls(games[0].labels, games[0].canvas, games[0].tolerance)
        for game in games:
            for name, sums in game._sums.items():
                merged._sums[name] += sums
        return merged

    def compute(self) -> dict[str, object]:
        """Means over labels with cases, or NaN, and lists by label.

        `score`, `energy`, `centre`, `area`, and each with `_hard`: means of the labels' shares; with `_found` and
        `_found_hard`: shares of all such cases. `per_label`, `energy_per_label`: `[L]`, NaN for a label without a
        case. `tested`, `tested_hard`: `[L]` counts of cases.
        """
        rates = {n: _rates(*(s.sum(1, keepdims=True) if "_found" in n else s)) for n, s in self._sums.items()}
        means = {n: float(np.nanmean(r)) if not np.isnan(r).all() else float("nan") for n, r in rates.items()}
        return {
            **means,
            "per_label": rates["score"].tolist(),
            "energy_per_label": rates["energy"].tolist(),
            "tested": _counts(self._sums["score"]),
            "tested_hard": _counts(self._sums["score_hard"]),
        }


def _check_lengths(images: int, **lists: Sequence[object] | None) -> None:
    for name, rows in lists.items():
        if rows is not None and len(rows) != images:
            raise LabelwiseError(
                f"{name} of {len(rows)} images", f"{images}, as the maps", "pass one an image"
            )


def _maps_of_cases(maps: Tensor, cases: list[Case]) -> Float[Tensor, "n h w"]:
    """The map of each case, in fp32 on the CPU."""
    images, labels = [case.image for case in cases], [case.label for case in cases]
    selected = maps.detach()[images, labels].float().cpu()
    invalid = ~torch.isfinite(selected).all(dim=2).all(dim=1)
    if invalid.any():
        image = cases[int(invalid.nonzero()[0, 0])].image
        raise LabelwiseError(f"maps of image {image} with NaN or infinity", "finite maps", "check the model")
    return selected


def _hits(
    maps: Float[Tensor, "n h w"],
    cases: list[Case],
    sizes: Sequence[Size] | None,
    canvas: int,
    tolerance: float,
    covers: Sequence[Region] | None,
) -> Float[np.ndarray, " n"]:
    """For each case the share of its map's highest pixels that lie in a box."""
    groups: dict[tuple[Size, Region], list[int]] = {}
    for n, case in enumerate(cases):
        height, width = (1, 1) if sizes is None else sizes[case.image]
        scale = canvas / max(height, width)
        shape = max(1, round(height * scale)), max(1, round(width * scale))
        groups.setdefault((shape, WHOLE if covers is None else covers[case.image]), []).append(n)
    hits = np.zeros(len(cases))
    for (shape, region), positions in groups.items():
        # The canvas covers the whole image, so a map of a part of the image is resized to that part of the canvas.
        x0, y0, x1, y1 = region
        height, width = max(1, round(shape[0] * (y1 - y0))), max(1, round(shape[1] * (x1 - x0)))
        x = x0 + (np.arange(width) + 0.5) / width * (x1 - x0)
        y = y0 + (np.arange(height) + 0.5) / height * (y1 - y0)
        for start in range(0, len(positions), _MAPS_AT_ONCE):
            block = positions[start : start + _MAPS_AT_ONCE]
            for n, highest in zip(block, _highest(maps[block], (height, width)), strict=True):
                within = points_in_boxes(x, y, cases[n].boxes, (tolerance / shape[1], tolerance / shape[0]))
                hits[n] = np.count_nonzero(highest & within) / np.count_nonzero(highest)
    return hits


def _highest(maps: Float[Tensor, "n h w"], size: Size) -> Bool[np.ndarray, "n H W"]:
    """Masks of the highest pixels of the resized maps."""
    large = interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
    peak = large.amax(dim=(1, 2), keepdim=True)
    return (large >= peak - _TIE_TOLERANCE * peak.abs()).numpy()


def _energies(
    maps: Float[Tensor, "n h w"], cases: list[Case], covers: Sequence[Region] | None
) -> Float[np.ndarray, " n"]:
    """For each case the share of its map's mass that lies in a box."""
    mass = maps.double().numpy()
    if (mass < 0).any():
        image = cases[int(np.argwhere(mass < 0)[0, 0])].image
        raise LabelwiseError(
            f"maps of image {image} below 0", "evidence of 0 or more", "give the positive part"
        )
    height, width = mass.shape[1:]
    column_edges, row_edges = np.linspace(0, 1, width + 1), np.linspace(0, 1, height + 1)
    shares = np.zeros(len(cases))
    for n, case in enumerate(cases):
        x0, y0, x1, y1 = WHOLE if covers is None else covers[case.image]
        box_shares = coverage(x0 + (x1 - x0) * column_edges, y0 + (y1 - y0) * row_edges, case.boxes)
        total = mass[n].sum()
        shares[n] = (mass[n] * box_shares).sum() / total if total else box_shares.mean()
    return shares


def _centre(case: Case) -> float:
    """1 if the image centre lies in a box, else 0."""
    middle = np.array([0.5])
    return float(points_in_boxes(middle, middle, case.boxes)[0, 0])


def _label_sums(
    cases: list[Case],
    shares: Sequence[float] | np.ndarray,
    labels: int,
    rows: np.ndarray | slice = slice(None),
) -> tuple[np.ndarray, np.ndarray]:
    """Sums by label of the shares and of their complements to 1."""
    columns = np.array([case.label for case in cases], int)[rows]
    values = np.asarray(shares, np.float64)[rows]
    hits = np.bincount(columns, values, minlength=labels)
    return hits, np.bincount(columns, minlength=labels) - hits


def _rates(hits: np.ndarray, misses: np.ndarray) -> np.ndarray:
    """Shares of hits; NaN without cases."""
    tested = hits + misses
    return np.divide(hits, tested, out=np.full(len(hits), np.nan), where=tested > 0)


def _counts(sums: np.ndarray) -> list[int]:
    return sums.sum(axis=0).round().astype(int).tolist()
