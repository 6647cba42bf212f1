"""ML-GCN: classifiers computed from label vectors by a graph network (after Chen et al., 2019)."""

from __future__ import annotations

from functools import partial

from torch import nn

from labelwise.classifiers import GraphClassifier
from labelwise.composition.compose import Options, Part, compose, label_vectors
from labelwise.composition.method import Method
from labelwise.extractors import Pooled
from labelwise.registry import METHODS, Card
from labelwise.relations import GCN
from labelwise.types import LabelSet

CARD = Card(
    name="ml-gcn",
    summary="one max-pooled feature; a graph network on co-occurrence computes the classifiers from label vectors",
    task="multi-label classification",
    source='Chen et al., "Multi-Label Image Recognition with Graph Convolutional Networks" (2019)',
    standing="graph convolutions, adjacency and pooling as published; the default hidden width, learned label "
    "vectors, the scale of map and weights, the loss and all settings are ours. No published table is claimed as "
    "reproduced.",
    differences="a hidden width of 256 (published 1024); weights are scaled to suit the learning rates of a linear "
    "classifier; the graph counts only known cells, and a conditional equal to the threshold is no edge "
    "(`classifier.inclusive=true` for the released rule). The feature is shared, so maps are class activation maps.",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone, max pooling, classifiers from the graph; the default loss is ASL."""
    weights = partial(GCN, vectors=label_vectors(labels, options))
    classifier = Part(GraphClassifier, {"weights": weights})
    return compose(labels, backbone, options, Part(Pooled, {"pool": "max"}), classifier=classifier)
