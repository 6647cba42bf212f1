"""Features pooled without attention: one for all labels, or one for each stripe of the image."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import Pooled, Stripes
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

_TASK = "multi-label classification"
_FACT = "standard practice; nothing reconstructed"


@METHODS.register(Card("baseline-gap", "global average pooling and a linear layer", _TASK, "baseline", _FACT))
def gap(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Mean over locations, then one linear classifier per label."""
    return compose(labels, backbone, options, Part(Pooled, {"pool": "mean"}))


@METHODS.register(Card("baseline-gmp", "global max pooling and a linear layer", _TASK, "baseline", _FACT))
def gmp(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Maximum over locations, then one linear classifier per label."""
    return compose(labels, backbone, options, Part(Pooled, {"pool": "max"}))


@METHODS.register(
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


@METHODS.register(
    Card(
        "baseline-stripes",
        "each label pooled from a fixed horizontal stripe, and a linear layer",
        "pedestrian attributes",
        "baseline",
        _FACT,
    )
)
def stripes(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """The control of a body part without learning: mean over the stripe of a label, then one linear classifier."""
    return compose(labels, backbone, options, Part(Stripes))
