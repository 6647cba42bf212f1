"""A gated graph neural network (GGNN) on co-occurring labels, as in SSGRL and DSRB."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.options import Natural, Weight
from labelwise.registry import RELATIONS
from labelwise.relations.cooccurrence import conditional
from labelwise.types import LabelPriors


@RELATIONS.register("ggnn")
class GGNN(nn.Module):
    """Gated message passing between label features along co-occurrence.

    If `inner`, first `f <- tanh(W f + b)`. With initial `h = f` and `M_ij = P(j | i)`, `steps` times:

        a = [M h ; M^T h];  s = sigmoid(W1 a + U1 h);  r = sigmoid(W2 a + U2 h)
        c = tanh(W3 a + U3 (r * h));  h <- (1 - s) * h + s * c

    The output is `o_l = f_l + tanh(Linear[h_l ; f_l])`, without `f_l` unless `skip`. `M` is a buffer that is saved with
    the weights and not learned.

    Args:
        dim: width of the label features.
        num_labels: L.
        priors: counts of the training split; with `None` the graph has no edges until weights are loaded.
        inner: width of a tanh layer before the graph; 0 for none.
        steps: rounds of messages; with 0 there is only the last layer, with input `[f ; f]`.
        hidden: width of h; 0 for that of f; another width adds a linear layer from `f` to `h`.
        output: width of o; 0 for `hidden`.
        skip: add a label's feature to the output of the graph, if the widths are equal.
        tied: `U2 = U1`.
        kappa: weight of the base rate in the conditional probability, in images, >= 0.

    Raises:
        LabelwiseError: `inner`, `steps`, `hidden`, `output` or `kappa` below 0.

    Source: Chen et al., "Learning Semantic-Specific Graph Representation for Multi-Label Image Recognition" (2019).
    Differs: one bias per gate; the conditional probability allows for unknown states, see `conditional`; the released
    code uses one matrix for U1 and U2 of the equations, which is `tied` here; `inner`; `skip`, without which the layers
    are undertrained with few labels (results/LOG.md).

    >>> GGNN(4, 3, priors=None)(torch.rand(2, 3, 4)).shape
    torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        dim: int,
        num_labels: int,
        priors: LabelPriors | None,
        inner: Natural = 0,
        steps: Natural = 3,
        hidden: Natural = 0,
        output: Natural = 0,
        skip: bool = True,
        tied: bool = False,
        kappa: Weight = 10.0,
    ) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(dim, inner), nn.Tanh()) if inner else nn.Identity()
        dim = inner or dim
        width = hidden or dim
        self.dim, self.steps = output or width, steps
        self.skip = skip and self.dim == dim
        m = conditional(priors or LabelPriors.nothing(num_labels), kappa)
        self.graph: Tensor
        self.register_buffer("graph", m.float())
        self.enter = nn.Linear(dim, width) if width != dim else nn.Identity()
        self.gates = _Gates(width, tied) if steps else None
        self.out = nn.Linear(width + dim, self.dim)

    def forward(self, features: Float[Tensor, "B L D"]) -> Float[Tensor, "B L E"]:
        """Label features after message passing."""
        features = self.inner(features)
        h = self.enter(features)
        if self.gates is not None:
            m = self.graph.to(h.dtype)
            for _ in range(self.steps):
                h = self.gates(h, torch.cat([m @ h, m.T @ h], -1))
        output = torch.tanh(self.out(torch.cat([h, features], -1)))
        return features + output if self.skip else output


class _Gates(nn.Module):
    """One gated update of label states from messages."""

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
