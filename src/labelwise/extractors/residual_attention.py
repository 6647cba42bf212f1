"""CSRA's class-specific residual attention: the mean score plus a weighted attended score."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.errors import LabelwiseError
from labelwise.extractors.attentive import Attentive
from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.extractors.regions import PlacePrior, Prior, add_prior
from labelwise.extractors.transformer import as_tokens
from labelwise.numerics import at_least_float32
from labelwise.options import Count, Rate, Weight
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures

MAX = 99
TEMPERATURES: dict[int, tuple[int, ...]] = {
    1: (1,),
    2: (1, MAX),
    4: (1, 2, 4, MAX),
    6: (1, 2, 3, 4, 5, MAX),
    8: (1, 2, 3, 4, 5, 6, 7, MAX),
}
"""Temperature of each head, by the number of heads; 99 means the maximum."""


@EXTRACTORS.register("residual-attention")
class ResidualAttention(Attentive):
    """A linear score at every location, pooled by its mean and by class-specific attention.

    With unit weights `u_hl = w_hl / ||w_hl||` and tokens `x_p`, for heads `h` of temperature `T_h`:

        s_hlp = <u_hl, x_p>
        a_hlp = softmax_p(T_h s_hlp), or all weight on the highest score if T_h = 99
        f_hl  = mean_p x_p + lam sum_p a_hlp x_p
        z_l   = sum_h <u_hl, f_hl> = sum_h [ mean_p s_hlp + lam sum_p a_hlp s_hlp ]

    The logits are the extractor's own. The label's feature is the concatenation of `f_1l .. f_Hl`, of width H C. One
    product computes the scores of all heads.

    Args:
        channels: C of the map.
        num_labels: L.
        heads: H, one of 1, 2, 4, 6, 8, each with its own weights and temperature, see `TEMPERATURES`.
        lam: weight of the attended score, >= 0; 0 is a pooled linear classifier.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        normalise: scale of the map, see `MapNorm`.
        prior: where each label may look, added to its scores; `None` for everywhere.

    Raises:
        LabelwiseError: another number of heads, or `lam` below 0.

    Source: after Zhu and Wu, "Residual Attention: A Simple but Effective Method for Multi-Label Recognition" (2021).
    Differs: the map is normalised, and whole channels of it are dropped in training.

    >>> out = ResidualAttention(8, num_labels=3, heads=2)(torch.rand(2, 8, 5, 7), want_maps=True)
    >>> out.logits.shape, out.features.shape, out.maps.sum((2, 3)).allclose(torch.ones(2, 3))
    (torch.Size([2, 3]), torch.Size([2, 3, 16]), True)
    """

    own_logits: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        num_labels: int,
        heads: Count = 1,
        lam: Weight = 0.1,
        map_dropout: Rate = 0.25,
        normalise: MapNormKind = "rms",
        prior: PlacePrior | None = None,
    ) -> None:
        super().__init__()
        self.prior = prior
        if heads not in TEMPERATURES:
            expected = ", ".join(map(str, TEMPERATURES))
            raise LabelwiseError(f"heads {heads}", f"one of {expected}", "correct extractor.heads")
        self.num_labels, self.lam = num_labels, lam
        self.temperatures = TEMPERATURES[heads]
        self.dim = heads * channels
        self.norm = MapNorm(channels, normalise)
        self.map_dropout = nn.Dropout2d(map_dropout)
        # Only directions matter, and an optimiser step rotates a short vector further.
        bound = 0.1 * channels**-0.5
        self.weight = nn.Parameter(torch.empty(heads, num_labels, channels).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map with their logits, optionally with evidence maps."""
        size = x.shape[2:]
        tokens = self.attended(as_tokens(self.map_dropout(self.norm(x)))).transpose(1, 2)
        scores = torch.einsum("hlc,bcp->hblp", F.normalize(self.weight, dim=-1), tokens)
        mean, prior = tokens.mean(2).unsqueeze(1), None if self.prior is None else self.prior(x)
        logits, features = torch.zeros(()), []
        for s, temperature in zip(scores, self.temperatures, strict=True):
            a = self._attention(s, temperature, prior)
            features.append(mean + self.lam * (a @ tokens.transpose(1, 2)))
            logits = at_least_float32(s).mean(2) + self.lam * at_least_float32(a * s).sum(2) + logits
        maps = self._attention(scores.float().mean(0), 1, prior).unflatten(2, size) if want_maps else None
        return LabelFeatures(torch.cat(features, 2), maps, logits)

    def _attention(self, s: Float[Tensor, "B L P"], temperature: int, prior: Prior) -> Float[Tensor, "B L P"]:
        if temperature == MAX:
            return F.one_hot(add_prior(s, prior).argmax(2), s.shape[2]).to(s.dtype)
        return add_prior(temperature * s, prior).softmax(2).to(s.dtype)
