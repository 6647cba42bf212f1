"""The metrics as torchmetrics classes, accumulated over batches and processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch import distributed as dist
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from labelwise.errors import LabelwiseError
from labelwise.metrics import attributes, calibration, ranking, threshold
from labelwise.metrics.arrays import Array, Cells, one_of


class MeanAveragePrecision(Metric):
    """`mean_average_precision` over batches; keeps every score, 6 bytes per cell.

    Args:
        kind: `"raw"`, `"envelope"` or `"11point"`.
        empty: `"skip"` or `"zero"`, for labels without a known positive, as in `mean_average_precision`.

    >>> metric = MeanAveragePrecision()
    >>> metric.update(torch.tensor([[0.9, 0.2]]), torch.tensor([[1, 0]]))
    >>> metric.update(torch.tensor([[0.1, 0.3]]), torch.tensor([[0, 1]]))
    >>> metric.compute().item()
    1.0
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    scores: list[Tensor]
    targets: list[Tensor]
    known: list[Tensor]

    def __init__(self, kind: str = "raw", empty: str = "skip", **kwargs: Any) -> None:
        super().__init__(**{"dist_sync_fn": gather_rows, **kwargs})
        one_of("kind", kind, ranking.KINDS)
        one_of("empty", empty, ranking.EMPTY)
        self.kind, self.empty = kind, empty
        for name in ("scores", "targets", "known"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, targets: Tensor, known: Tensor | None = None) -> None:
        """Adds a batch: `[B, L]` each, on the metric's device."""
        cells = Cells.read(scores, targets, known)
        positive = cells.positive()
        cells.check_scores()
        device = scores.device
        self.scores.append(scores.detach().float())
        self.targets.append(torch.from_numpy(positive.astype(np.uint8)).to(device))
        self.known.append(torch.ones_like(scores, dtype=torch.bool) if known is None else known.bool())

    def compute(self) -> Float[Tensor, ""]:
        """The mean over labels, float64."""
        targets, known = _joined(self.targets), _joined(self.known)
        positives = ((targets == 1) & known).sum(0).cpu().numpy()
        zeros = np.flatnonzero(positives == 0) if self.empty == "zero" else ()
        values = self.per_label().cpu().numpy()
        return torch.tensor(ranking.mean_over_labels(values, zeros), dtype=torch.float64)

    def per_label(self) -> Float[Tensor, " L"]:
        """Average precision of each label from the data of this process; NaN as in `average_precision`."""
        scores, targets, known = (_joined(state) for state in (self.scores, self.targets, self.known))
        return torch.as_tensor(ranking.average_precision(scores, targets, known, self.kind))


