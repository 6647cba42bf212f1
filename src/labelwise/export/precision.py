"""Lower precisions: the formats that support them, and int8 quantisation of a graph's backbone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from labelwise.engines.runtimes import INPUT, openvino_core
from labelwise.errors import LabelwiseError, first_line
from labelwise.export.artefact import FOR_PHONES
from labelwise.export.logs import errors_only

OFFERED = {
    "fp32": ("onnx", "openvino", "torch", *FOR_PHONES),
    "bf16": ("openvino",),
    "int8": ("onnx", "openvino"),
}
"""Formats of each precision."""
WEIGHTED, BETWEEN = ("Conv", "MatMul", "Gemm"), ("Clip", "Relu", "MaxPool")
FIRST = 3
"""Number of first nodes with weights that stay in float, since their errors propagate through all later layers."""
_SCOPES = "pkg.torch.onnx.name_scopes"


def require_precision(precision: str, kind: str | None = None) -> None:
    """Raises an error if a precision does not exist, or the format or this processor does not support it.

    >>> require_precision("int8", "torch")
    Traceback (most recent call last):
    labelwise.errors.LabelwiseError: int8 as torch; expected int8 as onnx or openvino; correct --format or --precision
    """
    if precision not in OFFERED:
        raise LabelwiseError(
            f"precision {precision!r}", f"{', '.join(OFFERED)} or auto", "correct --precision"
        )
    formats = OFFERED[precision]
    if kind is not None and kind not in formats:
        raise LabelwiseError(
            f"{precision} as {kind}",
            f"{precision} as {' or '.join(formats)}",
            "correct --format or --precision",
        )
    if precision == "bf16" and not computes_bf16():
        raise LabelwiseError(
            "bf16 on a processor that does not compute in it",
            "a processor with the capability BF16 in OpenVINO",
            "export on such a machine, or give another --precision",
        )
    if (precision, kind) == ("int8", "openvino") and find_spec("nncf") is None:
        raise LabelwiseError(
            "int8 as openvino without the package nncf",
            "that package",
            "run: pip install 'labelwise[nncf]', or give --format onnx",
        )


def computes_bf16() -> bool:
    """Whether OpenVINO computes in bf16 on this machine's processor."""
    return "BF16" in openvino_core()[0].get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def quantise(source: Path, target: Path, images: Iterable[Tensor]) -> None:
    """Writes an ONNX graph with its backbone in int8, and its preprocessing and head in float.

    `q = round(x / s) + z`: weights have one scale `s` per channel, activations one per tensor that covers their range
    on the images. Weights use 7 bits, since processors without VNNI add pairs of products in 16 bits, which overflow
    with 8 bits.

    Args:
        source: the fp32 graph, as written by `--format onnx`.
        target: the file to write.
        images: batches `[B, 3, H, W]` uint8 to calibrate on.

    Raises:
        LabelwiseError: a backbone with fewer than four layers, or one that ONNX Runtime cannot quantise.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    nodes = backbone_nodes(onnx.load(source))
    if not nodes:
        raise LabelwiseError(
            "a graph with too few weights in its backbone", "four layers or more", "give --precision fp32"
        )
    try:
        with errors_only(""):
            quantize_static(
                source,
                target,
                _Calibration(images),
                quant_format=QuantFormat.QDQ,
                calibrate_method=CalibrationMethod.MinMax,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                nodes_to_quantize=nodes,
                extra_options={"MatMulConstBOnly": True},
            )
    except Exception as error:  # the runtime raises many kinds of errors on unsupported graphs
        raise LabelwiseError(
            f"this model, which ONNX Runtime cannot quantise ({type(error).__name__}: {first_line(error)})",
            "a convolutional network or a transformer",
            "give --precision fp32",
        ) from error


def backbone_nodes(graph: Any) -> list[str]:
    """Names of the nodes of an ONNX model to quantise, selected by the modules that they were traced in.

    These are the nodes with weights except the first three, the nodes between two of them, to avoid conversions to
    float and back, and sums of a convolution with its shortcut. A transformer's sums, normalisations and attention
    stay in float.
    """
    names, conv_outputs, first_weights, after_first = [], set(), list[str](), False
    for node in graph.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == _SCOPES), "")
        if "'model.backbone'" not in scopes:
            continue
        if node.op_type in WEIGHTED:
            # Identified by its weights, since a graph of two views contains every layer twice.
            first_weights += [node.input[1]] if len(first_weights) < FIRST else []
            after_first = node.input[1] not in first_weights
        if node.op_type == "Conv":
            conv_outputs.update(node.output)
        is_shortcut_sum = node.op_type == "Add" and not conv_outputs.isdisjoint(node.input)
        if after_first and (is_shortcut_sum or node.op_type in WEIGHTED + BETWEEN):
            names.append(node.name)
    return names


class _Calibration:
    """Batches in the form that ONNX Runtime's calibration requires."""

    def __init__(self, images: Iterable[Tensor]) -> None:
        self._batches: Iterator[dict[str, np.ndarray]] = ({INPUT: batch.numpy()} for batch in images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or `None` after the last."""
        return next(self._batches, None)
