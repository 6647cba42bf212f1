"""A teacher's outputs for a batch: scores and label features of another model, without gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace

from labelwise.lazy import Bool, Float, torch


@dataclass(frozen=True)
class TeacherBatch:
    """A teacher's outputs for the images of a batch.

    Args:
        logits: `[B, L]`, in the student's label order.
        features: `[B, L, E]` label features of unit length; `None` if only scores are distilled.
        weights: `[B, L]` in [0, 1], weight of each cell's feature.
        seen: `[B]`, rows to distil: neither filler rows nor images that the teacher could not read.
        share: `[B]` in [0, 1], weight of image i where it is blended with image B - 1 - i; `None` without blending.
        images: divisor of the loss on scores, if the batch is one of several in a step.
        cells: divisor of the loss on features in that case, a sum of weights.
    """

    logits: Float[torch.Tensor, "B L"]
    features: Float[torch.Tensor, "B L E"] | None
    weights: Float[torch.Tensor, "B L"]
    seen: Bool[torch.Tensor, " B"]
    share: Float[torch.Tensor, " B"] | None = None
    images: Float[torch.Tensor, ""] | None = None
    cells: Float[torch.Tensor, ""] | None = None

    def to(self, device: torch.device | str) -> TeacherBatch:
        """The same outputs on a device."""
        names = [
            name for name in ("logits", "features", "weights", "seen") if getattr(self, name) is not None
        ]
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})

    def joined(self, share: Float[torch.Tensor, " B"]) -> TeacherBatch:
        """Outputs for images blended with the reversed batch; there are no features of blended images.

        Args:
            share: `[B]`, weight of each image itself.
        """
        share = share.to(self.logits)
        seen = (self.seen | (share == 0)) & (self.seen.flip(0) | (share == 1))
        return replace(self, features=None, seen=seen, share=share)

    def scores(self, temperature: float) -> Float[torch.Tensor, "B L"]:
        """`sigmoid(z / T)`, blended as the images are."""
        scores = (self.logits / temperature).sigmoid()
        if self.share is None:
            return scores
        weight = self.share[:, None]
        return weight * scores + (1 - weight) * scores.flip(0)
