"""The confusion matrix between labels, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup

from labelwise.reports.figures import Frame, drawing

CELL = 26
LONGEST = 18
FEWEST = 5
"""Minimum number of images for a cell to be tinted."""


def heat_map(rate: Float[np.ndarray, "k k"], chances: Int[np.ndarray, "k k"], names: Sequence[str]) -> Markup:
    """`P(column predicted | row true, column false)` as tinted cells, blank below `FEWEST` images.

    Args:
        rate: `[k, k]` in [0, 1]; NaN is blank.
        chances: `[k, k]` images behind each cell.
        names: `k` label names; long ones are shortened in the drawing and complete in the cells' tooltips.
    """
    shown = np.where(chances >= FEWEST, rate, np.nan)
    np.fill_diagonal(shown, np.nan)
    highest = float(np.nanmax(shown)) if np.isfinite(shown).any() else 0.0
    side = 8 + int(6.4 * min(LONGEST, max(len(name) for name in names)))
    size = side + CELL * len(names)
    inner = Markup("")
    for i, name in enumerate(names):
        inner += _heads(side, i, name)
        for j, other in enumerate(names):
            share = float(shown[i, j])
            if np.isfinite(share):
                tip = f"{name} without {other}, {chances[i, j]} images: {100 * share:.1f} % predicted {other}"
                inner += _tinted(side, i, j, share, share / (highest or 1.0), tip)
            elif i != j:
                inner += Markup('<rect class="blank" {}/>').format(_square(side, i, j))
    title = "Share of images with one label in which another one is wrongly predicted"
    return drawing(Frame((0, 1), (0, 1), (size + 46, size + 4), (0, 0, 0, 0)), inner, title, "heat")


def shorten(name: str) -> str:
    """The name, shortened with an ellipsis if it is long.

    >>> shorten("potted plant"), shorten("a-rather-long-attribute-name")
    ('potted plant', 'a-rather-long-att…')
    """
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _heads(side: int, i: int, name: str) -> Markup:
    middle = side + CELL * (i + 0.5)
    row = Markup('<text class="label" x="{}" y="{}" dy=".35em" text-anchor="end">{}</text>')
    column = Markup('<text class="label" transform="translate({} {}) rotate(-50)">{}</text>')
    short = shorten(name)
    return row.format(side - 6, middle, short) + column.format(middle, side - 5, short)


def _square(side: int, i: int, j: int) -> Markup:
    return Markup('x="{}" y="{}" width="{}" height="{}" rx="2"').format(
        side + CELL * j + 1, side + CELL * i + 1, CELL - 2, CELL - 2
    )


def _tinted(side: int, i: int, j: int, share: float, strength: float, tip: str) -> Markup:
    cell = Markup('<rect class="cell" fill-opacity="{:.2f}" {}><title>{}</title></rect>').format(
        0.04 + 0.96 * strength, _square(side, i, j), tip
    )
    if share < 0.01:
        return cell
    kind = "value strong" if strength > 0.6 else "value"
    x, y = side + CELL * (j + 0.5), side + CELL * (i + 0.5)
    number = Markup('<text class="{}" x="{}" y="{}" dy=".34em">{:.0f}</text>')
    return cell + number.format(kind, x, y, 100 * share)
