"""Label vectors: what a method knows of a label before it sees an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LabelVectors(nn.Module):
    """A vector for each label: given word vectors stay as they are, the rest are learned.

    Args:
        num_labels: L.
        dim: V, width of learned vectors; the width of `given` where that is not `None`.
        given: `[L, V]` word vectors, or `None` to learn all.
        learned: rows of `given` that are learned.

    >>> LabelVectors(3, 4)().shape, LabelVectors(3, 4, torch.ones(3, 2), [1])().shape
    (torch.Size([3, 4]), torch.Size([3, 2]))
    """

    def __init__(
        self,
        num_labels: int,
        dim: int = 50,
        given: Float[Tensor, "L V"] | None = None,
        learned: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.dim = dim if given is None else given.shape[1]
        self.rows = list(range(num_labels)) if given is None else sorted(learned)
        self.given: Tensor | None
        self.register_buffer("given", None if given is None else given.float().clone())
        scale = 1.0 if given is None else float(given.square().mean().sqrt().clamp(min=1e-3))
        self.learned = nn.Parameter(torch.randn(len(self.rows), self.dim) * scale) if len(self.rows) else None

    def forward(self) -> Float[Tensor, "L V"]:
        """The vectors of all labels."""
        if self.given is None or self.learned is None:
            return self.learned if self.given is None else self.given  # type: ignore[return-value]
        rows = torch.tensor(self.rows, device=self.given.device)
        return self.given.index_copy(0, rows, self.learned.to(self.given.dtype))
