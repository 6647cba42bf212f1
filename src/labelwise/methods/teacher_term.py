"""What another run says of the same photographs as a further term: its scores and its label features."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from labelwise.distributed import joined_sum
from labelwise.losses.distillation import feature_distance, score_divergence
from labelwise.methods.method import Examples, Step
from labelwise.methods.schedule import within


class TeacherTerm(nn.Module):
    """A student's scores drawn to its teacher's, and its label features to the teacher's label features.

        scores   = logits * mean over images and labels of T^2 KL(q || p)
        features = features * sum of w (1 - cos(M f, g)) / max(1, sum of w)

    with q and p the scores of teacher and student at temperature T, g and f their label features before any relation,
    and w how likely the label is there, see `losses.distillation.presence`. No state is read for the scores: unknown
    cells learn as known ones do. M is a linear map that learns, where the widths differ; it is no part of the model.

    Args:
        own: width of the student's label features.
        width: of the teacher's.
        logits: weight of the scores, >= 0.
        features: weight of the features, >= 0.
        temperature: T, > 0.

    Raises:
        LabelwiseError: an option out of its range.
    """

    needs_maps: ClassVar[bool] = False

    def __init__(
        self, own: int, width: int, logits: float = 1.0, features: float = 1.0, temperature: float = 1.0
    ) -> None:
        super().__init__()
        within("teacher.logits", logits, 0)
        within("teacher.features", features, 0)
        within("teacher.temperature", temperature, 1e-3)
        self.logits, self.features, self.temperature = logits, features, temperature
        self.map = nn.Linear(own, width) if features and own != width else nn.Identity()

    def forward(self, step: Step) -> dict[str, Tensor]:
        """`teacher_logits` and `teacher_features`, weighted; a connected 0 of a batch without a teacher's answers."""
        taught, z, found = step.taught, step.output.logits, {}
        with torch.autocast(z.device.type, enabled=False):
            if self.logits:
                if taught is None:
                    found["teacher_logits"] = 0 * z.sum()
                else:
                    cells = score_divergence(z, taught.scores(self.temperature), self.temperature)
                    sums = torch.where(taught.seen, cells.mean(1), 0).sum()
                    found["teacher_logits"] = self.logits * _shared(sums, taught.seen.sum(), taught.images)
            if self.features:
                own = self.map(step.output.decoupled.to(_precision(self.map, z)))
                if taught is None or taught.features is None:
                    found["teacher_features"] = 0 * own.sum()
                else:
                    sums = (taught.weights * feature_distance(own, taught.features)).sum()
                    found["teacher_features"] = self.features * _shared(
                        sums, taught.weights.sum(), taught.cells
                    )
        return found

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """A teacher does not change; between epochs there is nothing to do."""


def _shared(total: Tensor, number: Tensor, divisor: Tensor | None) -> Tensor:
    """A sum over all processes, by their number or by what the batches of the step share."""
    if divisor is None:
        divisor = joined_sum(number.to(total)).clamp(min=1)
    return joined_sum(total) / divisor


def _precision(part: nn.Module, like: Tensor) -> torch.dtype:
    """Of the weights of a part, or of another tensor where it has none."""
    return next((p.dtype for p in part.parameters()), like.dtype)
