"""Angles between label features and their classifiers, and the limit of a shared feature."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from labelwise.errors import LabelwiseError

QUARTILES = (0.25, 0.5, 0.75)
MOST = 5


def label_angles(features: Float[Tensor, "N L D"], weight: Float[Tensor, "_ _"]) -> Float[Tensor, "N L"]:
    """Angle between each label's feature and its classifier.

    `theta_{n,l} = arccos(<w_l, f_{n,l}> / (|w_l| |f_{n,l}|))`, computed in float64.

    Args:
        features: `[N, L, D]`, the vectors that the per-label classifier multiplies.
        weight: `[L, D]`, its rows.

    Returns:
        `[N, L]` float64 degrees in [0, 180]; NaN where a vector is zero.

    Raises:
        LabelwiseError: when weight is not `[L, D]`.

    >>> label_angles(torch.tensor([[[1.0, 1.0], [0.0, 2.0]]]), torch.eye(2)).tolist()
    [[45.0..., 0.0]]
    """
    return torch.rad2deg(_cosines(features, weight).arccos())


def boundary_angles(
    features: Float[Tensor, "N L D"], weight: Float[Tensor, "L D"], bias: Float[Tensor, " L"] | None = None
) -> Float[Tensor, "N L"]:
    """Angle at which a feature of the same length would have logit 0.

    `theta0_{n,l} = arccos(clamp(-b_l / (|w_l| |f_{n,l}|)))`; without bias it is 90 degrees.
    Arguments as in `label_angles`, and `bias` `[L]`; returns the same shape, with NaN for the same cells.
    """
    lengths = features.double().norm(dim=-1) * weight.double().norm(dim=-1)
    offset = torch.zeros_like(lengths) if bias is None else -bias.double().expand_as(lengths)
    return torch.rad2deg((offset / lengths).clamp(-1, 1).arccos())


def shared_limit(weight: Float[Tensor, "L D"], positive: Bool[Tensor, "N L"]) -> Float[Tensor, " N"]:
    """The smallest angle that one shared feature can make with all classifiers of an image's labels at once.

    `cos^2 theta = 1 / (1^T G^{-1} 1)` with `G` the Gram matrix of the positive labels' unit classifiers;
    for K orthonormal ones `cos theta = 1 / sqrt(K)`.

    Args:
        weight: `[L, D]` classifier rows.
        positive: `[N, L]` bool.

    Returns:
        `[N]` float64 degrees; NaN for an image without a positive or if one of its classifiers is zero.

    >>> limit = shared_limit(torch.eye(4), torch.tensor([[True, True, True, False]]))
    >>> [round(x, 4) for x in limit.tolist()]
    [54.7356]
    """
    unit = weight.double() / weight.double().norm(dim=1, keepdim=True)
    gram, count = unit @ unit.T, positive.sum(dim=1)
    result = torch.full((len(positive),), torch.nan, dtype=torch.float64, device=weight.device)
    for k in count.unique().tolist():
        images = torch.nonzero(count == k)[:, 0]
        if k == 0:
            continue
        positives = positive[images].nonzero()[:, 1].view(-1, k)
        grams = gram[positives[:, :, None], positives[:, None, :]]
        usable = grams.isfinite().all(dim=(1, 2))
        inverse_sums = torch.linalg.pinv(grams[usable], hermitian=True).sum(dim=(1, 2))
        result[images[usable]] = torch.rad2deg(inverse_sums.rsqrt().clamp(0, 1).arccos())
    return result


class AngleReport:
    """Angles over a test split: quartiles per label, and the mean by the number of labels in the image.

    Only known cells count; K is the number of known positives of an image. Caveats for a plot: the limits hold for
    features of fixed length and fixed classifiers, correlated classifiers make them smaller, and a feature of
    unbounded length can bring the loss near 0 at a large angle.

    >>> report = AngleReport()
    >>> y, known = torch.tensor([[1.0, 1.0]]), torch.tensor([[True, True]])
    >>> report.update(torch.ones(1, 2, 2), torch.eye(2), None, y, known)
    >>> row = report.compute()["by_count"].get("2")
    >>> round(row["mean"], 3), round(row["orthonormal"], 3), round(row["gram"], 3)
    (45.0, 45.0, 45.0)
    """

    def __init__(self) -> None:
        self._batches: list[tuple[np.ndarray, ...]] = []

    def update(
        self,
        features: Float[Tensor, "N L D"],
        weight: Float[Tensor, "_ _"],
        bias: Float[Tensor, " L"] | None,
        values: Float[Tensor, "N L"],
        known: Bool[Tensor, "N L"],
    ) -> None:
        """Adds a batch: arguments as in `boundary_angles`; known cells with `values >= .5` are positive."""
        features, weight = features.detach(), weight.detach()
        bias = None if bias is None else bias.detach()
        positive = (values >= 0.5) & known
        angle = label_angles(features, weight)
        margin = boundary_angles(features, weight, bias) - angle
        batch = (
            angle.float(),
            margin.float(),
            positive,
            known,
            shared_limit(weight, positive.to(weight.device)),
        )
        if self._batches and self._batches[0][0].shape[1] != angle.shape[1]:
            raise LabelwiseError(
                f"a batch of {angle.shape[1]} labels",
                f"{self._batches[0][0].shape[1]}",
                "use one model per report",
            )
        self._batches.append(tuple(tensor.cpu().numpy() for tensor in batch))

    @classmethod
    def joined(cls, reports: Sequence[AngleReport]) -> AngleReport:
        """One report from those of several processes."""
        merged = cls()
        merged._batches = [batch for report in reports for batch in report._batches]
        return merged

    def compute(self) -> dict[str, object]:
        """The report as JSON data, angles in degrees.

        Returns:
            `positive`, `negative`: per label the quartiles `[L][3]` of theta over its positives and negatives
            (`None` without any); `margin`: mean of `theta0 - theta` over positives; `by_count`: for
            K = "1" .. "4", "5+" a dict of `images`, `cells`, `mean` (theta of positives), `orthonormal`
            (`arccos(1/sqrt K)`, averaged over the images) and `gram` (the limit of the actual classifiers).

        Raises:
            LabelwiseError: when nothing was added.
        """
        if not self._batches:
            raise LabelwiseError("an angle report without data", "at least one batch", "call update first")
        angle, margin, positive, known, limit = (
            np.concatenate(part) for part in zip(*self._batches, strict=True)
        )
        defined = ~np.isnan(angle)
        present, absent = positive & defined, known & ~positive & defined
        count = positive.sum(axis=1)
        return {
            "positive": _quartiles(angle, present),
            "negative": _quartiles(angle, absent),
            "margin": _mean(margin[present]),
            "by_count": {
                f"{k}" if k < MOST else f"{k}+": _count_row(
                    (count == k) if k < MOST else (count >= k), angle, present, count, limit
                )
                for k in range(1, MOST + 1)
            },
        }


def _cosines(features: Tensor, weight: Tensor) -> Tensor:
    """Cosine of each label's feature and its classifier, `[N, L]` float64."""
    if features.shape[1:] != weight.shape:
        raise LabelwiseError(
            f"features of shape {tuple(features.shape)} with weight {tuple(weight.shape)}",
            "[N, L, D] with [L, D]",
            "pass the vectors that the per-label classifier reads",
        )
    f, w = features.double(), weight.double()
    return ((f * w).sum(dim=-1) / (f.norm(dim=-1) * w.norm(dim=-1))).clamp(-1, 1)


def _quartiles(angle: np.ndarray, cells: np.ndarray) -> list[list[float] | None]:
    columns = (angle[cells[:, label], label] for label in range(angle.shape[1]))
    return [np.quantile(column, QUARTILES).tolist() if len(column) else None for column in columns]


def _count_row(
    in_group: np.ndarray, angle: np.ndarray, present: np.ndarray, count: np.ndarray, limit: np.ndarray
) -> dict[str, float | int | None]:
    """The entry of `by_count` for the images in a group; angles are `None` without a cell."""
    thetas = angle[in_group][present[in_group]]
    orthonormal = [math.degrees(math.acos(1 / math.sqrt(k))) for k in count[in_group].tolist()]
    return {
        "images": int(in_group.sum()),
        "cells": len(thetas),
        "mean": _mean(thetas),
        "orthonormal": _mean(np.array(orthonormal)),
        "gram": _mean(limit[in_group][~np.isnan(limit[in_group])]),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean(dtype=np.float64)) if len(values) else None
