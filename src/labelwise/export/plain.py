"""An exported program in the forms that every runtime computes alike."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Graph, Node

_aten: Any = torch.ops.aten
_REDUCTIONS = (_aten.sum.dim_IntList, _aten.mean.dim, _aten.amax.default, _aten.amin.default)


def plain_forms(exported: torch.export.ExportedProgram) -> None:
    """Replaces forms of a program that a runtime computes wrongly or a converter refuses by equal ones.

    - A sum, mean, maximum or minimum over the last dimension of `[B, L, D]` becomes one over the last two dimensions of
      `[B, L, 1, D]`. OpenVINO 2026.4 fuses the first with a following sum or product with a constant per label, and
      then takes the constant of the image's number instead of the label's.
    - A split into one part becomes its input: LiteRT's converter refuses it.
    """
    graph = exported.graph_module.graph
    for node in list(graph.nodes):
        if node.target in _REDUCTIONS and _over_last_of_three(node):
            _over_last_two_of_four(graph, node)
        elif node.target == _aten.split.Tensor and len(node.meta["val"]) == 1:
            _without_split(graph, node)
    exported.graph_module.recompile()


def attends_over_many(exported: torch.export.ExportedProgram) -> bool:
    """Whether a program attends over more than four dimensions at once, which ONNX's exporter cannot express."""
    attention = (n for n in exported.graph.nodes if n.target == _aten.scaled_dot_product_attention.default)
    return any(node.meta["val"].ndim > 4 for node in attention)


def _over_last_of_three(node: Node) -> bool:
    x: Any = node.args[0]
    axes: Any = node.args[1] if len(node.args) > 1 else None
    keeps_dimension = len(node.args) > 2 and bool(node.args[2])
    return x.meta["val"].ndim == 3 and list(axes or []) in ([-1], [2]) and not keeps_dimension


def _over_last_two_of_four(graph: Graph, node: Node) -> None:
    x: Any = node.args[0]
    with graph.inserting_before(node):
        wider = graph.call_function(_aten.unsqueeze.default, (x, 2))
    wider.meta = {**node.meta, "val": x.meta["val"].unsqueeze(2)}
    node.args = (wider, [2, 3], *node.args[2:])


def _without_split(graph: Graph, node: Node) -> None:
    for part in list(node.users):
        assert part.target is operator.getitem
        part.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
        graph.erase_node(part)
    graph.erase_node(node)
