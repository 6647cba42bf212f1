"""Labels taught from a few examples, added to a trained model without a change to its own labels."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from labelwise.model import LabelModel
from labelwise.types import Output


class AddedLabels(nn.Module):
    """Linear classifiers on the whole-image feature, the mean of the backbone's map at unit length.

        z_k = <w_k, s> + b_k,   s = x / |x|,   x = mean_p x_p

    A place's evidence for a label is `relu(<w_k, x_p>)`, divided by its sum over places; it is uniform if no place
    raises the score. The label feature of an added label is the mean of the model's label features.

    Args:
        labels: K, number of added labels.
        channels: C of the map.
    """

    def __init__(self, labels: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(labels, channels))
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, output: Output, feature_map: Float[Tensor, "B C h w"]) -> Output:
        """The output with logits, features and, where it has them, maps of the added labels at the end."""
        added = len(self.weight)
        places = feature_map.float()
        logits = normalize(places.mean((2, 3)), dim=-1) @ self.weight.T + self.bias
        maps = output.maps
        if maps is not None:
            evidence = torch.einsum("kc,bchw->bkhw", self.weight, places).relu()
            total = evidence.sum((2, 3), keepdim=True)
            uniform = torch.full_like(evidence, 1 / evidence[0, 0].numel())
            maps = torch.cat(
                [maps, torch.where(total > 0, evidence / total.clamp(min=1e-12), uniform).to(maps)], 1
            )
        return Output(
            torch.cat([output.logits, logits], 1),
            _extended(output.features, added, output.shared),
            maps,
            _extended(output.decoupled, added, output.shared),
            mass=output.mass,
            shared=output.shared,
        )


def _extended(features: Float[Tensor, "B L D"], added: int, shared: bool) -> Float[Tensor, "B M D"]:
    """Label features followed by their mean for each added label; a feature shared by all labels takes no memory."""
    if shared:
        return features[:, :1].expand(-1, features.shape[1] + added, -1)
    return torch.cat([features, features.mean(1, keepdim=True).expand(-1, added, -1)], 1)


def add_labels(model: LabelModel, labels: int) -> AddedLabels:
    """Gives a model added labels beyond those that it has; classifiers of new ones are zero.

    Args:
        model: with or without added labels.
        labels: number of added labels in all.
    """
    backbone: Any = model.backbone
    added = AddedLabels(labels, int(backbone.out_channels))
    if model.added is not None:
        existing = len(model.added.weight)
        with torch.no_grad():
            added.weight[:existing], added.bias[:existing] = model.added.weight, model.added.bias
    model.added = added.eval()
    return added
