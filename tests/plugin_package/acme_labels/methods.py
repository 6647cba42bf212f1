"""A method: a card, and a builder that composes parts."""

from __future__ import annotations

from torch import nn

from acme_labels.extractors import LabelGeM
from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="acme-gem",
    summary="each label pools the map by a generalised mean with an exponent of its own",
    task="multi-label classification",
    source="an example",
    standing="ours; nothing reconstructed",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone, generalised-mean pooling, per-label classifiers."""
    return compose(labels, backbone, options, Part(LabelGeM, defaults={"power": 2.0}))
