"""SSGRL: semantic decoupling and a gated graph of co-occurring labels (after Chen et al., 2019)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import SemanticDecoupling
from labelwise.registry import METHODS, Card
from labelwise.relations import GGNN
from labelwise.types import LabelSet

CARD = Card(
    name="ssgrl",
    summary="attention from label vectors and map locations; a graph of co-occurrence relates the label features",
    task="multi-label classification; the trunk of SST, SARB, HST and DSRB",
    source='Chen et al., "Learning Semantic-Specific Graph Representation for Multi-Label Image Recognition" (2019)',
    standing="equations of decoupling, graph network and classifier as published; default widths, the layer before "
    "the graph, the scale of the map, the loss and all settings are ours. No published table is claimed as reproduced.",
    differences="small defaults (joint 64, a layer of 256 before the graph, learned label vectors); published widths "
    "are options. A label's feature is added to the output of the graph (`relation.skip`). The graph counts only known "
    "cells and shrinks to base rates. See docs/methods/ssgrl.md",
)

# Published widths on ResNet-101 at 448 px, in the trunk that SST, SARB, HST and DSRB share: 300-d word vectors and
#   extractor: {joint: 512, pool: 2, width: 1024, map_dropout: 0, normalise: none}
#   relation: {inner: 0, hidden: 1024, skip: false}
# SSGRL itself: {joint: 1024, map_dropout: 0, normalise: none}, {inner: 0, hidden: 2048, skip: false}.


EXTRACTOR, RELATION = Part(SemanticDecoupling), Part(GGNN, defaults={"inner": 256})
"""Extractor and relation of every method on this trunk."""


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone, semantic decoupling, gated graph, per-label classifiers; the default loss is ASL."""
    return compose(labels, backbone, options, EXTRACTOR, RELATION)
