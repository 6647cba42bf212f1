"""DLFL: one specific feature for one label (after Jia et al., 2022)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import QueryAttention
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="dlfl",
    summary="learnable semantic queries gather one feature per label by semantic-spatial cross-attention",
    task="multi-label classification, pedestrian attributes, continual multi-label learning",
    source='Jia et al., "Learning Disentangled Label Representations for Multi-label Classification" (2022)',
    standing="reconstruction: queries, cross-attention and the cascade are stated by the abstract; widths, norms, "
    "feed-forward layer, the mean feature and all settings are ours. No published table is claimed as reproduced.",
    differences="each label's feature also includes a linear map of the image's mean feature, and the default is one "
    "step: both measured, see docs/methods/dlfl.md",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone, query attention, per-label classifiers; the default loss is ASL."""
    return compose(labels, backbone, options, Part(QueryAttention))
