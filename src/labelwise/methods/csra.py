"""CSRA: class-specific residual attention (after Zhu and Wu, 2021)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import ResidualAttention
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="csra",
    summary="linear scores at every location, pooled by their mean plus a weighted class-specific attention",
    task="multi-label classification",
    source='Zhu and Wu, "Residual Attention: A Simple but Effective Method for Multi-Label Recognition" (2021)',
    standing="published: scores by unit weights, the residual share, the tables of temperatures; the settings of "
    "training are ours. No published table is claimed as reproduced.",
    differences="the map is divided by its root mean square, whole channels of it are dropped in training, and initial "
    "weights are a tenth as long; the loss is ASL",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone and residual attention, which returns the logits."""
    return compose(labels, backbone, options, Part(ResidualAttention))
