"""Predicts which pairs of labels an image has, from their features."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from labelwise.losses import functional as L
from labelwise.numerics import at_least_float32


class PairHead(nn.Module):
    """One logit for each pair of labels, from the features of both.

        g_l = W0 f_l + b0;   z_ij = <c_ij, W2 relu(W1 [g_i; g_j] + b1)> + b_ij,   i < j

    `W1` is applied to each label before pairs are formed, and `W2` to `c` independently of images; both are exact.

    Args:
        num_labels: L; there are L (L - 1) / 2 pairs.
        dim: D.
        width: of `g`; later layers are twice as wide.
        chunk: pairs computed at once; with more pairs, activations are recomputed in the backward pass.

    Source: the intra-image transfer of SST (2022), with width 512.
    Differs: `W2` has no bias, since `b_ij` includes it.

    >>> PairHead(4, dim=3, width=2)(torch.rand(5, 4, 3)).shape
    torch.Size([5, 6])
    """

    left: Tensor
    right: Tensor

    def __init__(self, num_labels: int, dim: int, width: int = 64, chunk: int = 4096) -> None:
        super().__init__()
        left, right = torch.triu_indices(num_labels, num_labels, 1)
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.chunk, hidden = chunk, 2 * width
        self.enter = nn.Linear(dim, width)
        self.first = nn.Linear(2 * width, hidden)
        self.second = nn.Linear(hidden, hidden, bias=False)
        self.weight = nn.Parameter(torch.empty(len(left), hidden).uniform_(-1, 1) / hidden**0.5)
        self.bias = nn.Parameter(torch.zeros(len(left)))

    def forward(self, features: Float[Tensor, "B L D"]) -> Float[Tensor, "B N"]:
        """Logits of all pairs, ordered as `left`, `right`."""
        g = self.enter(features)
        of_left, of_right = self.first.weight.chunk(2, 1)
        a, b = nn.functional.linear(g, of_left, self.first.bias), nn.functional.linear(g, of_right)
        weight = self.weight @ self.second.weight
        chunks = zip(
            self.left.split(self.chunk),
            self.right.split(self.chunk),
            weight.split(self.chunk),
            strict=True,
        )
        if len(self.left) <= self.chunk:
            logits = [_pair_logits(a, b, *chunk) for chunk in chunks]
        else:
            logits = [checkpoint(_pair_logits, a, b, *chunk, use_reentrant=False) for chunk in chunks]
        return at_least_float32(torch.cat(logits, 1)) + self.bias

    def loss(self, logits: Float[Tensor, "B N"], present: Bool[Tensor, "B L"]) -> Float[Tensor, ""]:
        """ASL (2, 1, margin .05): a pair is positive if both labels are known positives, and negative otherwise.

        The mean is over the pairs of images with any known positive.
        """
        counted = present.any(1, keepdim=True).expand(logits.shape)
        with torch.autocast(logits.device.type, enabled=False):
            both = (present[:, self.left] & present[:, self.right]).to(logits.dtype)
            return L.reduce(L.asymmetric(logits, both, 2.0, 1.0, 0.05), counted)

    @torch.no_grad()
    def score(
        self, logits: Float[Tensor, "B N"], present: Bool[Tensor, "B L"]
    ) -> tuple[Float[Tensor, "B L"], Bool[Tensor, "B L"]]:
        """Mean probability of each label's pairs with the image's other known positives, and whether any exist."""
        p = logits.new_zeros(len(logits), present.shape[1], present.shape[1])
        p[:, self.left, self.right] = logits.sigmoid()
        p = p + p.transpose(1, 2)
        others = present.sum(1, keepdim=True) - present.long()
        total = (p @ present.to(p.dtype).unsqueeze(2)).squeeze(2)
        return total / others.clamp(min=1), others > 0


def _pair_logits(a: Tensor, b: Tensor, left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Logits of some pairs without their bias; a function of its own, so that it can be checkpointed."""
    return torch.einsum("bnh,nh->bn", (a[:, left] + b[:, right]).relu(), weight)
