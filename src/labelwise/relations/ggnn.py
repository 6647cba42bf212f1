"""A gated graph network over labels that come together (GGNN), as SSGRL and DSRB place it behind the features."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.relations.cooccurrence import conditional
from labelwise.types import LabelPriors


class GGNN(nn.Module):
    """Label features exchange messages along co-occurrence, and gates decide what a label takes of them.

    With `h = f` at first and `M_ij = P(j | i)`, `steps` times, where `f <- tanh(W f + b)` before all if `inner`:

        a = [M h ; M^T h];  s = sigmoid(W1 a + U1 h);  r = sigmoid(W2 a + U2 h)
        c = tanh(W3 a + U3 (r * h));  h <- (1 - s) * h + s * c

    and at last `o_l = f_l + tanh(Linear[h_l ; f_l])`, without `f_l` unless `skip`. `M` is a buffer, which the weights
    carry, and is not learned.

    Args:
        dim: width of the label features.
        num_labels: L.
        priors: counts of the training split; `None` leaves the graph without edges until weights are read.
        inner: width of a tanh layer that features pass first; 0 for none.
        steps: rounds of messages; 0 keeps the last layer alone, whose input is then `[f ; f]`.
        hidden: width of h; 0 for that of f, and where it is another a linear layer makes `h` of `f`.
        output: width of o; 0 for `hidden`.
        skip: a label's feature is added to what the graph makes of it; where the widths differ it is not.
        tied: `U2 = U1`.
        graph: `cooccurrence`, or `isolated`, the control in which `M = I` and no label hears of another.
        kappa: weight of the base rate in the conditional, in images, >= 0.

    Raises:
        LabelwiseError: `inner`, `steps`, `hidden`, `output` or `kappa` below 0.

    Source: Chen et al., "Learning Semantic-Specific Graph Representation for Multi-Label Image Recognition" (2019).
    Differs: one bias per gate; the conditional copes with unknown states, see `conditional`; the released code uses
    one matrix where the equations have U1 and U2, which is `tied` here; `inner`; `skip`, without which few labels
    leave the layers undertrained (results/LOG.md).

    >>> GGNN(4, 3, priors=None)(torch.rand(2, 3, 4)).shape
    torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        dim: int,
        num_labels: int,
        priors: LabelPriors | None,
        inner: int = 0,
        steps: int = 3,
        hidden: int = 0,
        output: int = 0,
        skip: bool = True,
        tied: bool = False,
        graph: Literal["cooccurrence", "isolated"] = "cooccurrence",
        kappa: float = 10.0,
    ) -> None:
        super().__init__()
        if min(inner, steps, hidden, output) < 0:
            raise LabelwiseError(
                f"inner {inner}, steps {steps}, hidden {hidden}, output {output}",
                "numbers >= 0",
                "correct the relation",
            )
        self.inner = nn.Sequential(nn.Linear(dim, inner), nn.Tanh()) if inner else nn.Identity()
        dim = inner or dim
        width = hidden or dim
        self.dim, self.steps = output or width, steps
        self.skip = skip and self.dim == dim
        m = conditional(priors or LabelPriors.nothing(num_labels), kappa)
        self.graph: Tensor
        self.register_buffer("graph", torch.eye(num_labels) if graph == "isolated" else m.float())
        self.enter = nn.Linear(dim, width) if width != dim else nn.Identity()
        self.gates = _Gates(width, tied) if steps else None
        self.out = nn.Linear(width + dim, self.dim)

    def forward(self, features: Float[Tensor, "B L D"]) -> Float[Tensor, "B L E"]:
        """Features that know of the other labels' features."""
        features = self.inner(features)
        h = self.enter(features)
        if self.gates is not None:
            m = self.graph.to(h.dtype)
            for _ in range(self.steps):
                h = self.gates(h, torch.cat([m @ h, m.T @ h], -1))
        made = torch.tanh(self.out(torch.cat([h, features], -1)))
        return features + made if self.skip else made


class _Gates(nn.Module):
    """One round: what a label becomes of itself and of its messages."""

    def __init__(self, width: int, tied: bool) -> None:
        super().__init__()
        self.W = nn.Linear(2 * width, 3 * width)
        self.U = nn.Linear(width, width if tied else 2 * width, bias=False)
        self.U3 = nn.Linear(width, width, bias=False)

    def forward(self, h: Float[Tensor, "B L H"], a: Float[Tensor, "B L M"]) -> Float[Tensor, "B L H"]:
        s, r, c = self.W(a).chunk(3, -1)
        own = self.U(h)
        own_s, own_r = own.chunk(2, -1) if own.shape[-1] > h.shape[-1] else (own, own)
        s, r = torch.sigmoid(s + own_s), torch.sigmoid(r + own_r)
        c = torch.tanh(c + self.U3(r * h))
        return h + s * (c - h)
