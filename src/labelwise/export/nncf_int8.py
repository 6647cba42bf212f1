"""Quantisation of an OpenVINO graph's backbone to int8 by NNCF."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from labelwise.engines.runtimes import INPUT, openvino_core
from labelwise.errors import LabelwiseError, first_line
from labelwise.export.logs import errors_only
from labelwise.export.precision import backbone_nodes


def quantise_openvino(source: Path, target: Path, images: Iterable[Tensor]) -> None:
    """Writes an ONNX graph as an OpenVINO graph with its backbone in int8, and all else in float.

    The same layers are quantised as by `precision.quantise`, and scales cover the same ranges. Weights have one scale
    per channel; activations have one per tensor, and one per channel before depthwise convolutions. Biases are
    corrected for the mean error of their layer on the images. Weights use all of their 8 bits on processors with VNNI
    or AMX.

    Args:
        source: the fp32 graph, as written by `--format onnx`.
        target: the `.xml` file to write; its weights go to the `.bin` file beside it.
        images: batches `[B, 3, H, W]` uint8 to calibrate on.

    Raises:
        LabelwiseError: a backbone with fewer than four layers, or one that NNCF cannot quantise.
    """
    import onnx
    import openvino as ov
    from openvino._offline_transformations import apply_moc_transformations

    nodes = set(backbone_nodes(onnx.load(source)))
    if not nodes:
        raise LabelwiseError(
            "a graph with too few weights in its backbone", "four layers or more", "give --precision fp32"
        )
    nncf, ranges = _nncf(), import_module("nncf.quantization.range_estimator")
    model = openvino_core()[0].read_model(source)
    # Folds constants first: NNCF would take the reshaped weights of depthwise convolutions for activations.
    apply_moc_transformations(model, cf=True)
    samples = [{INPUT: image[None].numpy()} for batch in images for image in batch]
    try:
        with errors_only("nncf"), redirect_stdout(io.StringIO()):  # of its progress bars
            quantised = nncf.quantize(
                model,
                nncf.Dataset(samples),
                subset_size=len(samples),
                preset=nncf.QuantizationPreset.MIXED,
                target_device=nncf.TargetDevice.CPU,
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    # The whole range, as in `quantise`; the default cuts the largest values off.
                    activations_range_estimator_params=ranges.RangeEstimatorParametersSet.MINMAX
                ),
                ignored_scope=nncf.IgnoredScope(names=float_operations(model, nodes), validate=False),
            )
    except Exception as error:  # NNCF raises many kinds of errors on unsupported graphs
        raise LabelwiseError(
            f"this model, which NNCF cannot quantise ({type(error).__name__}: {first_line(error)})",
            "a convolutional network or a transformer",
            "give --precision fp32, or --format onnx",
        ) from error
    ov.save_model(quantised, target, compress_to_fp16=False)


def float_operations(model: Any, nodes: set[str]) -> list[str]:
    """Names of the operations of an OpenVINO model that stay in float: those of no ONNX node to quantise.

    Args:
        model: read from an ONNX file.
        nodes: names of the ONNX nodes to quantise. OpenVINO calls the convolution of a node with a bias
            `NODE/WithoutBiases`, and its sum with the bias `NODE`.
    """
    return [
        operation.get_friendly_name()
        for operation in model.get_ops()
        if operation.get_type_name() not in ("Constant", "Parameter", "Result")
        and operation.get_friendly_name().removesuffix("/WithoutBiases") not in nodes
    ]


def _nncf() -> Any:
    """The package, imported so that it sends no usage statistics."""
    previous = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"  # its switch, read at import
    try:
        return import_module("nncf")
    finally:
        if previous is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = previous
