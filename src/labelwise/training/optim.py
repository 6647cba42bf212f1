"""Optimisers and their parameter groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.optim import Optimizer

from labelwise.errors import LabelwiseError
from labelwise.runs.sections import OptimSettings


def build_optimizer(
    method: nn.Module,
    backbone: nn.Module,
    settings: OptimSettings,
    lr_factor: float,
    fused: bool = False,
    layer_decay: float = 1.0,
) -> Optimizer:
    """An optimiser over the trainable parameters.

    A backbone parameter with n layers above it, as timm groups them, has the learning rate
    `lr * lr_factor * layer_decay**n`. Weight decay acts only on matrices and kernels: not on biases, norms and label
    queries, whose scale matters, nor on what a timm model lists in `no_weight_decay()`, such as position embeddings,
    class tokens and relative position tables.

    Args:
        method: the method to train.
        backbone: the part of it with its own learning rate.
        settings: of the optimiser.
        lr_factor: the backbone's learning rate over the head's.
        fused: one kernel for many parameters, which `step_where` needs.
        layer_decay: the rate of a layer of the backbone over that of the next one.

    Raises:
        LabelwiseError: layer decay for a network that timm does not divide into layers.

    Source: layer-wise decay as in Bao et al. (2022), BEiT; layers are timm's.
    """
    scales = {p: lr_factor * scale for p, scale in _layer_scales(backbone, layer_decay)}
    exempt = _without_decay(backbone)
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, p in method.named_parameters():
        if p.requires_grad:
            decays = (
                p.ndim >= 2 and not name.endswith(("queries", "text_queries.weight")) and id(p) not in exempt
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
    optimizer_class = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return optimizer_class(options, lr=settings.lr, fused=fused or None)


def is_fused(settings: OptimSettings, device: torch.device, scaled: bool) -> bool:
    """Whether the optimiser uses one kernel for many parameters.

    Args:
        settings: of the optimiser.
        device: of the weights.
        scaled: whether a gradient scaler checks each step, as with fp16.
    """
    return (device.type in ("cuda", "cpu") and not scaled) if settings.fused == "auto" else settings.fused


def step_where(kept: Tensor, optimizer: Any) -> None:
    """A step of a fused optimiser that changes neither weights nor state if `kept` is false, without a host sync.

    Args:
        kept: one bool on the device of the weights.
        optimizer: built with `fused`, plain or wrapped by accelerate.
    """
    plain = getattr(optimizer, "optimizer", optimizer)
    for group in plain.param_groups:
        for p in group["params"]:
            # A momentum buffer created in a skipped step would stay uninitialised; zeros give the same first step.
            if group.get("momentum") and p.grad is not None and "momentum_buffer" not in plain.state[p]:
                plain.state[p]["momentum_buffer"] = torch.zeros_like(p)
    plain.found_inf = (~kept).to(torch.float32)
    optimizer.step()


def load_optimizer(optimizer: Any, state: Mapping[str, Any]) -> None:
    """Load a saved state, but keep the optimiser's own `fused`.

    Args:
        optimizer: plain or wrapped by accelerate.
        state: its `state_dict`, from any device.
    """
    groups = [
        {**saved, "fused": group["fused"]}
        for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})


def _layer_scales(backbone: nn.Module, decay: float) -> Iterator[tuple[nn.Parameter, float]]:
    """Parameters of a backbone, each with its layer's learning rate over that of the last layer."""
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
        # Relative to the largest rate, since timm also counts the removed head as a layer.
        last = max((group["lr_scale"] for group in groups), default=1.0)
        for group in groups:
            yield from ((p, group["lr_scale"] / last) for p in group["params"])


def _without_decay(backbone: nn.Module) -> set[int]:
    """Ids of the parameters that a network in the backbone excludes from weight decay."""
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
