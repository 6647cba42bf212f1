"""What a teacher says of a batch: scores and label features that another model gave, without gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Bool, Float

from labelwise.lazy import torch


@dataclass(frozen=True)
class Taught:
    """A teacher's answers to the images of a batch.

    Args:
        logits: `[B, L]`, in the label order of the one who learns.
        features: `[B, L, E]` label features of length 1; `None` where scores alone are taught.
        weights: `[B, L]` in [0, 1], what each cell's feature counts.
        seen: `[B]`, rows to learn from: not a filling, nor a photograph that the teacher could not read.
        share: `[B]` in [0, 1], of an image itself where it is joined with the one as far from the batch's other end;
            `None` for images as they are.
        images: number of images that the loss of scores divides by where the batch is one of several of a step.
        cells: sum of weights that the loss of features divides by there.
    """

    logits: Float[torch.Tensor, "B L"]
    features: Float[torch.Tensor, "B L E"] | None
    weights: Float[torch.Tensor, "B L"]
    seen: Bool[torch.Tensor, " B"]
    share: Float[torch.Tensor, " B"] | None = None
    images: Float[torch.Tensor, ""] | None = None
    cells: Float[torch.Tensor, ""] | None = None

    def to(self, device: torch.device | str) -> Taught:
        """The same answers on a device."""
        names = [
            name for name in ("logits", "features", "weights", "seen") if getattr(self, name) is not None
        ]
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})

    def joined(self, share: Float[torch.Tensor, " B"]) -> Taught:
        """Answers to images that are joined with the batch reversed; such images have no features of their own.

        Args:
            share: `[B]`, of each image itself.
        """
        share = share.to(self.logits)
        seen = (self.seen | (share == 0)) & (self.seen.flip(0) | (share == 1))
        return replace(self, features=None, seen=seen, share=share)

    def scores(self, temperature: float) -> Float[torch.Tensor, "B L"]:
        """`sigmoid(z / T)`, blended as the images are."""
        found = (self.logits / temperature).sigmoid()
        if self.share is None:
            return found
        own = self.share[:, None]
        return own * found + (1 - own) * found.flip(0)
