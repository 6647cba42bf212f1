"""Compares the average precision of a low-precision export with that of its run, over all labels and per label."""

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
from labelwise.rarity import FEWEST, format_names, format_rare, rare_labels

BAR = 1e-3
"""Largest allowed fall of the macro mAP: 0.1 point."""
LABEL_BAR = 0.02
"""Largest loss of average precision that a label may have: 2 points. One rank changes a rare label's by more."""


@dataclass(frozen=True)
class LabelAP:
    """Average precision of a label, in [0, 1], by the run and by the export, and its known positives."""

    run: float
    export: float
    positives: int

    @property
    def loss(self) -> float:
        """By how much the export's is lower."""
        return self.run - self.export

    def __str__(self) -> str:
        return f"{100 * self.export:.1f} beside {100 * self.run:.1f}"


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
        labels: average precision of each label that has one.
        without: labels that the mAP leaves out, each with what it lacks.
    """

    images: int
    run: float
    export: float
    equal: float
    probability: float
    maps: float | None
    labels: Mapping[str, LabelAP] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)

    @property
    def passes(self) -> bool:
        """Whether the export's mAP is at most `BAR` below the run's, and no label loses more than `LABEL_BAR`."""
        return self.run - self.export <= BAR and not self.worse

    @property
    def worse(self) -> dict[str, LabelAP]:
        """Labels that lose more than `LABEL_BAR`, the largest loss first; rare labels are not judged."""
        worse = {
            name: ap for name, ap in self.labels.items() if ap.positives >= FEWEST and ap.loss > LABEL_BAR
        }
        return dict(sorted(worse.items(), key=lambda item: -item[1].loss))

    @property
    def not_judged(self) -> dict[str, int]:
        """Rare labels, which may lose any average precision, with their known positives."""
        return rare_labels({name: ap.positives for name, ap in self.labels.items()})

    def demand(self, name: str) -> Accuracy:
        """Returns itself if it passes.

        Args:
            name: of the compared engine.

        Raises:
            LabelwiseError: the mAP falls by more than `BAR`, or a label loses more than `LABEL_BAR`.
        """
        if self.passes:
            return self
        expected = f"an mAP at most {100 * BAR:g} point below the run's"
        if self.worse:
            expected += (
                f", and no label with {FEWEST} positives or more to lose over {100 * LABEL_BAR:g} points of AP: "
                + format_names(f"{label} {ap}" for label, ap in self.worse.items())
            )
        raise LabelwiseError(f"{name} on {self}", expected, "give --precision fp32; nothing was written")

    def to_json(self) -> dict[str, Any]:
        """JSON data for the card."""
        return {
            "images": self.images,
            "mAP": self.export,
            "mAP_of_the_run": self.run,
            "decisions_equal": self.equal,
            "max_probability_difference": self.probability,
            "mean_map_distance": self.maps,
            "AP": {name: {"run": ap.run, "export": ap.export} for name, ap in self.labels.items()},
            "bounds": {"mAP": BAR, "loss_of_a_label": LABEL_BAR, "positives_of_a_judged_label": FEWEST},
            "labels_not_judged": self.not_judged,
            "labels_without_AP": dict(self.without),
        }

    def __str__(self) -> str:
        maps = "" if self.maps is None else f", maps apart by {self.maps:.1e}"
        rare = self.not_judged and f"; too few positives to judge the label: {format_rare(self.not_judged)}"
        without = without_ap({"labels_without_AP": self.without})
        return (
            f"{self.images:,} images: mAP {100 * self.export:.2f} beside the run's {100 * self.run:.2f}, "
            f"{self.equal:.2%} of the decisions equal, largest difference of a probability "
            f"{self.probability:.1e}{maps}{rare or ''}{without and '; ' + without}"
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
    row_numbers: list[int] = []
    run_logits, export_logits, maps = [], [], []
    for index, images in batches:
        run_batch, run_maps = reference(images, candidate.has_maps)
        export_batch, export_maps = candidate(images, candidate.has_maps)
        row_numbers += index
        run_logits.append(run_batch)
        export_logits.append(export_batch)
        if run_maps is not None and export_maps is not None:
            maps.append(np.abs(run_maps - export_maps).sum((2, 3)).mean(1) / 2)
    labelled = rows.take(row_numbers)
    if not labelled.positive.any():
        raise LabelwiseError(
            f"{rows.source} without a readable image that has a label",
            "labelled images to judge the precision on",
            "give --data SOURCE, or --precision fp32",
        )
    if len(F.without_average_precision(labelled.positive, labelled.known)) == len(labelled.labels):
        raise LabelwiseError(
            f"{len(row_numbers):,} images of {rows.source} in which no label has both a known positive "
            "and a known negative",
            "at least one such label to judge the precision by",
            "give --data SOURCE, or --precision fp32",
        )
    distance = float(np.concatenate(maps).mean()) if maps else None
    return _accuracy(np.concatenate(run_logits), np.concatenate(export_logits), labelled, decisions, distance)


def _accuracy(
    run_logits: np.ndarray, export_logits: np.ndarray, rows: Dataset, decisions: Decisions, maps: float | None
) -> Accuracy:
    """Compares logits `[N, L]`; the mAP is NaN if a logit of the export is not finite."""
    p, q = decisions.probabilities(run_logits), decisions.probabilities(export_logits)
    finite = bool(np.isfinite(export_logits).all())
    missing = F.without_average_precision(rows.positive, rows.known)
    run = F.average_precision(run_logits, rows.positive, rows.known)
    export = (
        F.average_precision(export_logits, rows.positive, rows.known) if finite else np.full_like(run, np.nan)
    )
    positives = rows.positive.sum(0)
    labels = {
        name: LabelAP(float(run[j]), float(export[j]), int(positives[j]))
        for j, name in enumerate(rows.labels.names)
        if j not in missing
    }
    return Accuracy(
        len(run_logits),
        float(np.mean([ap.run for ap in labels.values()])),
        float(np.mean([ap.export for ap in labels.values()])),
        float((decisions.select(p) == decisions.select(q)).mean()),
        float(np.where(np.isfinite(q), np.abs(p - q), 1.0).max()),
        maps,
        labels,
        {rows.labels.names[j]: reason for j, reason in missing.items()},
    )
