"""Multi-label supervised contrast: images with enough common labels are positive pairs."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from labelwise.distributed import joined_rows
from labelwise.errors import LabelwiseError
from labelwise.losses.discriminative import present, unit
from labelwise.numerics import at_least_float32
from labelwise.types import Targets


class JaccardContrast(nn.Module):
    """Pulls each image to those with overlapping labels, and pushes it from the rest.

    With `v_a` the unit vector of the mean over labels of image a's features, `s_ab = v_a . v_b / T`, and `Z_a` its
    present labels, a and b are a positive pair if `|Z_a and Z_b| / |Z_a or Z_b| >= c`, over labels known in both:

        intra = - mean over anchors a, mean over positive partners b of a, of s_ab
        inter = mean over anchors a of log sum_{b != a} exp(s_ab)

    Their sum is the supervised contrastive loss. Anchors are the images with at least one partner. Pairs of images
    without a known positive in either are not compared.

    Args:
        temperature: `T`, above 0.
        jaccard: `c` in (0, 1].

    Raises:
        LabelwiseError: an option is out of range.

    Source: after Khosla et al., "Supervised Contrastive Learning" (2020), with the overlap of labels from MulSupCon's
    documentation.
    Differs: unknown labels count in neither set; the two halves are returned separately.

    >>> same = torch.ones(2, 1, 4)
    >>> intra, inter = JaccardContrast(temperature=1.0)(same, Targets.of(torch.ones(2, 1)))
    >>> round((intra + inter).item(), 4)
    0.0
    """

    def __init__(self, temperature: float = 0.1, jaccard: float = 0.5) -> None:
        super().__init__()
        if not temperature > 0:
            raise LabelwiseError(f"temperature={temperature}", "a number above 0", "correct the option")
        if not 0 < jaccard <= 1:
            raise LabelwiseError(f"jaccard={jaccard}", "a number above 0 and up to 1", "correct the option")
        self.temperature, self.jaccard = temperature, jaccard

    def forward(
        self, features: Float[Tensor, "B L D"], targets: Targets
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """`intra` pulls positive pairs together; `inter` pushes all images apart."""
        with torch.autocast(features.device.type, enabled=False):
            states = torch.stack([present(targets), targets.known], 2).float()
            v, states = joined_rows(unit(at_least_float32(features).mean(1)), states)
            is_pair, comparable = self._pairs(states[..., 0], states[..., 1])
            s = v @ v.T / self.temperature
            partners = is_pair.sum(1)
            anchor = partners > 0
            number = anchor.sum().clamp(min=1)
            attraction = (s * is_pair).sum(1) / partners.clamp(min=1)
            # Not -inf, since a row without comparable images would have a NaN gradient even if it is masked.
            repulsion = s.masked_fill(~comparable, -1e9).logsumexp(1)
            return -(attraction * anchor).sum() / number, torch.where(anchor, repulsion, 0).sum() / number

    def _pairs(
        self, positives: Float[Tensor, "N L"], known: Float[Tensor, "N L"]
    ) -> tuple[Bool[Tensor, "N N"], Bool[Tensor, "N N"]]:
        """Masks of the positive pairs of images, and of all pairs that are compared."""
        common = positives @ positives.T
        union = positives @ known.T + known @ positives.T - common
        comparable = (union > 0) & ~torch.eye(len(positives), dtype=torch.bool, device=positives.device)
        return comparable & (common >= self.jaccard * union - 1e-6), comparable
