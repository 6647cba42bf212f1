"""Negative log probability, under a model's scores, that the rules of the labels are satisfied."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from labelwise.numerics import at_least_float32

Columns = Sequence[Sequence[int]]


def rule_loss(
    logits: Float[Tensor, "B L"], implies: Columns = (), exactly_one: Columns = (), at_most_one: Columns = ()
) -> Float[Tensor, "B R"]:
    """`-log P(rule is satisfied)` of each rule, for independent labels of probability `p = sigmoid(z)`.

        child implies parent    -log(1 - p_c (1 - p_p))
        exactly one of G        -log(sum over i in G of p_i times the product over the others of (1 - p_j))
        at most one of G        the same, with the product over all of G of (1 - p_j) added to the sum

    Computed in log space: `log(1 - p_c + p_c p_p)` by logaddexp, and `log P(exactly one) = logsumexp(z) +
    sum log(1 - p)`; at most one appends a 0 to `z`. It uses no label states, so unknown cells have it too.

    Args:
        logits: `[B, L]`.
        implies: (child, parent) columns.
        exactly_one: columns of each group.
        at_most_one: likewise.

    Returns:
        `[B, R]`, at least 0, in the order of the arguments, in fp32 or more.

    Source: Xu et al., A Semantic Loss Function for Deep Learning with Symbolic Knowledge, 2018, section 3.
    Differs: the loss of each rule separately in place of that of all rules jointly, which would need a compiled
        circuit.

    >>> rule_loss(torch.zeros(1, 2), implies=[(0, 1)], exactly_one=[(0, 1)]).exp().tolist()
    [[1.3333333730697632, 2.0]]
    """
    z = at_least_float32(logits)
    log_present, log_absent = F.logsigmoid(z), F.logsigmoid(-z)
    losses = []
    if implies:
        child, parent = torch.tensor([list(pair) for pair in implies], device=z.device).unbind(1)
        losses.append(-torch.logaddexp(log_absent[:, child], log_present[:, child] + log_present[:, parent]))
    for group in exactly_one:
        members = list(group)
        losses.append(-(z[:, members].logsumexp(1) + log_absent[:, members].sum(1))[:, None])
    for group in at_most_one:
        members = list(group)
        logits_and_zero = torch.cat([z[:, members], z.new_zeros(len(z), 1)], 1)
        losses.append(-(logits_and_zero.logsumexp(1) + log_absent[:, members].sum(1))[:, None])
    return torch.cat(losses, 1).clamp(min=0) if losses else z.new_zeros(len(z), 0)
