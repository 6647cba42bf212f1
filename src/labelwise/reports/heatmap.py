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
    visible = np.where(chances >= FEWEST, rate, np.nan)
    np.fill_diagonal(visible, np.nan)
    highest = float(np.nanmax(visible)) if np.isfinite(visible).any() else 0.0
    margin = 8 + int(6.4 * min(LONGEST, max(len(name) for name in names)))
    size = margin + CELL * len(names)
    inner = Markup("")
    for i, name in enumerate(names):
        inner += _label_texts(margin, i, name)
        for j, other in enumerate(names):
            share = float(visible[i, j])
            if np.isfinite(share):
                tip = f"{name} without {other}, {chances[i, j]} images: {100 * share:.1f} % predicted {other}"
                inner += _tinted_cell(margin, i, j, share, share / (highest or 1.0), tip)
            elif i != j:
                inner += Markup('<rect class="blank" {}/>').format(_cell_attributes(margin, i, j))
    title = "Share of images with one label in which another one is wrongly predicted"
    return drawing(Frame((0, 1), (0, 1), (size + 46, size + 4), (0, 0, 0, 0)), inner, title, "heat")


def shorten(name: str) -> str:
    """The name, shortened with an ellipsis if it is long.

    >>> shorten("potted plant"), shorten("a-rather-long-attribute-name")
    ('potted plant', 'a-rather-long-att…')
    """
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _label_texts(margin: int, i: int, name: str) -> Markup:
    """The label's name beside its row and above its column."""
    middle = margin + CELL * (i + 0.5)
    row = Markup('<text class="label" x="{}" y="{}" dy=".35em" text-anchor="end">{}</text>')
    column = Markup('<text class="label" transform="translate({} {}) rotate(-50)">{}</text>')
    short_name = shorten(name)
    return row.format(margin - 6, middle, short_name) + column.format(middle, margin - 5, short_name)


def _cell_attributes(margin: int, i: int, j: int) -> Markup:
    return Markup('x="{}" y="{}" width="{}" height="{}" rx="2"').format(
        margin + CELL * j + 1, margin + CELL * i + 1, CELL - 2, CELL - 2
    )


def _tinted_cell(margin: int, i: int, j: int, share: float, strength: float, tooltip: str) -> Markup:
    cell = Markup('<rect class="cell" fill-opacity="{:.2f}" {}><title>{}</title></rect>').format(
        0.04 + 0.96 * strength, _cell_attributes(margin, i, j), tooltip
    )
    if share < 0.01:
        return cell
    kind = "value strong" if strength > 0.6 else "value"
    x, y = margin + CELL * (j + 0.5), margin + CELL * (i + 0.5)
    number = Markup('<text class="{}" x="{}" y="{}" dy=".34em">{:.0f}</text>')
    return cell + number.format(kind, x, y, 100 * share)
