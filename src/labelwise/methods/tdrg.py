"""TDRG: relations of map locations at three scales, and relations of labels in a graph."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import DualRelations
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="tdrg",
    summary="a transformer over three scales of the map beside a graph between the labels of each image",
    task="multi-label classification",
    source='Zhao et al., "Transformer-based Dual Relation Graph for Multi-label Image Recognition" (2021)',
    standing="reconstruction: three scales, attention across them, one encoder for all, a joint graph, the shares .7 "
    "and .3 and four classification losses are from the released code as read; the rest is ours",
    differences="scales are resized from one map, not taken from several stages; each label gathers its own feature in "
    "the transformer's branch; one encoder layer of width 256 in place of three of 512; the number of highest "
    "scores is rounded up, not to the nearest whole number. See docs/methods/tdrg.md",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """`z = .7 trans + .3 gcn`, with losses on z, trans (as `step_1`), gcn and sac. Published: `dim=512, layers=3`."""
    return compose(labels, backbone, options, Part(DualRelations), own_share=0.3, branch_weight=1.0)
