"""Metrics of attention maps: the entropy of a label's map, and the overlap of the maps of an image's labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def attention_entropy(maps: Float[Tensor, "B L h w"]) -> Float[Tensor, "B L"]:
    """Normalised entropy of each map: `-sum_p A_p log A_p / log P`.

    1 is uniform attention, 0 is attention to one position. A map with one position counts as uniform.

    Args:
        maps: `[B, L, h, w]` non-negative, each summing to 1 over its P positions.

    >>> maps = torch.zeros(1, 2, 2, 2)
    >>> maps[0, 0, 0, 0], maps[0, 1] = 1.0, 0.25
    >>> attention_entropy(maps).tolist()
    [[0.0, 1.0]]
    """
    positions = maps.shape[2] * maps.shape[3]
    if positions == 1:
        return maps.new_ones(maps.shape[:2])
    return (torch.special.entr(maps).sum((2, 3)) / math.log(positions)).clamp(0, 1)


def attention_overlap(
    maps: Float[Tensor, "B L h w"], present: Bool[Tensor, "B L"]
) -> Float[Tensor, " pairs"]:
    """Overlap of the maps of two labels of an image, `sum_p min(A_lp, A_mp)`, for each pair of present labels.

    0 means disjoint attention, 1 means equal attention.

    Args:
        maps: `[B, L, h, w]` non-negative, each summing to 1.
        present: the present labels of each image.

    >>> attention_overlap(torch.full((1, 3, 2, 2), 0.25), torch.tensor([[True, False, True]])).tolist()
    [1.0]
    """
    overlaps = [maps.new_zeros(0)]
    for image_maps, image_labels in zip(maps.flatten(2), present, strict=True):
        first, second = torch.combinations(image_labels.nonzero()[:, 0]).unbind(1)
        overlaps.append(torch.minimum(image_maps[first], image_maps[second]).sum(1))
    return torch.cat(overlaps)


class AttentionReport:
    """Mean entropy of the maps of true labels, and mean overlap of pairs of them, over many batches.

    >>> report = AttentionReport()
    >>> report.update(torch.full((1, 2, 2, 2), 0.25), torch.ones(1, 2, dtype=torch.bool))
    >>> report.compute()
    {'entropy': 1.0, 'overlap': 1.0, 'maps': 2, 'pairs': 1}
    """

    def __init__(self) -> None:
        self._sums = {"entropy": 0.0, "overlap": 0.0}
        self._counts = {"maps": 0, "pairs": 0}

    def update(self, maps: Float[Tensor, "B L h w"], present: Bool[Tensor, "B L"]) -> None:
        """Adds a batch: the maps, and the true labels of each image."""
        maps, present = maps.detach().float(), present.to(maps.device)
        entropy, overlap = attention_entropy(maps[present][None])[0], attention_overlap(maps, present)
        for name, count, values in (("entropy", "maps", entropy), ("overlap", "pairs", overlap)):
            self._sums[name] += values.double().sum().item()
            self._counts[count] += len(values)

    @classmethod
    def joined(cls, reports: Sequence[AttentionReport]) -> AttentionReport:
        """One report from those of several processes."""
        merged = cls()
        for report in reports:
            for name, value in report._sums.items():
                merged._sums[name] += value
            for name, number in report._counts.items():
                merged._counts[name] += number
        return merged

    def compute(self) -> dict[str, float]:
        """`entropy` and `overlap`, each in [0, 1] or NaN without samples; counts of `maps` and `pairs`."""
        sums, counts = self._sums, self._counts
        entropy = sums["entropy"] / counts["maps"] if counts["maps"] else math.nan
        overlap = sums["overlap"] / counts["pairs"] if counts["pairs"] else math.nan
        return {"entropy": entropy, "overlap": overlap, **counts}
