"""Losses per cell, and their masking and reduction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from labelwise.distributed import processes
from labelwise.numerics import at_least_float32

Cells = Float[Tensor, "B L"]
Mask = Bool[Tensor, "B L"]
Reduction = Literal["mean_known", "label_sum", "sum"]


def reduce(
    cells: Cells,
    known: Mask,
    reduction: Reduction = "mean_known",
    divisor: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Mask unknown cells and reduce to one number.

    `mean_known`: sum over known cells / max(1, their number); `label_sum`: sum over labels, mean over images; `sum`:
    sum over known cells. `sum` is B x L times `mean_known` on full labels, so learning rates do not transfer between
    them. In distributed training the result is scaled so that the mean over processes, over which gradients are
    averaged, equals the value of the whole batch in one process.

    Args:
        cells: loss of each cell.
        known: cells that count.
        reduction: see above.
        divisor: `common_divisor` of the batches of a step; `None` if the step has only this batch.
    """
    total = torch.where(known, cells, 0).sum()
    denominator = common_divisor([known], reduction) if divisor is None else divisor
    return total / denominator.to(total.dtype)


def common_divisor(
    known: Sequence[Bool[Tensor, "_ L"]], reduction: Reduction = "mean_known"
) -> Float[Tensor, ""]:
    """Divisor of each of several batches, so that the mean of their losses is the loss of one large batch.

    `mean_known`: number of known cells, at least 1; `label_sum`: number of images; `sum`: 1. Each is summed over all
    batches and processes and divided by batches x processes, since the mean is over both.

    Args:
        known: cells that count, of each batch of this process; every process has the same number of batches.

    >>> common_divisor([torch.ones(1, 3, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)]).item()
    4.5
    """
    device = known[0].device
    if reduction == "mean_known":
        count = torch.stack([mask.sum() for mask in known]).sum()
    else:
        count = torch.full(
            (), sum(len(mask) for mask in known) if reduction == "label_sum" else 1, device=device
        )
    count = count.to(torch.float32)
    if processes() > 1 and reduction != "sum":
        torch.distributed.all_reduce(count)
    return count.clamp(min=1) / (len(known) * processes())


def binary_cross_entropy(logits: Cells, values: Cells) -> Cells:
    """`-y log p - (1 - y) log(1 - p)` per cell, `p = sigmoid(z)`.

    >>> round(binary_cross_entropy(torch.zeros(1, 1), torch.ones(1, 1)).item(), 6)
    0.693147
    """
    logits = at_least_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, values.to(logits.dtype), reduction="none")


def weighted_binary_cross_entropy(logits: Cells, values: Cells, positive_rate: Float[Tensor, " L"]) -> Cells:
    """BCE with weight `exp(1 - r_l)` on positives and `exp(r_l)` on negatives.

    Args:
        positive_rate: `[L]`, share of positives among the known cells of the training split, in [0, 1].

    Source: the weighting of the authors' pedestrian attribute code (Rethinking_of_PAR).
    """
    weight = values * torch.exp(1 - positive_rate) + (1 - values) * torch.exp(positive_rate)
    return weight * binary_cross_entropy(logits, values)


def focal(logits: Cells, values: Cells, gamma: float = 2.0, alpha: float = 0.25) -> Cells:
    """`alpha_t (1 - p_t)^gamma BCE`; `alpha_t = alpha` for positives, `1 - alpha` for negatives, 1 if `alpha >= 1`.

    >>> round(focal(torch.zeros(1, 1), torch.ones(1, 1)).item(), 7)
    0.0433217
    """
    logits, values = at_least_float32(logits), at_least_float32(values)
    # sigmoid(-z), since 1 - p rounds to 0 for a confident positive, where gamma < 1 would have no finite gradient.
    miss = values * torch.sigmoid(-logits) + (1 - values) * torch.sigmoid(logits)
    weight = values * alpha + (1 - values) * (1 - alpha) if alpha < 1 else torch.ones_like(values)
    return weight * miss**gamma * binary_cross_entropy(logits, values)


def asymmetric(
    logits: Cells,
    values: Cells,
    gamma_negative: float = 2.0,
    gamma_positive: float = 0.0,
    margin: float = 0.0,
    detach_focal: bool = True,
) -> Cells:
    """Asymmetric loss in a form that is finite in every precision.

    `-y (1 - p)^g+ log p - (1 - y) p_m^g- log(1 - p_m)`, `p_m = max(p - m, 0)`.

    Args:
        logits: `[B, L]`.
        values: `[B, L]` in [0, 1].
        gamma_negative: `g-`, >= 0.
        gamma_positive: `g+`, >= 0.
        margin: m, in [0, 1).
        detach_focal: no gradient through the focusing weights `(1 - p)^g+` and `p_m^g-`.

    Source: Ridnik et al., "Asymmetric Loss for Multi-Label Classification" (2021).
    Differs: log-sigmoid and log1p in place of a clamped logarithm; loss and gradient are exactly 0 for `p <= m`. The
    released code has one class for each value of `detach_focal`.

    >>> round(asymmetric(torch.zeros(1, 1), torch.zeros(1, 1), 4.0, 1.0, 0.05).item(), 6)
    0.024515
    """
    logits, values = at_least_float32(logits), at_least_float32(values)
    p = torch.sigmoid(logits)
    if margin > 0:
        shifted = (p - margin).clamp(min=0)
        log_negative = torch.log1p(-shifted)
    else:
        shifted, log_negative = p, F.logsigmoid(-logits)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach_focal):
        # An exponent of 0 gives 1 everywhere, so the power is skipped to save a pass over memory.
        weight_positive = (
            values * _power(torch.sigmoid(-logits), gamma_positive) if gamma_positive else values
        )
        weight_negative = (1 - values) * _power(shifted, gamma_negative) if gamma_negative else 1 - values
    return -weight_positive * F.logsigmoid(logits) - weight_negative * log_negative


def _power(base: Cells, exponent: float) -> Cells:
    """`base^exponent` with a finite gradient at 0 for exponents below 1."""
    return base.clamp(min=torch.finfo(base.dtype).tiny) ** exponent if exponent < 1 else base**exponent
