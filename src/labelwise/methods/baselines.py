"""One shared feature for all labels: pooled baselines."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import Pooled
from labelwise.registry import Card, register
from labelwise.types import LabelSet

_TASK = "multi-label classification"
_FACT = "standard practice; nothing reconstructed"


@register(Card("baseline-gap", "global average pooling and a linear layer", _TASK, "baseline", _FACT))
def gap(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Mean over locations, then one linear classifier per label."""
    return compose(labels, backbone, options, Part(Pooled, {"pool": "mean"}))


@register(Card("baseline-gmp", "global max pooling and a linear layer", _TASK, "baseline", _FACT))
def gmp(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Maximum over locations, then one linear classifier per label."""
    return compose(labels, backbone, options, Part(Pooled, {"pool": "max"}))


@register(
    Card("baseline-mlp", "average pooling, one shared hidden layer, a linear layer", _TASK, "baseline", _FACT)
)
def mlp(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """The control of equal width: a hidden layer without a separate feature per label."""
    return compose(
        labels,
        backbone,
        options,
        Part(Pooled, {"pool": "mean"}, {"hidden": 512, "dropout": 0.5, "map_dropout": 0.5}),
    )
