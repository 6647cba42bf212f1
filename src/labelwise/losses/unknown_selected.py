"""Unknown cells count as absent, except likely positives: those with large losses, and CSL's selection."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from labelwise.distributed import joined_rows
from labelwise.losses.functional import Cells, Mask, asymmetric
from labelwise.losses.unknown import Facts, Strategy, StrategyInputs, UpToTen, Verdict, remember
from labelwise.numerics import share_of
from labelwise.options import Share
from labelwise.registry import STRATEGIES


def largest(scores: Cells, among: Mask, share: float, strict: bool = False) -> Mask:
    """The `k = ceil(share B L)` largest cells of `among`, in the batch of all processes; all ties at the k-th count.

    With `strict` only those larger than the k-th, `k - 1` cells without ties. Several batches of a step are ranked
    separately.

    >>> largest(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[False, True, True]]), 0.3)
    tensor([[False,  True, False]])
    """
    candidates = scores.detach().masked_fill(~among, -math.inf)
    (joined,) = joined_rows(candidates)
    number = min(share_of(joined.numel(), share), joined.numel())
    if number <= 0:
        return torch.zeros_like(among)
    threshold = joined.flatten().topk(number).values[-1]
    return among & (candidates > threshold if strict else candidates >= threshold)


class _LargeLoss(Strategy):
    """Base of the three strategies of large losses."""

    def __init__(self, facts: Facts, delta: Share = 0.002) -> None:
        super().__init__()
        self.delta = delta


@STRATEGIES.register("ll-r")
class LargeLossRejection(_LargeLoss):
    """LL-R: as AN, but the largest losses of unknown cells are set to 0.

    After t epochs these are the `ceil(B L t delta)` largest of a batch; none in the first epoch.

    Args:
        facts: of the training rows.
        delta: increase of the share per epoch, in [0, 1]; .001 to .005 in the paper.

    Source: Kim et al., "Large Loss Matters in Weakly Supervised Multi-Label Classification" (2022).
    Differs: only unknown cells are ranked.
    """

    treatment: ClassVar[str] = "taken as absent, without the largest losses"

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The loss of absent labels, or 0."""
        cells = inputs.absent_cells()
        return Verdict(cells.masked_fill(largest(cells, inputs.hidden, inputs.moment.epoch * self.delta), 0))


@STRATEGIES.register("ll-ct")
class LargeLossCorrection(_LargeLoss):
    """LL-Ct: as LL-R, but the cells with the largest losses count as present in that step.

    Args:
        facts: of the training rows.
        delta: increase of the share per epoch, in [0, 1].

    Source: Kim et al. (2022).
    Differs: as LL-R.
    """

    treatment: ClassVar[str] = "taken as absent, and the largest losses as present"

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The loss of absent or of present labels."""
        cells = inputs.absent_cells()
        large = largest(cells, inputs.hidden, inputs.moment.epoch * self.delta)
        return Verdict(torch.where(large, inputs.present_cells(), cells))


@STRATEGIES.register("ll-cp")
class LargeLossFlip(_LargeLoss):
    """LL-Cp: as LL-Ct, but permanently: `ceil(B L delta)` more cells in each step after the first epoch.

    Args:
        facts: of the training rows.
        delta: share of a batch that is flipped in a step, in [0, 1].
        strict: of the k cells of a step, only those above the k-th largest loss stay flipped, k - 1 of them.

    Source: Kim et al. (2022).
    Differs: as LL-R; the released code keeps k - 1 cells, `strict=true`, which is none if k is 1.
    """

    treatment: ClassVar[str] = "taken as absent, and the largest losses as present from then on"
    flipped: Tensor

    def __init__(self, facts: Facts, delta: Share = 0.002, strict: bool = False) -> None:
        super().__init__(facts, delta)
        self.strict = strict
        self.register_buffer("flipped", torch.zeros(facts.rows, facts.labels, dtype=torch.bool))

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The loss of absent labels, or of present labels for flipped cells."""
        cells = inputs.absent_cells()
        flipped = self.flipped[inputs.moment.index.to(self.flipped.device)]
        if inputs.moment.stores_state and inputs.moment.epoch:
            candidates = inputs.hidden & ~flipped
            large = largest(cells, candidates, self.delta)
            stored = largest(cells, candidates, self.delta, True) if self.strict else large
            remember(self.flipped, inputs, flipped | stored)
            flipped = flipped | large
        return Verdict(torch.where(flipped, inputs.present_cells(), cells))


@STRATEGIES.register("csl")
class ClassAwareSelection(Strategy):
    """CSL: unknown cells count as absent with their own focusing; likely positives are left out.

        s(z) = -alpha p_m^gamma log(1 - p_m),  p_m = max(p - margin, 0),  no gradient through p_m^gamma

    Left out are all unknown cells of a label with a prior above a threshold, and the `K B` highest unknown scores of a
    batch; several batches of a step are averaged.

    Args:
        facts: of the training rows, with priors.
        gamma: focusing of unknown cells, from 0 to 10.
        alpha: their weight, from 0 to 10.
        prior_threshold: in [0, 1]; 1 for none.
        topk: K, cells per image that are left out, from 0 to 10000.
        margin: probability below which an unknown cell has no loss, from 0 to .99.

    Source: Ben-Baruch et al., "Multi-label Classification with Partial Annotations using Class-aware Selective Loss"
        (2022).
    Differs: known cells have the chosen loss, `asl` for the paper's; the prior is counted among known cells, or among
        all images for a label without known negatives, rather than by another model; K is 1, for tens of labels, and 5
        in the released trainer; the threshold is .5, and .05 there.
    """

    treatment: ClassVar[str] = "taken as absent, without likely positives"
    prior: Tensor

    def __init__(
        self,
        facts: Facts,
        gamma: UpToTen = 2.0,
        alpha: UpToTen = 1.0,
        prior_threshold: Share = 0.5,
        topk: Annotated[float, Field(ge=0, le=10_000)] = 1.0,
        margin: Annotated[float, Field(ge=0, le=0.99)] = 0.0,
    ) -> None:
        super().__init__()
        self.margin, self.gamma, self.alpha, self.threshold = margin, gamma, alpha, prior_threshold
        self.share = topk / facts.labels
        prior = torch.zeros(facts.labels) if facts.prior is None else facts.prior
        self.register_buffer("prior", prior.float(), persistent=False)

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The loss of absent labels; likely positives are left out."""
        absent = torch.zeros_like(inputs.logits)
        cells = self.alpha * asymmetric(inputs.logits, absent, self.gamma, margin=self.margin)
        left_out = largest(inputs.logits, inputs.hidden, self.share) | (self.prior > self.threshold)
        return Verdict(cells, counted=inputs.hidden & ~left_out)

    def counted(self, hidden: Mask, index: Int64[Tensor, " B"]) -> None:
        """`None`, since it depends on the scores."""
        return None
