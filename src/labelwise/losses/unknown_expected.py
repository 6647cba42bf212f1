"""Regularisation of unknown cells by the expected number of labels per image: EPR and ROLE."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from labelwise.distributed import joined_sum
from labelwise.errors import LabelwiseError
from labelwise.losses.functional import Cells, binary_cross_entropy
from labelwise.losses.unknown import Facts, Strategy, StrategyInputs, Verdict, remember
from labelwise.options import Weight
from labelwise.registry import STRATEGIES

UpToThousand = Annotated[float, Field(ge=0, le=1000)]


def labels_per_image(inputs: StrategyInputs, p: Cells) -> Float[Tensor, ""]:
    """`mean over images of sum over labels of p`, in the batch of all processes."""
    rows = inputs.counts.any(1, keepdim=True).to(p.dtype)
    return joined_sum((p * rows).sum()) / joined_sum(rows.sum()).clamp(min=1)


def surplus(inputs: StrategyInputs, p: Cells, expected: float) -> Float[Tensor, ""]:
    """Difference of the predicted and the expected number of labels per image, divided by L."""
    return (labels_per_image(inputs, p) - expected) / p.shape[1]


@STRATEGIES.register("epr")
class ExpectedPositives(Strategy):
    """EPR: unknown cells have no loss of their own, but the mean number of predicted labels is regularised.

        loss = sum of known cells / (B L) + weight * ((mean_b sum_l p_bl - k) / L)^2

    The first sum is divided by the number of all cells, so that a few known cells do not outweigh the second term.

    Args:
        facts: of the training rows.
        expected: k, mean number of labels per image; required, since it cannot be estimated with unknown cells.
        weight: of the term, from 0 to 1000.

    Raises:
        LabelwiseError: `expected` is missing or not in (0, L].

    Source: Cole et al. (2021); their k: VOC 1.5, COCO 2.9, NUS-WIDE 1.9, CUB 31.4.
    """

    treatment: ClassVar[str] = "regularised by the expected number of labels per image"

    def __init__(self, facts: Facts, expected: Weight = 0.0, weight: UpToThousand = 1.0) -> None:
        super().__init__()
        self.expected = check_expected(expected, facts.labels)
        self.weight = weight

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """Zeros that count in the mean, and the regularisation of the batch."""
        whole = self.weight * surplus(inputs, torch.sigmoid(inputs.logits), self.expected).square()
        return Verdict(torch.zeros_like(inputs.logits), whole=whole)


@STRATEGIES.register("role")
class OnlineLabelEstimates(Strategy):
    """ROLE: a table of label estimates is learned with the model; on unknown cells each is the target of the other.

        s(z) = H(T, p) / 2  without gradient to T;   whole = R(p) / 2,  R as in EPR
        logits of T change by  - rate * d/dT [ H(p, T) / 2 + R(T) / 2 ]  without gradient to p, in each step of a row

    H is the cross-entropy of its second argument under its first. Known cells have their known value in T.

    Args:
        facts: of the training rows.
        expected: mean number of labels per image, as in EPR.
        rate: of the table, from 0 to 16; at 4 an estimate near 0.5 moves half of the way in each step.
        weight: of R, from 0 to 1000.

    Raises:
        LabelwiseError: `expected` is missing or not in (0, L].

    Source: Cole et al. (2021).
    Differs: the table starts at the expected rate, the minimum of R, rather than near 0.5 after a linear phase. It is a
        buffer updated by plain gradient steps, in place of the model's optimiser at ten times the rate, so that a row
        changes only in its own steps. Known cells keep their plain loss.
    """

    treatment: ClassVar[str] = "estimated in a table that is learned with the model"
    table: Tensor

    def __init__(
        self,
        facts: Facts,
        expected: Weight = 0.0,
        rate: Annotated[float, Field(ge=0, le=16)] = 4.0,
        weight: UpToThousand = 1.0,
    ) -> None:
        super().__init__()
        self.expected = check_expected(expected, facts.labels)
        self.rate, self.weight = rate, weight
        share = min(0.95, self.expected / facts.labels)
        self.register_buffer("table", torch.full((facts.rows, facts.labels), math.log(share / (1 - share))))

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The loss with the estimates as targets; then the estimates are updated."""
        p = torch.sigmoid(inputs.logits)
        estimates = self.table[inputs.moment.index.to(self.table.device)].to(p.dtype)
        t = torch.where(inputs.known, inputs.values, torch.sigmoid(estimates))
        whole = self.weight / 2 * surplus(inputs, p, self.expected).square()
        if inputs.moment.stores_state:
            gradient = (torch.sigmoid(estimates) - p.detach()) / 2
            gradient = gradient + self.weight * surplus(inputs, t, self.expected) * t * (1 - t)
            updated = estimates - self.rate * gradient
            updated = torch.where(inputs.hidden & updated.isfinite(), updated, estimates)
            remember(self.table, inputs, updated)
        return Verdict(binary_cross_entropy(inputs.logits, t) / 2, whole=whole)


def check_expected(expected: float, labels: int) -> float:
    """The mean number of labels per image; raises `LabelwiseError` if it is missing or not in (0, L]."""
    if not 0 < expected <= labels:
        given = "no expected number of labels an image" if expected == 0 else f"unknown.expected={expected!r}"
        raise LabelwiseError(
            given, f"a number over 0 and up to {labels}", "add for example --set unknown.expected=1.5"
        )
    return float(expected)
