"""An extractor: from a feature map to one feature per label."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.options import Positive, Rate
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures


@EXTRACTORS.register("label-gem")
class LabelGeM(nn.Module):
    """Generalised-mean pooling with an exponent for each label, between the mean and the maximum over places.

        f_lc = (mean_p x_pc^g_l)^(1 / g_l),   A_lp = sum_c x_pc^g_l / sum_pc x_pc^g_l

    Args:
        channels: C of the map, the width of the features.
        num_labels: L.
        power: initial exponent of every label, above 0.
        dropout: rate in [0, 1) on the label's feature.

    Source: after Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation" (2018).
    Differs: one exponent per label.
    """

    def __init__(self, channels: int, num_labels: int, power: Positive = 3.0, dropout: Rate = 0.0) -> None:
        super().__init__()
        self.dim, self.num_labels = channels, num_labels
        self.log_power = nn.Parameter(torch.full((num_labels,), power).log())
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map, optionally with the share of each place."""
        power = self.log_power.exp()[:, None, None]
        raised = x.flatten(2).clamp(min=1e-6).unsqueeze(1) ** power
        features = self.dropout(raised.mean(3) ** (1 / power[:, :, 0]))
        places = raised.sum(2)
        maps = (places / places.sum(2, keepdim=True)).unflatten(2, x.shape[2:])
        return LabelFeatures(features, maps if want_maps else None)
