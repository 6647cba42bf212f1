"""Compares the mAP of a low-precision export with that of its run on labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from labelwise.data import Dataset
from labelwise.decisions import Decisions
from labelwise.engines.runtimes import Engine
from labelwise.errors import LabelwiseError
from labelwise.evaluation.figures import without_ap
from labelwise.metrics import functional as F

BAR = 1e-3
"""Largest allowed difference of the two macro mAP: 0.1 point."""


@dataclass(frozen=True)
class Accuracy:
    """The result of a comparison on labelled images.

    Args:
        images: number of compared images.
        run: macro mAP of the run, in [0, 1].
        export: macro mAP of the export, in [0, 1].
        equal: share of equal decisions, one per image and label, in [0, 1].
        probability: largest difference of a calibrated probability, in [0, 1].
        maps: mean distance of the maps, `1/2 sum_p |a_p - b_p|`, in [0, 1]; `None` without maps.
        without: labels that the mAP leaves out, each with what it lacks.
    """

    images: int
    run: float
    export: float
    equal: float
    probability: float
    maps: float | None
    without: Mapping[str, str] = field(default_factory=dict)

    @property
    def passes(self) -> bool:
        """Whether the two mAP differ by at most `BAR`; `False` if one of them is NaN."""
        return abs(self.export - self.run) <= BAR

    def demand(self, name: str) -> Accuracy:
        """Returns itself if it passes.

        Args:
            name: of the compared engine.

        Raises:
            LabelwiseError: the two mAP differ by more than `BAR`.
        """
        if self.passes:
            return self
        raise LabelwiseError(
            f"{name} on {self}",
            f"mAP within {100 * BAR:g} point of the run's",
            "give --precision fp32; nothing was written",
        )

    def to_json(self) -> dict[str, Any]:
        """JSON data for the card."""
        return {
            "images": self.images,
            "mAP": self.export,
            "mAP_of_the_run": self.run,
            "decisions_equal": self.equal,
            "max_probability_difference": self.probability,
            "mean_map_distance": self.maps,
            "labels_without_AP": dict(self.without),
        }

    def __str__(self) -> str:
        maps = "" if self.maps is None else f", maps apart by {self.maps:.1e}"
        without = without_ap({"labels_without_AP": self.without})
        return (
            f"{self.images:,} images: mAP {100 * self.export:.2f} beside the run's {100 * self.run:.2f}, "
            f"{self.equal:.2%} of the decisions equal, largest difference of a probability "
            f"{self.probability:.1e}{maps}{without and '; ' + without}"
        )


def measure_accuracy(
    reference: Engine,
    candidate: Engine,
    batches: Iterable[tuple[Sequence[int], Tensor]],
    rows: Dataset,
    decisions: Decisions,
) -> Accuracy:
    """Evaluates two engines on the same labelled images.

    Args:
        reference: the run.
        candidate: the export.
        batches: row numbers of images, and the images `[B, 3, H, W]` uint8.
        rows: their labels, in the run's order.
        decisions: from logits to probabilities and selected labels.

    Raises:
        LabelwiseError: no label with both a known positive and a known negative.
    """
    used: list[int] = []
    ours, theirs, maps = [], [], []
    for index, images in batches:
        a, a_maps = reference(images, candidate.has_maps)
        b, b_maps = candidate(images, candidate.has_maps)
        used += index
        ours.append(a)
        theirs.append(b)
        if a_maps is not None and b_maps is not None:
            maps.append(np.abs(a_maps - b_maps).sum((2, 3)).mean(1) / 2)
    labelled = rows.take(used)
    if not labelled.positive.any():
        raise LabelwiseError(
            f"{rows.source} without a readable image that has a label",
            "labelled images to judge the precision on",
            "give --data SOURCE, or --precision fp32",
        )
    if len(F.without_average_precision(labelled.positive, labelled.known)) == len(labelled.labels):
        raise LabelwiseError(
            f"{len(used):,} images of {rows.source} in which no label has both a known positive and a known negative",
            "at least one such label to judge the precision by",
            "give --data SOURCE, or --precision fp32",
        )
    distance = float(np.concatenate(maps).mean()) if maps else None
    return _accuracy(np.concatenate(ours), np.concatenate(theirs), labelled, decisions, distance)


def _accuracy(
    ours: np.ndarray, theirs: np.ndarray, rows: Dataset, decisions: Decisions, maps: float | None
) -> Accuracy:
    """Compares logits `[N, L]`; the mAP is NaN if a logit of the export is not finite."""
    p, q = decisions.probabilities(ours), decisions.probabilities(theirs)
    finite = bool(np.isfinite(theirs).all())
    lacking = F.without_average_precision(rows.positive, rows.known)
    return Accuracy(
        len(ours),
        F.mean_average_precision(ours, rows.positive, rows.known),
        F.mean_average_precision(theirs, rows.positive, rows.known) if finite else float("nan"),
        float((decisions.select(p) == decisions.select(q)).mean()),
        float(np.where(np.isfinite(q), np.abs(p - q), 1.0).max()),
        maps,
        {rows.labels.names[j]: why for j, why in lacking.items()},
    )