class ThresholdMetrics(Metric):
    """`threshold_metrics` over batches; keeps four counts per label.

    Args:
        labels: number of labels.
        threshold, top_k, top_k_rule: as in `threshold_metrics`.

    >>> metric = ThresholdMetrics(labels=2)
    >>> metric.update(torch.tensor([[0.9, 0.2], [0.7, 0.8]]), torch.tensor([[1, 0], [0, 1]]))
    >>> metric.compute()["OP"].item()
    0.666...
    """

    is_differentiable = False
    full_state_update = False
    counts: Tensor

    def __init__(
        self,
        labels: int,
        threshold: float | Sequence[float] | Array = 0.5,
        top_k: int | None = None,
        top_k_rule: str = "and-threshold",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.options = (threshold, top_k, top_k_rule)
        self.add_state("counts", default=torch.zeros(4, labels, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, targets: Tensor, known: Tensor | None = None) -> None:
        """Adds a batch: `[B, L]` each, on the metric's device."""
        _check_labels(scores, self.counts.shape[1])
        self.counts += _stacked(threshold.count_decisions(scores, targets, known, *self.options)).to(
            self.counts.device
        )

    def compute(self) -> dict[str, Tensor]:
        """The metrics of `threshold_metrics`, each a float64 scalar."""
        return _scalars(threshold.summarise_decisions(threshold.Counts(*self.counts.cpu().numpy())))


class AttributeMetrics(Metric):
    """`attribute_metrics` over batches; keeps four counts per label and five sums over images.

    Args:
        labels: number of labels.
        threshold, f1: as in `attribute_metrics`.
    """

    is_differentiable = False
    full_state_update = False
    counts: Tensor
    images: Tensor

    def __init__(
        self,
        labels: int,
        threshold: float | Sequence[float] | Array = 0.5,
        f1: str = "of-means",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        one_of("f1", f1, attributes.F1_KINDS)
        self.threshold, self.f1 = threshold, f1
        self.add_state("counts", default=torch.zeros(4, labels, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", default=torch.zeros(5, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, targets: Tensor, known: Tensor | None = None) -> None:
        """Adds a batch: `[B, L]` each, on the metric's device."""
        _check_labels(scores, self.counts.shape[1])
        counts = attributes.count_attributes(scores, targets, known, self.threshold)
        self.counts += _stacked(counts.labels).to(self.counts.device)
        self.images += torch.from_numpy(counts.images).to(self.images.device)

    def compute(self) -> dict[str, Tensor]:
        """The metrics of `attribute_metrics`, each a float64 scalar."""
        labels = threshold.Counts(*self.counts.cpu().numpy())
        counts = attributes.AttributeCounts(labels, self.images.cpu().numpy())
        return _scalars(attributes.summarise_attributes(counts, self.f1))


class CalibrationError(Metric):
    """Mean over labels of the equal-width `calibration_error` over batches; keeps three sums per label and bin."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    sums: Tensor

    def __init__(self, labels: int, bins: int = calibration.BINS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state(
            "sums", default=torch.zeros(3, labels, bins, dtype=torch.float64), dist_reduce_fx="sum"
        )

    def update(self, scores: Tensor, targets: Tensor, known: Tensor | None = None) -> None:
        """Adds a batch of probabilities: `[B, L]` each, on the metric's device."""
        _check_labels(scores, self.sums.shape[1])
        counts = calibration.reliability(scores, targets, known, self.sums.shape[2])
        self.sums += torch.from_numpy(np.stack((counts.cells, counts.probability, counts.positive))).to(
            self.sums.device
        )

    def compute(self) -> Float[Tensor, ""]:
        """The mean over labels with a known cell, float64."""
        per_label = calibration.errors(calibration.BinCounts(*self.sums.cpu().numpy()))
        return torch.tensor(ranking.mean_over_labels(per_label), dtype=torch.float64)


def gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """Rows of every process, which may have different numbers of rows or none.

    torchmetrics passes a one-dimensional float tensor for a process without data, which cannot be concatenated with
    the others; it is first replaced by an empty tensor of their width and type.
    """
    layouts: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(layouts, (tuple(rows.shape[1:]), rows.dtype, len(rows)), group=group)
    nonempty = next((layout for layout in layouts if layout[2]), None)
    if nonempty is not None and not len(rows):
        rows = torch.zeros((0, *nonempty[0]), dtype=nonempty[1], device=rows.device)
    return gather_all_tensors(rows, group)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """A state before (list) or after (tensor) it was gathered."""
    if isinstance(state, Tensor):
        return state
    if not state:
        raise LabelwiseError("a metric without data", "at least one batch", "call update before compute")
    return torch.cat(state)


def _check_labels(scores: Tensor, labels: int) -> None:
    if scores.shape[-1:] != (labels,):
        raise LabelwiseError(
            f"scores of shape {tuple(scores.shape)}",
            f"[images, {labels}]",
            "build the metric for as many labels",
        )


def _stacked(counts: threshold.Counts) -> Tensor:
    rows = (counts.hits, counts.predicted, counts.positives, counts.known)
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def _scalars(figures: dict[str, float]) -> dict[str, Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in figures.items()}
