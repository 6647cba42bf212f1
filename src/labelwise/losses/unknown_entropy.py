"""Entropy maximisation of unknown cells, and pseudo-labels from their scores."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from labelwise.losses.functional import Cells, binary_cross_entropy
from labelwise.losses.unknown import Facts, Strategy, StrategyInputs, UpToTen, Verdict, remember
from labelwise.options import Share
from labelwise.registry import STRATEGIES


def binary_entropy(logits: Cells) -> Cells:
    """`-p log p - (1 - p) log(1 - p)`, `p = sigmoid(z)`, finite everywhere.

    >>> round(binary_entropy(torch.zeros(1, 1)).item(), 6)
    0.693147
    """
    p = torch.sigmoid(logits)
    return p * F.softplus(-logits) + (1 - p) * F.softplus(logits)


@STRATEGIES.register("em")
class EntropyMaximisation(Strategy):
    """EM: maximises the entropy of unknown cells, `s(z) = -alpha H(p)`.

    Args:
        facts: of the training rows.
        alpha: from 0 to 10; VOC .2, COCO .1, NUS-WIDE .1, CUB .01.

    Source: Zhou et al., "Acknowledging the Unknown for Multi-label Learning with Single Positive Labels" (2022).
    """

    treatment: ClassVar[str] = "regularised by their entropy"

    def __init__(self, facts: Facts, alpha: UpToTen = 0.2) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The negative entropy."""
        return Verdict(-self.alpha * binary_entropy(inputs.logits))


@STRATEGIES.register("em-apl")
class PseudoNegatives(Strategy):
    """EM + APL: as EM; after a warm-up, the lowest unknown scores of each label become soft pseudo-labels.

        s(z) = beta H(score, p) with a pseudo-label, else -alpha H(p)

    Before each epoch after the warm-up, `share / (epochs - warm-up)` of a label's unknown cells get a pseudo-label: the
    cells with the lowest scores among those without one. It is their latest score in training, and never changes.

    Args:
        facts: of the training rows.
        alpha: of EM, from 0 to 10.
        beta: weight of pseudo-labels, from 0 to 10; VOC .02, COCO .9, NUS-WIDE .2, CUB .4.
        share: final share of a label's unknown cells with a pseudo-label, in [0, 1].
        start: share of the epochs before the first pseudo-labels, in [0, 1]; at least one epoch.

    Source: Zhou et al. (2022).
    Differs: scores are those of the training steps, which saves a pass over the data.
    """

    treatment: ClassVar[str] = "regularised by their entropy, then given pseudo-labels"
    scores: Tensor
    pseudo: Tensor

    def __init__(
        self, facts: Facts, alpha: UpToTen = 0.2, beta: UpToTen = 0.02, share: Share = 0.9, start: Share = 0.5
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.share, self.start = alpha, beta, share, start
        # NaN for known cells and for rows without a training step yet.
        for name in ("scores", "pseudo"):
            self.register_buffer(name, torch.full((facts.rows, facts.labels), math.nan))

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The loss with pseudo-labels, or the negative entropy."""
        pseudo = self.pseudo[inputs.moment.index.to(self.pseudo.device)].to(inputs.logits.dtype)
        has_pseudo = ~pseudo.isnan()
        pseudo_loss = self.beta * binary_cross_entropy(inputs.logits, pseudo.masked_fill(~has_pseudo, 0))
        if inputs.moment.stores_state:
            remember(self.scores, inputs, torch.sigmoid(inputs.logits).masked_fill(~inputs.hidden, math.nan))
        return Verdict(torch.where(has_pseudo, pseudo_loss, -self.alpha * binary_entropy(inputs.logits)))

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Add this epoch's pseudo-labels."""
        warmup = max(1, math.ceil(self.start * epochs))
        if epoch < warmup:
            return
        scored = ~self.scores.isnan()
        number = torch.round(self.share / (epochs - warmup) * scored.sum(0)).long()
        candidates = torch.where(scored & self.pseudo.isnan(), self.scores, math.inf)
        order = candidates.argsort(dim=0, stable=True).argsort(dim=0)
        chosen = (order < number) & candidates.isfinite()
        self.pseudo.copy_(torch.where(chosen, self.scores, self.pseudo))
