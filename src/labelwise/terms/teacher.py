"""Distillation as an additional loss term: a teacher's scores and label features of the same images."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from labelwise.distributed import joined_sum
from labelwise.losses.distillation import feature_distance, score_divergence
from labelwise.options import Positive, Weight, checking
from labelwise.terms.term import Examples, Step


@checking("teacher")
class TeacherTerm(nn.Module):
    """Pulls a student's scores and label features towards those of its teacher.

        scores   = logits * mean over images and labels of T^2 KL(q || p)
        features = features * sum of w (1 - cos(M f, g)) / max(1, sum of w)

    with q and p the scores of teacher and student at temperature T, g and f their label features before any relation,
    and w the probability that the label is present, see `losses.distillation.presence`. The loss on scores does not
    use label states. M is a learned linear map if the widths differ; it is not part of the model.

    Args:
        own: width of the student's label features.
        width: width of the teacher's label features.
        logits: weight of the scores, >= 0.
        features: weight of the features, >= 0.
        temperature: T, > 0.

    Raises:
        LabelwiseError: an option is out of range.
    """

    needs_maps: ClassVar[bool] = False

    def __init__(
        self, own: int, width: int, logits: Weight = 1.0, features: Weight = 1.0, temperature: Positive = 1.0
    ) -> None:
        super().__init__()
        self.logits, self.features, self.temperature = logits, features, temperature
        self.map = nn.Linear(own, width) if features and own != width else nn.Identity()

    def forward(self, step: Step) -> dict[str, Tensor]:
        """Weighted `teacher_logits` and `teacher_features`; a 0 connected to the graph without a teacher's outputs."""
        taught, z, losses = step.taught, step.output.logits, {}
        with torch.autocast(z.device.type, enabled=False):
            if self.logits:
                if taught is None:
                    losses["teacher_logits"] = 0 * z.sum()
                else:
                    cells = score_divergence(z, taught.scores(self.temperature), self.temperature)
                    total = torch.where(taught.seen, cells.mean(1), 0).sum()
                    losses["teacher_logits"] = self.logits * _mean(total, taught.seen.sum(), taught.images)
            if self.features:
                student_features = self.map(step.output.decoupled.to(_precision(self.map, z)))
                if taught is None or taught.features is None:
                    losses["teacher_features"] = 0 * student_features.sum()
                else:
                    total = (taught.weights * feature_distance(student_features, taught.features)).sum()
                    losses["teacher_features"] = self.features * _mean(
                        total, taught.weights.sum(), taught.cells
                    )
        return losses

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Does nothing."""


def _mean(total: Tensor, number: Tensor, divisor: Tensor | None) -> Tensor:
    """A sum over all processes, divided by the total count or by the common divisor of the step's batches."""
    if divisor is None:
        divisor = joined_sum(number.to(total)).clamp(min=1)
    return joined_sum(total) / divisor


def _precision(part: nn.Module, like: Tensor) -> torch.dtype:
    """Dtype of the weights of a module, or of another tensor if it has none."""
    return next((p.dtype for p in part.parameters()), like.dtype)
