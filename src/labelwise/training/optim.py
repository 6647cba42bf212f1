"""Optimisers and their parameter groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from labelwise.training.sections import OptimSettings


def build_optimizer(
    method: nn.Module,
    backbone: nn.Module,
    settings: OptimSettings,
    lr_factor: float,
    fused: bool = False,
) -> Optimizer:
    """An optimiser over the parameters that learn.

    Backbone parameters learn at `lr * lr_factor`. Weight decay acts on matrices and kernels alone: not on biases,
    norms and label queries, whose scale means something, nor on what a timm model lists in `no_weight_decay()`:
    position embeddings, class tokens, tables of relative positions.

    Args:
        method: what is trained.
        backbone: the part of it that learns at a rate of its own.
        settings: how weights move.
        lr_factor: the backbone's rate over the head's.
        fused: one kernel for many parameters, which `step_where` needs.
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
        return torch.optim.SGD(options, lr=settings.lr, momentum=settings.momentum, fused=fused or None)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(options, lr=settings.lr, fused=fused or None)


def step_where(kept: Tensor, optimizer: Any) -> None:
    """A step of a fused optimiser that moves neither weights nor its state where `kept` is false; nobody looks at it.

    Args:
        kept: one bool on the device of the weights.
        optimizer: made with `fused`, by itself or wrapped by accelerate.
    """
    plain = getattr(optimizer, "optimizer", optimizer)
    for group in plain.param_groups:
        for p in group["params"]:
            # What a fused SGD makes in a step that is not kept would never be filled; zeros start it alike.
            if group.get("momentum") and p.grad is not None and "momentum_buffer" not in plain.state[p]:
                plain.state[p]["momentum_buffer"] = torch.zeros_like(p)
    plain.found_inf = (~kept).to(torch.float32)
    optimizer.step()


def load_optimizer(optimizer: Any, state: Mapping[str, Any]) -> None:
    """Take over a saved state; how steps are computed, `fused`, stays the optimiser's own.

    Args:
        optimizer: by itself or wrapped by accelerate.
        state: its `state_dict`, on whatever device it was made.
    """
    groups = [
        {**saved, "fused": own["fused"]}
        for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})


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


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group's learning rate to its peak times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
