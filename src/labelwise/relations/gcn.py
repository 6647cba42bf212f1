"""A graph convolutional network (GCN) on label vectors."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.errors import LabelwiseError
from labelwise.relations.cooccurrence import conditional, ml_gcn_adjacency
from labelwise.types import LabelPriors


class GCN(nn.Module):
    """Two graph convolutions of label vectors: `W = A LeakyReLU(A E W1) W2`.

    `A` is ML-GCN's adjacency of the training split's co-occurrence, a buffer that is saved with the weights. The
    layers have no biases. With `A = I` it is a network of two layers on each label's own vector.

    Args:
        dim: D of the outputs.
        num_labels: L.
        vectors: returns the label vectors E `[L, V]`; has `dim`, V.
        priors: counts of the training split; with `None` the graph has no edges until weights are loaded.
        hidden: width between the layers, >= 1.
        threshold: conditional probability above which there is an edge, in [0, 1].
        share: total weight of all neighbours of a label, >= 0.
        kappa: weight of the base rate in the conditional probability, in images, >= 0.
        inclusive: a conditional probability equal to the threshold is also an edge.

    Raises:
        LabelwiseError: `hidden` below 1, `share` or `kappa` below 0.

    Source: Chen et al., "Multi-Label Image Recognition with Graph Convolutional Networks" (2019).
    Differs: the conditional probability allows for unknown states, see `conditional`.

    >>> from labelwise.relations import LabelVectors
    >>> GCN(4, 3, LabelVectors(3, 5))().shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        dim: int,
        num_labels: int,
        vectors: nn.Module,
        priors: LabelPriors | None = None,
        hidden: int = 256,
        threshold: float = 0.4,
        share: float = 0.25,
        kappa: float = 10.0,
        inclusive: bool = False,
    ) -> None:
        super().__init__()
        if hidden < 1:
            raise LabelwiseError(f"hidden {hidden}", "a width >= 1", "correct the graph's hidden width")
        self.dim, self.vectors = dim, vectors
        m = conditional(priors or LabelPriors.nothing(num_labels), kappa)
        self.adjacency: Tensor
        self.register_buffer("adjacency", ml_gcn_adjacency(m.float(), threshold, share, inclusive))
        self.first = nn.Linear(int(vectors.dim), hidden, bias=False)  # type: ignore[arg-type]
        self.second = nn.Linear(hidden, dim, bias=False)

    def forward(self) -> Float[Tensor, "L D"]:
        """One vector of width D for each label."""
        e = self.vectors()
        a = self.adjacency.to(e.dtype)
        h = F.leaky_relu(self.first(a @ e), 0.2)
        return self.second(a @ h)
