"""Unknown cells with an assumed state: absent, smoothed absent, or external scores; also Durand's weighting."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.losses.functional import Mask
from labelwise.losses.unknown import Facts, Strategy, StrategyInputs, Verdict
from labelwise.options import Share
from labelwise.registry import STRATEGIES


@STRATEGIES.register("negative")
class AssumeNegative(Strategy):
    """AN: an unknown label counts as absent, `s(z) = l(z, 0)`.

    Args:
        facts: of the training rows.

    Source: Cole et al., "Multi-Label Learning from Single Positive Labels" (2021).
    """

    treatment: ClassVar[str] = "taken as absent"

    def __init__(self, facts: Facts) -> None:
        super().__init__()

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The loss of absent labels."""
        return Verdict(inputs.absent_cells())


@STRATEGIES.register("an-ls")
class SmoothedNegative(Strategy):
    """AN-LS: an unknown label counts as absent with label smoothing, `s(z) = l(z, e / 2)`.

    Args:
        facts: of the training rows.
        smoothing: e, in [0, 1].
        positives: known positives are smoothed too, `l(z, 1 - e / 2)`.

    Source: Cole et al. (2021).
    Differs: known cells keep their states unless `positives`; the released code uses its value of .1 as the target
        itself, .1 and .9, which is `smoothing=.2` here.
    """

    treatment: ClassVar[str] = "taken as absent, with smoothed targets"

    def __init__(self, facts: Facts, smoothing: Share = 0.1, positives: bool = False) -> None:
        super().__init__()
        self.target = smoothing / 2
        self.positives = positives

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The loss of smoothed absent labels, and of smoothed known positives with `positives`."""
        cells = inputs.loss.cells(inputs.logits, torch.full_like(inputs.logits, self.target))
        if not self.positives:
            return Verdict(cells)
        smoothed = torch.full_like(inputs.logits, 1 - self.target)
        return Verdict(cells, present=inputs.loss.cells(inputs.logits, smoothed))


@STRATEGIES.register("wan")
class WeakNegative(Strategy):
    """WAN: an unknown label counts as absent with a small weight, `s(z) = l(z, 0) / (L - 1)`.

    Args:
        facts: of the training rows.
        weight: in [0, 1]; 0 for `1 / (L - 1)`.

    Source: Cole et al. (2021).
    """

    treatment: ClassVar[str] = "taken as absent with less weight"

    def __init__(self, facts: Facts, weight: Share = 0.0) -> None:
        super().__init__()
        self.weight = weight or 1 / max(1, facts.labels - 1)

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The weighted loss of absent labels."""
        return Verdict(self.weight * inputs.absent_cells())


@STRATEGIES.register("durand")
class DurandWeighting(Strategy):
    """Unknown cells are left out, and images with fewer known labels get a larger weight.

        g(r) / L * sum over known cells of l,  g(r) = a r^gamma + b,  g(1) = 1,  r = known share of the image's labels

    The reduction takes the mean over images; an image without known labels adds 0.

    Args:
        facts: of the training rows.
        at_tenth: `g(.1)`, at least 1.
        gamma: exponent, from -4 to 4, not 0.

    Raises:
        LabelwiseError: an option is out of range.

    Source: Durand et al., "Learning a Deep ConvNet for Multi-label Classification with Partial Labels" (2019).
    """

    treatment: ClassVar[str] = "left out of the loss; images with few known labels have more weight"

    def __init__(
        self,
        facts: Facts,
        at_tenth: Annotated[float, Field(ge=1, le=100)] = 5.0,
        gamma: Annotated[float, Field(ge=-4, le=4)] = 1.0,
    ) -> None:
        super().__init__()
        self.gamma = gamma
        if not self.gamma:
            raise LabelwiseError("unknown.gamma=0", "an exponent that is not 0", "correct the option")
        self.slope = (at_tenth - 1) / (0.1**self.gamma - 1)

    def weight(self, share: Tensor) -> Tensor:
        """`g` of the known shares; 0 for a share of 0."""
        # A share of 0 is replaced by 1, since a negative exponent would give infinity.
        nonzero_share = share.masked_fill(share == 0, 1.0)
        return torch.where(share > 0, self.slope * nonzero_share**self.gamma + 1 - self.slope, 0.0)

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """Zeros that count in the mean, so that it is over all of an image's labels."""
        share = inputs.known.to(inputs.logits.dtype).mean(1, keepdim=True)
        return Verdict(torch.zeros_like(inputs.logits), weight=self.weight(share))


@STRATEGIES.register("external")
class ExternalScores(Strategy):
    """External scores are targets of unknown cells, `s(z) = w l(z, score)`; cells without a score are left out.

    Args:
        facts: of the training rows, with scores.
        weight: w, in [0, 1].
        file: an npz file of the scores, from which the facts are read.

    Raises:
        LabelwiseError: no scores, or a score outside [0, 1].

    Source: ours; for pseudo-labels and teachers of any origin.
    """

    treatment: ClassVar[str] = "given the scores of unknown.file as soft targets"
    scores: Tensor

    def __init__(self, facts: Facts, weight: Share = 1.0, file: str = "") -> None:
        super().__init__()
        self.weight = weight
        if facts.scores is None:
            raise LabelwiseError(
                "unknown external without scores",
                "an npz file with scores [N, L], images and labels",
                "add --set unknown.file=FILE",
            )
        valid_scores = facts.scores[~facts.scores.isnan()]
        if len(valid_scores) and (valid_scores.min() < 0 or valid_scores.max() > 1):
            raise LabelwiseError(
                f"external scores from {valid_scores.min():g} to {valid_scores.max():g}",
                "probabilities in [0, 1]",
                "take the sigmoid of logits first",
            )
        self.register_buffer("scores", facts.scores.float(), persistent=False)

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The loss with the rows' scores as targets."""
        scores = self.scores[inputs.moment.index.to(self.scores.device)].to(inputs.logits.dtype)
        return Verdict(self.weight * inputs.loss.cells(inputs.logits, scores.nan_to_num(0.0)))

    def counted(self, hidden: Mask, index: Int64[Tensor, " B"]) -> Mask:
        """Unknown cells with a score."""
        return hidden & ~self.scores[index.to(self.scores.device)].isnan()
