"""Where a label may look: a region of the image for each label, as a prior of its attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from labelwise.errors import LabelwiseError, advice
from labelwise.types import LabelSet

Region = tuple[float, float, float, float]
"""Top, bottom, left and right, as fractions of the height and the width."""
STRIPES: dict[str, tuple[float, float]] = {
    "head": (0.0, 1 / 6),
    "hairLong": (0.0, 1 / 4),
    "accessoryMuffler": (0.0, 1 / 4),
    "upper body": (1 / 8, 0.55),
    "lower body": (0.45, 0.9),
    "feet": (0.8, 1.0),
}
"""Top and bottom of a label's place in a crop of a pedestrian, as fractions of its height, by label or group. Chosen
from the proportions of a body, not on data."""
Prior = Float[Tensor, "L P"] | None
"""The output of `PlacePrior`, or `None` where a label may look everywhere."""
SOFT = 0.1
"""Width of the edges of a region, over which a prior falls, as a fraction of the side of the image."""


def regions_of(
    labels: LabelSet,
    given: Mapping[str, Sequence[float]] | None = None,
    option: str = "regions.labels",
    stripes: bool = False,
) -> dict[str, Region]:
    """The region of each label that has one: its own, else that of its first group with one.

    Args:
        labels: the labels with their groups.
        given: top and bottom, or top, bottom, left and right, by label or group; `STRIPES` if `None`.
        option: that holds them, for errors.
        stripes: regions have no left and right.

    Raises:
        LabelwiseError: a name that is neither a label nor a group, or a region that is no part of the image.

    >>> regions_of(LabelSet(("hat", "bag")), {"hat": [0, 0.2]})
    {'hat': (0.0, 0.2, 0.0, 1.0)}
    """
    for name, region in (given or {}).items():
        if name not in labels.names and name not in labels.groups:
            near = advice(name, [*labels.names, *labels.groups], otherwise="correct the name")
            raise LabelwiseError(f"{option} of {name!r}", "a label or a group of labels", near)
        sides = [tuple(region[i : i + 2]) for i in range(0, len(region), 2)]
        lengths = (2,) if stripes else (2, 4)
        if len(region) not in lengths or not all(0 <= low < high <= 1 for low, high in sides):
            raise LabelwiseError(
                f"{option} of {name!r}: {list(region)}",
                f"top and bottom in [0, 1], the top first{'' if stripes else ', then left and right or neither'}",
                "correct the region",
            )
    table: Mapping[str, Sequence[float]] = STRIPES if given is None else given
    chosen: dict[str, Region] = {}
    for label in labels.names:
        groups = [name for name, group in labels.groups.items() if label in group.labels]
        own = next((table[name] for name in (label, *groups) if name in table), None)
        if own is not None:
            top, bottom, left, right = (*own, 0.0, 1.0)[:4]
            chosen[label] = (float(top), float(bottom), float(left), float(right))
    return chosen


class PlacePrior(nn.Module):
    """A factor of each label's attention weights before they are scaled to sum 1: 1 inside its region, less outside.

        b_lp = log(o + (1 - o) m_lp),   A_l = softmax_p(a_lp + b_lp)

    `a_lp` is a label's score of a place, `o` is `outside`. `m_lp` is the share of place p inside the region, divided by
    the largest of the map; edges of the region that are not edges of the image are blurred over `SOFT` of its side.
    `m_lp` is 1 everywhere for a label without a region. The prior follows the size of the map, and has no weights.
    `declared` holds the regions that were given, by label; none of `STRIPES`.

    Args:
        labels: the labels with their groups.
        outside: o, above 0.
        regions: see `regions_of`.

    Raises:
        LabelwiseError: no label has a region; see also `regions_of`.

    Source: ours.

    >>> prior = PlacePrior(LabelSet(("hat", "bag")), 0.01, {"hat": [0, 0.5]})
    >>> [round(factor, 2) for factor in prior(torch.zeros(1, 8, 4, 1)).exp()[0].tolist()]
    [1.0, 0.95, 0.06, 0.01]
    """

    edges: Tensor

    def __init__(
        self,
        labels: LabelSet,
        outside: float,
        regions: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        own = regions_of(labels, regions)
        self.declared = {} if regions is None else own
        if not own and regions is None:
            raise LabelwiseError(
                f"regions.outside={outside:g} for labels without a region",
                "regions.labels, since only pedestrian attributes have regions by default",
                "write for example --set 'regions.labels={sky: [0, 0.5]}'",
            )
        self.outside = outside
        whole: Region = (0.0, 1.0, 0.0, 1.0)
        edges = torch.tensor([own.get(label, whole) for label in labels.names])
        # From the settings and the labels, not from the weights.
        self.register_buffer("edges", edges, persistent=False)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "L P"]:
        """`b_lp` of every place of a map, row by row, in its precision."""
        top, bottom, left, right = self.edges.float().unbind(1)
        rows, columns = _inside(x.shape[2], top, bottom), _inside(x.shape[3], left, right)
        inside = (rows[:, :, None] * columns[:, None]).flatten(1)
        inside = inside / inside.amax(1, keepdim=True)
        return (self.outside + (1 - self.outside) * inside).log().to(x.dtype)


def add_prior(scores: Tensor, prior: Prior) -> Tensor:
    """The scores of places `[.., L, P]` with the prior, if there is one."""
    return scores if prior is None else scores + prior


def _inside(count: int, low: Tensor, high: Tensor) -> Float[Tensor, "L n"]:
    """The share of each of `count` equal parts of a side that lies in the range of each label, with blurred ends."""
    lines = torch.arange(count + 1, device=low.device) / count
    low, high = (
        torch.where(low > 0, low, -1.0),
        torch.where(high < 1, high, 2.0),
    )  # no blur at the image's edge
    return (_ramp(lines - low[:, None]) - _ramp(lines - high[:, None])).diff() * count


def _ramp(t: Tensor) -> Tensor:
    """The integral up to `t` of a step at 0 that is blurred over `SOFT`."""
    return (t + SOFT / 2).clamp(0.0, SOFT).square() / (2 * SOFT) + (t - SOFT / 2).clamp(min=0.0)


def place_prior(
    label_set: LabelSet,
    outside: Annotated[float, Field(gt=0, le=1)] = 1.0,
    labels: Mapping[str, Sequence[float]] | None = None,
) -> PlacePrior | None:
    """The prior of the section `regions` of the settings, or `None` where it changes nothing.

    Args:
        label_set: the labels with their groups.
        outside: see `PlacePrior`.
        labels: regions by label or group, see `regions_of`.

    Raises:
        LabelwiseError: see `PlacePrior`; names of regions are checked in either case.
    """
    regions_of(label_set, labels)
    return PlacePrior(label_set, outside, labels) if outside < 1 else None


def regions_among(
    names: Sequence[str], label_set: LabelSet, outside: float, labels: Mapping[str, Sequence[float]] | None
) -> dict[str, Any]:
    """The arguments of `place_prior` for a few of all labels, whose groups and regions count.

    Args:
        names: the few labels.
        label_set, outside, labels: of all labels, as `place_prior` takes them.

    Raises:
        LabelwiseError: see `place_prior`, also for the names of labels that are not among the few.
    """
    place_prior(label_set, outside, labels)
    regions = regions_of(label_set, labels)
    return {"outside": outside, "labels": {name: regions[name] for name in names if name in regions}}
