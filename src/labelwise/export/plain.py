"""An exported program in the forms that every runtime computes alike."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

_aten: Any = torch.ops.aten
_SCALES = (_aten.mul.Tensor, _aten.div.Tensor, _aten.adaptive_avg_pool2d.default)
_PADS = (_aten.pad.default, _aten.constant_pad_nd.default)
_REDUCTIONS = (_aten.sum.dim_IntList, _aten.mean.dim, _aten.amax.default, _aten.amin.default)


def plain_forms(exported: torch.export.ExportedProgram) -> None:
    """Replaces forms of a program that a runtime computes wrongly or a converter refuses by equal ones.

    - A sum, mean, maximum or minimum over the last dimension of `[B, L, D]` becomes one over the last two dimensions of
      `[B, L, 1, D]`. OpenVINO 2026.4 fuses the first with a following sum or product with a constant per label, and
      then takes the constant of the image's number instead of the label's.
    - A split into one part becomes its input: LiteRT's converter refuses it.
    - Zeros around a map before max pooling are joined to it: ONNX Runtime 1.31 leaves zeros that are padded to the
      pooling, which pads with the smallest number, so that the border of a negative map differs.
    - A convolution whose kernel is as large as a scaled map reads the map through the lowest bound of all:
      OpenVINO 2026.4 multiplies the kernel by factors of the places, as if they were factors of the channels.
    """
    graph = exported.graph_module.graph
    for node in list(graph.nodes):
        if node.target in _REDUCTIONS and _over_last_of_three(node):
            _over_last_two_of_four(graph, node)
        elif node.target == _aten.split.Tensor and len(node.meta["val"]) == 1:
            _without_split(graph, node)
        elif node.target in _PADS and _zeros_before_pooling(node):
            _with_zeros_joined(graph, node)
        elif node.target == _aten.conv2d.default and _kernel_as_large_as_a_scaled_map(node):
            _with_lower_bound(graph, node)
    exported.graph_module.recompile()


def without_resampling(exported: torch.export.ExportedProgram) -> GraphModule | None:
    """A module that computes the same with a constant in place of each resampled weight; `None` if there is none.

    The size of images is fixed in a graph, so positions that a transformer resamples to its grid are fixed as well.
    ExecuTorch and LiteRT have no operation for it, and runtimes differ in its last digits.
    """
    module = exported.module(check_guards=False)
    graph = module.graph
    constants = {node for node in graph.nodes if node.op == "get_attr"}
    resampled: list[Node] = []
    for node in graph.nodes:
        if node.op == "call_function" and constants.issuperset(node.all_input_nodes):
            constants.add(node)
            if _resamples(node) or not set(resampled).isdisjoint(node.all_input_nodes):
                resampled.append(node)
    if not resampled:
        return None
    values: dict[Node, Any] = {}
    for node in resampled:
        if constants.issuperset(node.users):
            continue
        name = f"resampled_{resampled.index(node)}"
        module.register_buffer(name, _value(module, node, values).contiguous())
        with graph.inserting_before(node):
            constant = graph.get_attr(name)
        constant.meta = dict(node.meta)
        node.replace_all_uses_with(constant, delete_user_cb=lambda user: user not in constants)
    for node in reversed(resampled):
        graph.erase_node(node)
    module.recompile()
    return module


def _resamples(node: Node) -> bool:
    """Whether a node resizes a map or samples a grid."""
    return str(node.target).removeprefix("aten.").lstrip("_").startswith(("upsample_", "grid_sampler"))


def _value(module: GraphModule, node: Node, values: dict[Node, Any]) -> Any:
    """What a node computes that depends on no input; `values` keeps those of the nodes before it."""
    if node.op == "get_attr":
        return operator.attrgetter(str(node.target))(module)
    if node not in values:
        args, kwargs = map_arg((node.args, node.kwargs), lambda argument: _value(module, argument, values))
        values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
    return values[node]


def attends_in_other_dimensions(exported: torch.export.ExportedProgram) -> bool:
    """Whether a program attends over tensors without four dimensions, which ONNX's exporter cannot express."""
    attention = (n for n in exported.graph.nodes if n.target == _aten.scaled_dot_product_attention.default)
    return any(node.meta["val"].ndim != 4 for node in attention)


