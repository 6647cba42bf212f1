"""Parameters of a backbone that do not learn: unused ones, and groups of layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from timm.models import group_parameters
from torch import Tensor, nn

from labelwise.errors import LabelwiseError


def freeze_unused(net: nn.Module, x: Tensor) -> None:
    """Freeze parameters that the map does not depend on, such as a classifier's norm: DDP would wait for gradients."""
    seen, waiting = set(), [x.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [below for below, _ in node.next_functions]
    for p in net.parameters():
        if p.requires_grad and torch.autograd.graph.get_gradient_edge(p).node not in seen:
            p.requires_grad_(False)


def freeze_groups(net: Any, model: str, frozen: int, unfrozen: int) -> None:
    """Freeze the first `frozen` groups of layers, or all but the last `unfrozen` if that is above 0."""
    parameters = dict(net.named_parameters())
    named = _groups(net, parameters)
    # Groups that the map does not depend on, such as a classifier's norm, are not counted.
    groups = [names for names in named if any(parameters[name].requires_grad for name in names)]
    if unfrozen > len(groups):
        raise LabelwiseError(
            f"the last {unfrozen} groups of {model!r}",
            f"from 1 to {len(groups)}, since it has {len(groups)} groups of layers",
            "correct backbone.unfrozen_groups",
        )
    for names in groups[: len(groups) - unfrozen if unfrozen else min(frozen, len(groups) - 1)]:
        for name in names:
            parameters[name].requires_grad_(False)


def _groups(net: Any, parameters: Iterable[str]) -> Iterable[Sequence[str]]:
    """Names of the parameters of each group of layers: timm's, or else those of each part of the network in order."""
    if hasattr(net, "group_matcher"):
        return group_parameters(net, net.group_matcher(coarse=True)).values()
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in parameters:
        *parts, _ = name.split(".")
        listed = bool(parts) and isinstance(getattr(net, parts[0]), nn.Sequential | nn.ModuleList)
        groups[tuple(parts[: 2 if listed else 1])].append(name)
    return groups.values()
