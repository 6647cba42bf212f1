"""CSRA: class-specific residual attention (after Zhu and Wu, 2021)."""

from __future__ import annotations

from torch import nn

from labelwise.extractors import ResidualAttention
from labelwise.methods.compose import Options, Part, compose
from labelwise.methods.method import Method
from labelwise.registry import Card, register
from labelwise.types import LabelSet

CARD = Card(
    name="csra",
    summary="a linear score at every place, pooled alike and, for a share, where the label stands out",
    task="multi-label classification",
    source='Zhu and Wu, "Residual Attention: A Simple but Effective Method for Multi-Label Recognition" (2021)',
    standing="published: scores by unit weights, the residual share, the tables of temperatures; the settings of "
    "training are ours. No published table is claimed as reproduced.",
    differences="the map is divided by its root mean square, channels of it are left out in training, and weights "
    "start a tenth as long; the loss is ASL",
)


@register(CARD)
def build(labels: LabelSet, backbone: nn.Module, asked: Options) -> Method:
    """Backbone and residual attention, which gives the logits itself."""
    return compose(labels, backbone, asked, Part(ResidualAttention), own_logits=True)