def _over_last_of_three(node: Node) -> bool:
    """Whether a reduction is over the last of three dimensions, which it removes."""
    x: Any = node.args[0]
    axes: Any = node.args[1] if len(node.args) > 1 else None
    keeps_dimension = len(node.args) > 2 and bool(node.args[2])
    return x.meta["val"].ndim == 3 and list(axes or []) in ([-1], [2]) and not keeps_dimension


def _over_last_two_of_four(graph: Graph, node: Node) -> None:
    """Reduces over the last two of four dimensions instead of the last of three."""
    x: Any = node.args[0]
    with graph.inserting_before(node):
        wider = graph.call_function(_aten.unsqueeze.default, (x, 2))
    wider.meta = {**node.meta, "val": x.meta["val"].unsqueeze(2)}
    node.args = (wider, [2, 3], *node.args[2:])


def _without_split(graph: Graph, node: Node) -> None:
    """Puts the input in place of each part."""
    for part in list(node.users):
        assert part.target is operator.getitem
        part.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
        graph.erase_node(part)
    graph.erase_node(node)


def _zeros_before_pooling(node: Node) -> bool:
    """Whether max pooling reads what a node pads with zeros, by no more than the map's side."""
    pad: Any = node
    options = dict(
        zip(("mode", "value") if pad.target == _PADS[0] else ("value",), pad.args[2:], strict=False)
    )
    options |= pad.kwargs
    zeros = options.get("mode", "constant") == "constant" and not options.get("value")
    shape, sizes = pad.args[0].meta["val"].shape, pad.args[1]
    fits = all(0 <= size <= shape[-1 - i // 2] for i, size in enumerate(sizes))
    return zeros and fits and any(user.target == _aten.max_pool2d.default for user in node.users)


def _with_zeros_joined(graph: Graph, node: Node) -> None:
    """Puts concatenations with zeros in place of a padding."""
    joined: Any = node.args[0]
    sizes: Any = node.args[1]

    def insert(target: Any, *args: Any) -> Node:
        call = graph.call_function(target, args)
        call.meta = {**node.meta, "val": target(*map_arg(args, lambda argument: argument.meta["val"]))}
        return call

    with graph.inserting_before(node):
        for i in range(0, len(sizes), 2):
            axis = node.meta["val"].ndim - 1 - i // 2
            before, after = (
                [insert(_aten.zeros_like.default, insert(_aten.slice.Tensor, joined, axis, 0, size))]
                * bool(size)
                for size in sizes[i : i + 2]
            )
            joined = insert(_aten.cat.default, [*before, joined, *after], axis)
    node.replace_all_uses_with(joined)
    graph.erase_node(node)


def _kernel_as_large_as_a_scaled_map(node: Node) -> bool:
    """Whether a convolution has a kernel of the size of its input, which was scaled."""
    x, weight = (arg.meta["val"] for arg in node.args[:2])  # type: ignore[union-attr]
    fills_map = any(side == kernel > 1 for side, kernel in zip(x.shape[2:], weight.shape[2:], strict=False))
    return fills_map and node.args[0].target in _SCALES  # type: ignore[union-attr]


def _with_lower_bound(graph: Graph, node: Node) -> None:
    """Clamps a node's input at the lowest float32."""
    x: Any = node.args[0]
    with graph.inserting_before(node):
        bounded = graph.call_function(_aten.clamp.default, (x, torch.finfo(torch.float32).min))
    bounded.meta = dict(x.meta)
    node.replace_input_with(x, bounded)
