"""Optimisers, their parameter groups, and the schedule as a function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer

from labelwise.training.config import OptimSettings


def build_optimizer(
    method: nn.Module, backbone: nn.Module, settings: OptimSettings, lr_factor: float
) -> Optimizer:
    """An optimiser over the parameters that learn.

    Backbone parameters learn at `lr * lr_factor`. Weight decay acts on matrices and kernels alone: not on biases,
    norms and label queries, whose scale means something, nor on what a timm model lists in `no_weight_decay()`:
    position embeddings, class tokens, tables of relative positions.
    """
    of_backbone = {id(p) for p in backbone.parameters()}
    kept = _without_decay(backbone)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, p in method.named_parameters():
        if p.requires_grad:
            decays = p.ndim >= 2 and not name.endswith("queries") and id(p) not in kept
            groups.setdefault((id(p) in of_backbone, decays), []).append(p)
    options = [
        {
            "params": parameters,
            "lr": settings.lr * (lr_factor if below else 1.0),
            "base_lr": settings.lr * (lr_factor if below else 1.0),
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (below, decays), parameters in groups.items()
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(options, lr=settings.lr, momentum=settings.momentum)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(options, lr=settings.lr)


def _without_decay(backbone: nn.Module) -> set[int]:
    """Identities of the parameters that a network within the backbone keeps from weight decay."""
    return {
        id(p)
        for module in backbone.modules()
        if callable(listed := getattr(module, "no_weight_decay", None))
        for names in [listed()]
        for name, p in module.named_parameters()
        if name in names
    }


def rate_factor(step: int, steps: int, settings: OptimSettings) -> float:
    """Learning rate of a step over the peak rate, in (0, 1].

    `cosine`: linear rise over the warm-up, then a half cosine to 0; `one-cycle`: a half cosine from 1/25 up over the
    warm-up, then a half cosine to 1e-4 / 25; `constant`: linear rise, then 1.

    >>> rate_factor(10, 100, OptimSettings(warmup=0.1))
    1.0
    """
    rise = settings.warmup * steps
    falling = (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise)))) / 2
    if settings.schedule == "one-cycle":
        low, end = 1 / 25, 1e-4 / 25
        if step < rise:
            return low + (1 - low) * (1 - math.cos(math.pi * step / rise)) / 2
        return end + (1 - end) * falling
    if step < rise:
        return (step + 1) / (rise + 1)
    return 1.0 if settings.schedule == "constant" else falling


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group's learning rate to its peak times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
