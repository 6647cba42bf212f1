"""Optimisers and their parameter groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.optim import Optimizer

from labelwise.errors import LabelwiseError
from labelwise.training.sections import OptimSettings


def build_optimizer(
    method: nn.Module,
    backbone: nn.Module,
    settings: OptimSettings,
    lr_factor: float,
    fused: bool = False,
    layer_decay: float = 1.0,
) -> Optimizer:
    """An optimiser over the parameters that learn.

    Backbone parameters learn at `lr * lr_factor * layer_decay**n`, where n layers, as timm groups them,
    lie above. Weight decay acts on matrices and kernels alone: not on biases, norms and label queries, whose scale
    means something, nor on what a timm model lists in `no_weight_decay()`: position embeddings, class tokens, tables
    of relative positions.

    Args:
        method: what is trained.
        backbone: the part of it that learns at a rate of its own.
        settings: how weights move.
        lr_factor: the backbone's rate over the head's.
        fused: one kernel for many parameters, which `step_where` needs.
        layer_decay: the rate of a layer of the backbone over that of the next one.

    Raises:
        LabelwiseError: a decay of a network that timm does not divide into layers.

    Source: layer-wise decay as in Bao et al. (2022), BEiT; layers are timm's.
    """
    scales = {p: lr_factor * scale for p, scale in _layer_scales(backbone, layer_decay)}
    kept = _without_decay(backbone)
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, p in method.named_parameters():
        if p.requires_grad:
            decays = (
                p.ndim >= 2 and not name.endswith(("queries", "text_queries.weight")) and id(p) not in kept
            )
            groups.setdefault((p in scales, scales.get(p, 1.0), decays), []).append(p)
    options = [
        {
            "params": parameters,
            "lr": settings.lr * scale,
            "base_lr": settings.lr * scale,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (_, scale, decays), parameters in groups.items()
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(options, lr=settings.lr, momentum=settings.momentum, fused=fused or None)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(options, lr=settings.lr, fused=fused or None)


def is_fused(settings: OptimSettings, device: torch.device, scaled: bool) -> bool:
    """Whether the optimiser steps by one kernel for many parameters.

    Args:
        settings: how weights move.
        device: where the weights are.
        scaled: whether a gradient scaler looks at each step, as with fp16.
    """
    return (device.type == "cuda" and not scaled) if settings.fused == "auto" else settings.fused


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


def _layer_scales(backbone: nn.Module, decay: float) -> Iterator[tuple[nn.Parameter, float]]:
    """Parameters of a backbone that learn, each with its layer's rate over that of the last layer."""
    yield from ((p, 1.0) for p in backbone.parameters())
    if decay < 1:
        net: Any = getattr(backbone, "net", None)
        if not hasattr(net, "group_matcher"):
            raise LabelwiseError(
                f"backbone.layer_decay = {decay} of a backbone without timm's layers",
                "a network that timm divides into layers",
                "leave backbone.layer_decay out",
            )
        groups = param_groups_layer_decay(net, layer_decay=decay)
        last = max(
            (group["lr_scale"] for group in groups), default=1.0
        )  # timm counts a head that is not there
        for group in groups:
            yield from ((p, group["lr_scale"] / last) for p in group["params"])


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
