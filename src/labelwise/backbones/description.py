"""What timm states about a network without building it: its family and its image size."""

from __future__ import annotations

import timm
from timm.models import model_entrypoint

VERIFIED = frozenset({"convnext", "efficientnet", "mobilenetv3", "regnet", "resnet", "vision_transformer"})
"""Families whose training step the tests run in the channels-last format, at several sizes; they need no trial."""


def family_of(name: str) -> str:
    """timm's module of a model, such as `resnet` for `resnet18d`."""
    return str(model_entrypoint(name.split(".")[0]).__module__.rpartition(".")[2])


def native_size(name: str) -> int:
    """The side in pixels of the images that a network's published weights were trained on."""
    described = timm.get_pretrained_cfg(name)
    return 224 if described is None else int(described.input_size[-1])


def accepts_any_size(name: str) -> bool:
    """Whether a network is known to compute images of any size, so that no trial is needed."""
    described = timm.get_pretrained_cfg(name)
    return family_of(name) in VERIFIED and described is not None and not described.fixed_input_size
