"""Class features with a discriminative loss (after Hassanin et al., 2021)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import ClassActivation
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="class-features",
    summary="class activation maps gather one feature per label; a loss pulls features of one label together and "
    "pushes those of different labels apart",
    task="multi-label classification",
    source='Hassanin et al., "Learning Discriminative Representations for Multi-Label Image Recognition" (2021)',
    standing="reconstruction: that features are first disentangled per class, and that inter-class distance is raised "
    "and intra-class difference lowered, are stated by the abstract; every equation, width and setting is ours. No "
    "published table is claimed as reproduced.",
    differences="the loss pulls features to learnable centres, since a batch seldom has a label twice; width 512, "
    "scale of the map and dropout are ours, see docs/methods/class-features.md",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone, class activation, per-label classifiers; logits are the mean of those of classifiers and maps."""
    terms = {"discriminative": {"variant": "center", "weight": 0.1}}
    return compose(labels, backbone, options, Part(ClassActivation), terms=terms, own_share=0.5)
