"""ADD-GCN: attention-driven dynamic graph (after Ye et al., 2020)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import ClassActivation
from labelwise.registry import METHODS, Card
from labelwise.relations import DynamicGraph
from labelwise.types import LabelSet

CARD = Card(
    name="add-gcn",
    summary="masks from class activation gather label features, a learned and a per-image graph relate them",
    task="multi-label classification",
    source='Ye et al., "Attention-Driven Dynamic Graph Convolutional Network for Multi-Label Image Recognition" (2020)',
    standing="published: sigmoid masks, static then dynamic graph, the mean of the strongest activation and the "
    "graph's logit; widths and settings are ours. No published table is claimed as reproduced.",
    differences="features are 256 wide in place of 1,024; sums over locations and labels are divided by their number; "
    "no batch norm in the head; the loss is ASL",
)


# The published width is 1024. On a map of larger scale the sigmoids saturate, and so do the label features.
WIDTHS = {"dim": 256, "map_dropout": 0.25, "normalise": "rms", "own_logit": "max"}
MASKS = Part(ClassActivation, {"activation": "sigmoid"}, WIDTHS)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone, sigmoid masks, dynamic graph, per-label classifiers; half the logit is the strongest activation."""
    return compose(labels, backbone, options, MASKS, relation=Part(DynamicGraph), own_share=0.5)
