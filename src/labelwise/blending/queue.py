"""A queue of the latest features of each label."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from labelwise.distributed import joined_rows


class FeatureQueue(nn.Module):
    """Keeps, for each label, the latest features of known positive cells: first in, first out.

    The buffers `rows [L, K, D]`, `filled [L]` and `next [L]` are the whole state. Each process keeps the features of
    all processes, in the order of ranks.

    Args:
        num_labels: L.
        dim: D.
        size: K, features kept per label.

    Source: the cross-image memory of SST (2022).

    >>> queue = FeatureQueue(1, dim=1, size=2)
    >>> queue.put(torch.tensor([[[1.0]], [[2.0]], [[3.0]]]), torch.tensor([[True], [True], [True]]))
    >>> queue.rows.flatten().tolist(), queue.mean()[0].item()
    ([3.0, 2.0], 2.5)
    """

    rows: Tensor
    filled: Tensor
    next: Tensor

    def __init__(self, num_labels: int, dim: int, size: int = 100) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("rows", torch.zeros(num_labels, size, dim))
        self.register_buffer("filled", torch.zeros(num_labels, dtype=torch.long))
        self.register_buffer("next", torch.zeros(num_labels, dtype=torch.long))

    def mean(self) -> Float[Tensor, "L D"]:
        """Mean of each label's features; zeros for a label without any."""
        return self.rows.sum(1) / self.filled.clamp(min=1).unsqueeze(1)

    def put(self, features: Float[Tensor, "B L D"], present: Bool[Tensor, "B L"]) -> None:
        """Add the features of present cells, in the order of the rows."""
        rows, cells = joined_rows(features.detach(), present.to(torch.uint8))
        with torch.no_grad():
            self._write_rows(rows, cells.bool())

    def _write_rows(self, features: Float[Tensor, "B L D"], present: Bool[Tensor, "B L"]) -> None:
        """Write the latest K present features of each label, from its slot `next` on, in a ring."""
        number = present.sum(0).unsqueeze(1)
        # Each slot gathers the last of the label's rows that maps to it, so that no count is read from the device.
        slots = torch.arange(self.size, device=present.device)
        offset = (slots - self.next.unsqueeze(1)) % self.size
        last = offset + (number - 1 - offset).clamp(min=0) // self.size * self.size
        order = (~present).long().argsort(dim=0, stable=True)
        row = order.T.gather(1, last.clamp(max=len(present) - 1))
        labels = torch.arange(len(self.rows), device=present.device).unsqueeze(1)
        new = features[row, labels].to(self.rows.dtype)
        self.rows.copy_(torch.where((offset < number).unsqueeze(2), new, self.rows))
        self.next.copy_((self.next + number[:, 0]) % self.size)
        self.filled.copy_((self.filled + number[:, 0]).clamp(max=self.size))
