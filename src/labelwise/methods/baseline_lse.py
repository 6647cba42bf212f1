"""The baseline pooled by log-sum-exp."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors.log_sum_exp import LogSumExp
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="baseline-lse",
    summary="global log-sum-exp pooling and a linear layer",
    task="multi-label classification",
    source="baseline",
    standing="standard practice; nothing reconstructed",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """A smooth maximum over locations, then one linear classifier per label."""
    return compose(labels, backbone, options, Part(LogSumExp))
