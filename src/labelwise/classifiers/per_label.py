"""A linear classifier of its own for every label."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PerLabelClassifier(nn.Module):
    """`z_l = <w_l, f_l> + b_l`.

    Args:
        num_labels: L.
        dim: D of the features.

    >>> PerLabelClassifier(3, 4)(torch.ones(2, 3, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, num_labels: int, dim: int) -> None:
        super().__init__()
        bound = dim**-0.5
        self.weight = nn.Parameter(torch.empty(num_labels, dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def forward(self, features: Float[Tensor, "B L D"]) -> Float[Tensor, "B L"]:
        """Logits of label features."""
        if features.stride(1) == 0:  # one vector for all labels: a plain matrix product
            return nn.functional.linear(features[:, 0], self.weight, self.bias)
        return (features * self.weight).sum(-1) + self.bias
