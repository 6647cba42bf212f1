"""Losses that are robust to hidden positives among the unknown cells: Hill and SPLC."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F

from labelwise.losses.functional import Cells, focal
from labelwise.losses.unknown import Facts, Strategy, StrategyInputs, UpToTen, Verdict
from labelwise.options import Share
from labelwise.registry import STRATEGIES


def focal_margin(logits: Cells, margin: float, gamma: float) -> Cells:
    """`-(1 - q)^gamma log q`, `q = sigmoid(z - margin)`: focal loss of positives with a margin.

    >>> round(focal_margin(torch.ones(1, 1), 1.0, 2.0).item(), 7)
    0.1732868
    """
    z = logits - margin
    return -(torch.sigmoid(-z) ** gamma) * F.logsigmoid(z)


@STRATEGIES.register("hill")
class Hill(Strategy):
    """Unknown cells count as absent, with a loss that decreases again for high scores, which may be hidden positives.

        s(z) = (lambda - p) p^2;   known positives: -(1 - q)^gamma log q,  q = sigmoid(z - margin)

    Args:
        facts: of the training rows.
        crest: lambda, from 1 to 3; at 1.5 the slope is 0 again at p = 1.
        margin: of positives, from 0 to 10.
        gamma: focusing of positives, from 0 to 10.

    Source: Zhang et al., "Simple and Robust Loss Design for Multi-Label Learning with Missing Labels" (2021).
    """

    treatment: ClassVar[str] = "taken as absent, with a loss that decreases again for high scores"

    def __init__(
        self,
        facts: Facts,
        crest: Annotated[float, Field(ge=1, le=3)] = 1.5,
        margin: UpToTen = 1.0,
        gamma: UpToTen = 2.0,
    ) -> None:
        super().__init__()
        self.crest, self.margin, self.gamma = crest, margin, gamma

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The hill loss of unknown cells, and the focal margin loss of known positives."""
        p = torch.sigmoid(inputs.logits)
        cells = (self.crest - p) * p.square()
        return Verdict(cells, present=focal_margin(inputs.logits, self.margin, self.gamma))


@STRATEGIES.register("splc")
class SelfPacedCorrection(Strategy):
    """SPLC: unknown cells count as absent with a focal loss, and as present once their score is high.

        s(z) = -p^gamma log(1 - p), or, after the first epochs, if p > tau: -(1 - q)^gamma log q,
               with q = p unless margin_corrected
        known positives: -(1 - q)^gamma log q,  q = sigmoid(z - margin)

    Args:
        facts: of the training rows.
        tau: score above which an unknown label counts as present, in [0, 1].
        after: epochs before the correction starts, from 0 to 1000.
        margin: of positives, from 0 to 10.
        gamma: focusing, from 0 to 10.
        margin_corrected: unknown cells that count as present have the margin too.

    Source: Zhang et al. (2021).
    Differs: the released code uses the margin only for known positives, `margin_corrected=false`, and corrects known
        negatives like unknown cells.
    """

    treatment: ClassVar[str] = "taken as absent, and as present if their scores are high"

    def __init__(
        self,
        facts: Facts,
        tau: Share = 0.6,
        after: Annotated[int, Field(ge=0, le=1000)] = 1,
        margin: UpToTen = 1.0,
        gamma: UpToTen = 2.0,
        margin_corrected: bool = True,
    ) -> None:
        super().__init__()
        self.margin_corrected = margin_corrected
        self.tau, self.after, self.margin, self.gamma = tau, after, margin, gamma

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """Focal losses with the assumed states."""
        present = focal_margin(inputs.logits, self.margin, self.gamma)
        cells = focal(inputs.logits, torch.zeros_like(inputs.logits), self.gamma, 1.0)
        if inputs.moment.epoch >= self.after:
            corrected = present if self.margin_corrected else focal_margin(inputs.logits, 0.0, self.gamma)
            cells = torch.where(torch.sigmoid(inputs.logits.detach()) > self.tau, corrected, cells)
        return Verdict(cells, present=present)
