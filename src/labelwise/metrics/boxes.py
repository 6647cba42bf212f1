"""Boxes of labels: grouped by image and label, and their coverage of a grid's cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from labelwise.errors import LabelwiseError

Box = tuple[int, float, float, float, float]
HARD_AREA = 0.25


@dataclass(frozen=True)
class Case:
    """A label of an image that has boxes.

    Args:
        image: position of the image in its batch.
        label: column of the label.
        boxes: `[n, 4]` as `x0, y0, x1, y1` in fractions of width and height.
        area: share of the image that the union of the boxes covers.
        others: number of other labels with boxes in the image.
    """

    image: int
    label: int
    boxes: Float[np.ndarray, "n 4"]
    area: float
    others: int

    @property
    def hard(self) -> bool:
        """Whether the boxes cover under a quarter of the image and another label has boxes in it."""
        return self.area < HARD_AREA and self.others > 0


def group_cases(boxes: Sequence[Sequence[Box]], labels: int) -> list[Case]:
    """One case for each label that has boxes in an image, by image and then by first box.

    Args:
        boxes: for each image its boxes `(label, x0, y0, x1, y1)`.
        labels: number of labels.

    Raises:
        LabelwiseError: a box outside the image, or of an unknown label.

    >>> [case.area for case in group_cases([[(0, 0.0, 0.0, 0.5, 0.5), (0, 0.25, 0.0, 0.75, 0.5)]], labels=1)]
    [0.375]
    """
    cases = []
    for image, rows in enumerate(boxes):
        by_label: dict[int, list[tuple[float, ...]]] = {}
        for label, x0, y0, x1, y1 in rows:
            if not (0 <= label < labels and 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                raise LabelwiseError(
                    f"box {(label, x0, y0, x1, y1)} of image {image}",
                    f"(label below {labels}, x0, y0, x1, y1) with 0 <= x0 < x1 <= 1, likewise y",
                    "divide pixels by the image's width and height",
                )
            by_label.setdefault(int(label), []).append((x0, y0, x1, y1))
        for label, label_boxes in by_label.items():
            corners = np.array(label_boxes, dtype=np.float64)
            cases.append(Case(image, label, corners, union(corners), len(by_label) - 1))
    return cases


def points_in_boxes(
    x: Float[np.ndarray, " w"],
    y: Float[np.ndarray, " h"],
    boxes: Float[np.ndarray, "n 4"],
    reach: tuple[float, float] = (0.0, 0.0),
) -> Bool[np.ndarray, "h w"]:
    """Mask of the points of the grid `y` by `x` in any of the boxes widened by `reach` (x, y), edges included."""
    in_x = (x >= boxes[:, :1] - reach[0]) & (x <= boxes[:, 2:3] + reach[0])
    in_y = (y >= boxes[:, 1:2] - reach[1]) & (y <= boxes[:, 3:] + reach[1])
    mask = np.zeros((len(y), len(x)), bool)
    for row, column in zip(in_y, in_x, strict=True):
        mask |= row[:, None] & column
    return mask


def coverage(
    x: Float[np.ndarray, " w1"], y: Float[np.ndarray, " h1"], boxes: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "h w"]:
    """Exact share of each cell that the union of the boxes covers.

    The edges of the boxes cut the image into rectangles that are entirely inside or outside the union; the result for
    a cell is the sum of its intersections with those inside.

    Args:
        x: rising edges of the columns of cells; `w` cells have `w + 1` edges.
        y: rising edges of the rows.
        boxes: `x0, y0, x1, y1` of each.

    >>> coverage(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0]), np.array([[0.25, 0.0, 0.75, 0.5]])).tolist()
    [[0.25, 0.25]]
    """
    cut_x, cut_y = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    within = points_in_boxes((cut_x[1:] + cut_x[:-1]) / 2, (cut_y[1:] + cut_y[:-1]) / 2, boxes)
    intersection = _overlap_lengths(y, cut_y) @ within @ _overlap_lengths(x, cut_x).T
    return intersection / np.outer(np.diff(y), np.diff(x))


def union(boxes: Float[np.ndarray, "n 4"]) -> float:
    """Exact share of the image that the union of the boxes covers."""
    edges = np.array([0.0, 1.0])
    return float(coverage(edges, edges, boxes)[0, 0])


def _overlap_lengths(edges: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Length of the intersection of each interval of the edges with each interval of the cuts."""
    low = np.maximum(edges[:-1, None], cuts[None, :-1])
    return np.maximum(np.minimum(edges[1:, None], cuts[None, 1:]) - low, 0.0)
