"""ML-Decoder: one cross-attention layer from frozen random queries."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import MLDecoder
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="ml-decoder",
    summary="one layer of cross-attention from frozen random queries, one for each label or group of labels",
    task="multi-label classification, very many labels",
    source='Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head" (2021)',
    standing="the layer is as in the released code as read: projection with ReLU, frozen random queries, eight heads, "
    "no self-attention, no positions, a fully connected layer per group; all settings of training are ours",
    differences="one query per label by default, since labels of a group share a feature; width 256 in place of 768; "
    "sizes of groups differ by at most one and none is empty",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone, decoder, classifiers. Published sizes: `dim=768, ffn=2048` and at most 100 `groups`."""
    return compose(labels, backbone, options, Part(MLDecoder))
