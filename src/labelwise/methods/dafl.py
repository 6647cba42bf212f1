"""DAFL: disentangled attribute features for pedestrians (after Jia et al., 2022)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import QueryAttention
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="dafl",
    summary="cascaded semantic-spatial cross-attention, and maps that agree within groups of attributes",
    task="pedestrian attributes",
    source='Jia et al., "Learning Disentangled Attribute Representations for Robust Pedestrian Attribute Recognition" '
    "(2022)",
    standing="reconstruction: the cascade, in which a step's label features become the next step's queries, and the "
    "group memory of attention maps with its consistency loss are stated by the paper's abstract and captions; widths, "
    "equations, number of steps and all settings are ours. No published table is claimed as reproduced.",
    differences="two of the three losses: the third is not known and was not invented. Labels without groups train "
    "without the group loss. The mean feature and the feed-forward layer are ours, see docs/methods/dafl.md",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone, two steps of query attention, per-label classifiers; group consistency if labels have groups."""
    terms = {"consistency": {"weight": 1.0}} if labels.groups else {}
    extractor = Part(QueryAttention, defaults={"steps": 2, "update": "replace"})
    return compose(labels, backbone, options, extractor, terms=terms)
