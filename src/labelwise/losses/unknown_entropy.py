"""Unknown cells kept undecided until scores tell: entropy maximisation, and pseudo-labels from it."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from labelwise.losses.functional import Cells, binary_cross_entropy
from labelwise.losses.unknown import Facts, Question, Strategy, Verdict, between, remember


def binary_entropy(logits: Cells) -> Cells:
    """`-p log p - (1 - p) log(1 - p)`, `p = sigmoid(z)`, finite everywhere.

    >>> round(binary_entropy(torch.zeros(1, 1)).item(), 6)
    0.693147
    """
    p = torch.sigmoid(logits)
    return p * F.softplus(-logits) + (1 - p) * F.softplus(logits)


class EntropyMaximisation(Strategy):
    """EM: unknown cells are kept undecided, `s(z) = -alpha H(p)`.

    Args:
        facts: of the training rows.
        alpha: from 0 to 10; VOC .2, COCO .1, NUS-WIDE .1, CUB .01.

    Source: Zhou et al., "Acknowledging the Unknown for Multi-label Learning with Single Positive Labels" (2022).
    """

    says: ClassVar[str] = "kept undecided by their entropy"

    def __init__(self, facts: Facts, alpha: float = 0.2) -> None:
        super().__init__()
        self.alpha = between("alpha", alpha, 0, 10)

    def forward(self, q: Question) -> Verdict:
        """Less their entropy."""
        return Verdict(-self.alpha * binary_entropy(q.logits))


class PseudoNegatives(Strategy):
    """EM + APL: as EM; after a warm-up each epoch takes a label's lowest unknown scores as its soft targets.

        s(z) = beta H(score, p) where a pseudo-label was made, else -alpha H(p)

    Before each epoch after the warm-up, `share / (epochs - warm-up)` of a label's unknown cells, the lowest of those
    without a pseudo-label, get the score that training last gave them. They keep it.

    Args:
        facts: of the training rows.
        alpha: of EM, from 0 to 10.
        beta: weight of pseudo-labels, from 0 to 10; VOC .02, COCO .9, NUS-WIDE .2, CUB .4.
        share: of a label's unknown cells that have a pseudo-label in the end, in [0, 1].
        start: share of the epochs that pass before, in [0, 1]; at least one epoch does.

    Source: Zhou et al. (2022).
    Differs: scores are those of the training steps, so that no further pass over the data is needed.
    """

    says: ClassVar[str] = "kept undecided by their entropy, then given pseudo-labels"
    scores: Tensor
    pseudo: Tensor

    def __init__(
        self, facts: Facts, alpha: float = 0.2, beta: float = 0.02, share: float = 0.9, start: float = 0.5
    ) -> None:
        super().__init__()
        self.alpha, self.beta = between("alpha", alpha, 0, 10), between("beta", beta, 0, 10)
        self.share, self.start = between("share", share, 0, 1), between("start", start, 0, 1)
        # NaN where there is none: of known cells, and of rows that training has not met.
        for name in ("scores", "pseudo"):
            self.register_buffer(name, torch.full((facts.rows, facts.labels), math.nan))

    def forward(self, q: Question) -> Verdict:
        """Against the pseudo-labels, or less the entropy."""
        pseudo = self.pseudo[q.moment.index.to(self.pseudo.device)].to(q.logits.dtype)
        made = ~pseudo.isnan()
        soft = self.beta * binary_cross_entropy(q.logits, pseudo.masked_fill(~made, 0))
        if q.moment.remembers:
            remember(self.scores, q, torch.sigmoid(q.logits).masked_fill(~q.hidden, math.nan))
        return Verdict(torch.where(made, soft, -self.alpha * binary_entropy(q.logits)))

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Make this epoch's pseudo-labels."""
        warmup = max(1, math.ceil(self.start * epochs))
        if epoch < warmup:
            return
        met = ~self.scores.isnan()
        number = torch.round(self.share / (epochs - warmup) * met.sum(0)).long()
        open_ = torch.where(met & self.pseudo.isnan(), self.scores, math.inf)
        place = open_.argsort(dim=0, stable=True).argsort(dim=0)
        taken = (place < number) & open_.isfinite()
        self.pseudo.copy_(torch.where(taken, self.scores, self.pseudo))
