"""ADD-GCN's two graphs: one shared by all images, and one computed for each image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.registry import RELATIONS

SLOPE = 0.2


@RELATIONS.register("dynamic-graph")
class DynamicGraph(nn.Module):
    """Label features exchanged over a learned graph, then over a graph computed from the image's features.

    With label features `F [L, D]`, `act` LeakyReLU of slope .2 and `[g; h]` a concatenation:

        H = F + act(act(S F) Ws),                  S [L, L] learned
        g = act(Wg mean_l H_l)
        D_ij = sigmoid(<e_i, [g; H_j]> + c_i),     e_i [2 D] learned
        out_j = F_j + act(act(sum_i D_ij H_i / L) Wd)

    Memory is quadratic in L: one `[L, L]` matrix of the model and one per image.

    Args:
        dim: D.
        num_labels: L.

    Source: after Ye et al., "Attention-Driven Dynamic Graph Convolutional Network for Multi-Label Image Recognition"
    (2020), dynamic graph module.
    Differs: the sum over labels is divided by L, so that its scale does not depend on L; no batch norm on `g`, since
    its statistics would make an image depend on its batch.

    >>> DynamicGraph(4, num_labels=3)(torch.rand(2, 3, 4)).shape
    torch.Size([2, 3, 4])
    """

    def __init__(self, dim: int, num_labels: int) -> None:
        super().__init__()
        self.dim = dim
        self.static = nn.Parameter(torch.randn(num_labels, num_labels) * num_labels**-0.5)
        self.static_out = nn.Linear(dim, dim)
        self.summary = nn.Linear(dim, dim)
        self.dynamic = nn.Parameter(torch.randn(num_labels, 2 * dim) * (2 * dim) ** -0.5)
        self.dynamic_bias = nn.Parameter(torch.zeros(num_labels))
        self.dynamic_out = nn.Linear(dim, dim)

    def forward(self, features: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Label features after message passing."""
        shared = _act(torch.einsum("ij,bjd->bid", self.static, features))
        h = features + _act(self.static_out(shared))
        gathered = self.graph(h).transpose(1, 2) @ h / h.shape[1]
        return features + _act(self.dynamic_out(_act(gathered)))

    def graph(self, h: Float[Tensor, "B L D"]) -> Float[Tensor, "B L L"]:
        """The graph of each image: `[b, i, j]` is the weight of label i for label j."""
        g = _act(self.summary(h.mean(1)))
        of_image, of_label = self.dynamic.split(self.dim, 1)
        scores = torch.einsum("id,bjd->bij", of_label, h) + F.linear(g, of_image).unsqueeze(2)
        return (scores + self.dynamic_bias.unsqueeze(1)).sigmoid()


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)
