"""Builds a registered method or its model by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn

from labelwise.backbones import TimmBackbone
from labelwise.composition.compose import Options, Part
from labelwise.composition.method import Method
from labelwise.model import LabelModel
from labelwise.registry import METHODS
from labelwise.types import LabelSet


def create_method(
    name: str,
    labels: LabelSet | Sequence[str],
    backbone: str | nn.Module = "tf_efficientnet_lite0",
    *,
    weights: str = "hub",
    image_size: int = 224,
    freeze: bool = False,
    drop_path: float = 0.0,
    stage: int = -1,
    fixed_statistics: bool = False,
    frozen_groups: int = 0,
    unfrozen_groups: int = 0,
    gradient_checkpointing: bool = False,
    **options: Any,
) -> Method:
    """Build a registered method.

    Args:
        name: method id, see `list_methods`.
        labels: label set, or names in order.
        backbone: timm model name, or a module with `out_channels`.
        weights: `hub`, `none`, `package:NAME` or a file.
        image_size: side in pixels for which the backbone is built.
        freeze: freeze the backbone.
        drop_path: stochastic depth rate of the backbone.
        stage: stage of the backbone that returns the map; -1 for the last.
        fixed_statistics: batch norm uses its running statistics in training.
        frozen_groups: number of frozen groups of layers of the backbone, counted from the input.
        unfrozen_groups: if above 0, number of groups that learn, counted from the last; the others are frozen.
        gradient_checkpointing: recompute the backbone's activations in the backward pass, for less memory.
        options: `extractor={...}`, `loss={...}` and the rest of `Options`.

    Raises:
        LabelwiseError: unknown method, backbone, weights or option.
    """
    _, build = METHODS[name]
    label_set = labels if isinstance(labels, LabelSet) else LabelSet(tuple(labels))
    if isinstance(backbone, str):
        backbone = TimmBackbone(
            backbone,
            weights,
            image_size,
            freeze,
            drop_path,
            stage,
            fixed_statistics,
            frozen_groups,
            unfrozen_groups,
            gradient_checkpointing,
        )
    return build(label_set, backbone, Options(**options))


class _NoBackbone(nn.Module):
    """Stands for a backbone where only the parts of a head are looked at."""

    out_channels = 8


@cache
def method_parts(name: str) -> Mapping[str, Part]:
    """The extractor, relation, classifier and terms of a method by section, those that it has.

    Empty for a method of another package that is not built by `compose`.

    Raises:
        LabelwiseError: unknown method.
    """
    _, build = METHODS[name]
    with torch.random.fork_rng(devices=[]):
        return getattr(build(LabelSet(("a", "b")), _NoBackbone(), Options()), "parts", {})


def create_model(
    name: str,
    backbone: str | nn.Module = "tf_efficientnet_lite0",
    labels: LabelSet | Sequence[str] = (),
    *,
    pretrained: bool = False,
    **options: Any,
) -> LabelModel:
    """Build a registered method's model, without its loss.

    Args:
        pretrained: load the backbone's weights from the hub; `weights=` overrides it.

    >>> import torch
    >>> model = create_model("dlfl", "resnet10t", ["dog", "person"])
    >>> model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).logits.shape
    torch.Size([1, 2])
    """
    options.setdefault("weights", "hub" if pretrained else "none")
    return create_method(name, labels, backbone, **options).model
