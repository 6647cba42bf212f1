"""One shared feature for all labels: pooled baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from labelwise.extractors import Pooled
from labelwise.methods.method import Method, compose
from labelwise.registry import Card, register
from labelwise.types import LabelSet

Options = Mapping[str, Any] | None
_TASK = "multi-label classification"
_FACT = "standard practice; nothing reconstructed"


@register(Card("baseline-gap", "global average pooling and a linear layer", _TASK, "baseline", _FACT))
def gap(
    labels: LabelSet,
    backbone: nn.Module,
    extractor: Options = None,
    loss: Options = None,
    positive_rate: Tensor | None = None,
) -> Method:
    """Mean over locations, then one linear classifier per label."""
    return compose(labels, backbone, Pooled, {"pool": "mean"}, extractor, loss, positive_rate)


@register(Card("baseline-gmp", "global max pooling and a linear layer", _TASK, "baseline", _FACT))
def gmp(
    labels: LabelSet,
    backbone: nn.Module,
    extractor: Options = None,
    loss: Options = None,
    positive_rate: Tensor | None = None,
) -> Method:
    """Maximum over locations, then one linear classifier per label."""
    return compose(labels, backbone, Pooled, {"pool": "max"}, extractor, loss, positive_rate)


@register(
    Card("baseline-mlp", "average pooling, one shared hidden layer, a linear layer", _TASK, "baseline", _FACT)
)
def mlp(
    labels: LabelSet,
    backbone: nn.Module,
    extractor: Options = None,
    loss: Options = None,
    positive_rate: Tensor | None = None,
) -> Method:
    """The control of equal width: what a hidden layer gives without a feature of its own per label."""
    defaults = {"pool": "mean", "hidden": 512, "dropout": 0.1}
    return compose(labels, backbone, Pooled, defaults, extractor, loss, positive_rate)
