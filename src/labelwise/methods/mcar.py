"""MCAR: multi-class attentional regions (after Gao and Zhou, 2021)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import RegionAttention
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="mcar",
    summary="the regions of the most likely labels are scored again, and the highest score is the logit",
    task="multi-label classification",
    source='Gao and Zhou, "Learning to Discover Multi-Class Attentional Regions for Multi-Label Image Recognition" '
    "(2021)",
    standing="published: the two streams with one classifier, regions from rows and columns of class activation, "
    "their number and threshold, the maximum over regions. No published table is claimed as reproduced.",
    differences="the published method crops the image and runs the network again on each crop, which enlarges "
    "small objects; this one cuts the regions from the backbone's map, so the network runs once. Its rule for a "
    "region differs, see docs/methods/mcar.md. Logits in place of probabilities, pooled features scaled to one "
    "size, and the loss is ASL",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone and attentional regions, which return the logits."""
    return compose(labels, backbone, options, Part(RegionAttention))
