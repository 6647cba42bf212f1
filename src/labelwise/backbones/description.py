"""What timm states about a network without building it: its family and its image size."""

from __future__ import annotations

from typing import Any

import timm
from timm.models import model_entrypoint

VERIFIED = frozenset({"convnext", "efficientnet", "mobilenetv3", "regnet", "resnet", "vision_transformer"})
"""Families whose training step the tests run in the channels-last format; they need no trial."""


def family_of(name: str) -> str:
    """timm's module of a model, such as `resnet` for `resnet18d`."""
    return str(model_entrypoint(name.split(".")[0]).__module__.rpartition(".")[2])


def native_size(name: str) -> int:
    """The side in pixels of the images that a network's published weights were trained on."""
    described = _described(name)
    return 224 if described is None else int(described.input_size[-1])


def accepts_any_size(name: str) -> bool:
    """Whether a network computes images of any size without a trial; true for an unknown name, refused when built."""
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        return True
    described = _described(name)
    if described is None:
        return bool(tag)
    return family_of(name) in VERIFIED and not described.fixed_input_size


def _described(name: str) -> Any:
    """timm's `PretrainedCfg`; `None` for a model without one, or a tag that timm lacks."""
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError:
        return None
