"""Query2Label: a small transformer whose decoder has one query per label."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import Query2Label
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="query2label",
    summary="an encoder over map locations and a decoder of label queries, without attention between labels",
    task="multi-label classification",
    source='Liu et al., "Query2Label: A Simple Transformer Way to Multi-Label Classification" (2021)',
    standing="the layers are as in the released code as read: one of encoder, two of decoder without self-attention, "
    "four heads, sine positions, a classifier per label; norms, start of queries and all settings are ours",
    differences="width 256 and feed-forward width 512 in place of 2048 and 8192; no special augmentation: see "
    "docs/methods/query2label.md",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone, encoder and decoder, per-label classifiers. Published widths: `dim=2048, ffn=8192`."""
    return compose(labels, backbone, options, Part(Query2Label))
