"""Co-occurrence of labels, estimated from a training split with unknown label states."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.types import LabelPriors


def conditional(priors: LabelPriors, kappa: float = 10.0) -> Float[Tensor, "L L"]:
    """Conditional probability of the column's label given the row's: `M_ij = P(j | i)`.

        M_ij = (N_ij + kappa pi_j) / (R_ij + kappa),   M_ii = 1

    `N_ij` counts images where both labels are known positives, `R_ij` images where i is a known positive and the state
    of j is known, and `pi_j` is the share of positives among the known cells of j. Images where j is unknown are not
    counted, so that the scale of a row does not depend on the share of known cells. `kappa` is a pseudo-count of images
    at the base rate. A label without a known positive gets the base rates, or zeros.

    Args:
        priors: counts of the training split; the result is the identity if all are 0.
        kappa: weight of the base rate, in images, >= 0.

    Raises:
        LabelwiseError: `kappa` below 0.

    Source: the released code of methods related to SSGRL.
    Differs: there an unknown j counts as absent, which scales every entry by the known share, and a label without a
    known positive has NaN; co-known counts and the shrinkage are ours.

    >>> from labelwise.types import Targets
    >>> states = torch.tensor([[1.0, 1.0], [1.0, float("nan")], [1.0, 0.0]])
    >>> conditional(LabelPriors.count(Targets.of(states)), kappa=0).tolist()
    [[1.0, 0.5], [1.0, 1.0]]
    """
    if kappa < 0:
        raise LabelwiseError(f"kappa {kappa}", "a number >= 0", "correct the graph's kappa")
    weight = priors.anchored + kappa
    total = priors.together + kappa * priors.positive_rate
    m = torch.where(weight > 0, total / weight.clamp(min=torch.finfo(weight.dtype).tiny), 0)
    return m.fill_diagonal_(1.0)


def ml_gcn_adjacency(
    m: Float[Tensor, "L L"], threshold: float = 0.4, share: float = 0.25, inclusive: bool = False
) -> Float[Tensor, "L L"]:
    """ML-GCN's adjacency from `M_ij = P(j | i)`: each label gathers from the labels that imply it.

        B_ij = 1[M_ij > threshold] off the diagonal, or 1[M_ij >= threshold];   A = I + share B / (colsum B + 1e-6)
        A_hat = (D^-1/2 A D^-1/2)^T,   D = diag(rowsum A)

    Column j of `B` holds the labels i that imply j; their total weight is `share`, and that of j itself is 1. Row j of
    the product `A_hat E` with label vectors gathers from exactly these.

    Args:
        m: `[L, L]`, see `conditional`.
        threshold: conditional probability above which there is an edge, in [0, 1].
        share: total weight of all neighbours of a label, >= 0.
        inclusive: a conditional probability equal to the threshold is also an edge.

    Raises:
        LabelwiseError: `share` below 0.

    Source: Chen et al., "Multi-Label Image Recognition with Graph Convolutional Networks" (2019).
    Differs: the released code counts a conditional equal to the threshold as an edge, which is `inclusive`.

    >>> ml_gcn_adjacency(torch.eye(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if share < 0:
        raise LabelwiseError(f"share {share}", "a number >= 0", "correct the graph's share")
    edges = (m >= threshold if inclusive else m > threshold).to(m.dtype).fill_diagonal_(0.0)
    a = share * edges / (edges.sum(0) + 1e-6)
    a.fill_diagonal_(1.0)
    root = a.sum(1).rsqrt()
    return (root[:, None] * a * root).T.contiguous()
