"""A model as a graph that runs without this library: ONNX, OpenVINO, or a torch.export program."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.errors import LabelwiseError, first_line
from labelwise.model import LabelModel
from labelwise.training.frozen_engine import openvino_core

OPSET = 20
INPUT, LOGITS, MAPS = "images", "logits", "maps"
FILES = {"onnx": "model.onnx", "openvino": "model.xml", "torch": "model.pt2"}
NEEDS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "onnx", "onnxscript"),
    "torch": (),
}


class Graph(nn.Module):
    """A model with plain tensors in and out: uint8 images `[B, 3, H, W]` -> logits `[B, L]`, then maps where asked for.

    Args:
        model: what is exported.
        maps: whether the evidence maps `[B, L, h, w]` are a second output.
    """

    def __init__(self, model: LabelModel, maps: bool) -> None:
        super().__init__()
        self.model, self.maps = model, maps

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`(logits,)` or `(logits, maps)`, in fp32."""
        output = self.model(images, want_maps=self.maps)
        logits = output.logits.float()
        return (logits, output.maps.float()) if self.maps and output.maps is not None else (logits,)


def program(model: LabelModel, size: tuple[int, int], maps: bool) -> torch.export.ExportedProgram:
    """The computation of a model for any batch of images of one size.

    Raises:
        LabelwiseError: a model whose computation depends on the numbers it computes, with the reason.
    """
    example = torch.zeros(3, 3, *size, dtype=torch.uint8)
    return exported_graph(Graph(model.cpu(), maps).eval(), example, INPUT)


def exported_graph(module: nn.Module, example: Tensor, name: str) -> torch.export.ExportedProgram:
    """The computation of a module of one tensor, named as its forward names it, with the first dimension free.

    Raises:
        LabelwiseError: a computation that depends on the numbers it computes, with the reason.
    """
    batch = {name: {0: torch.export.Dim("batch", min=1)}}
    with _quiet(), torch.no_grad(), _refusing("torch.export"):
        try:
            return torch.export.export(module, (example,), dynamic_shapes=batch, strict=False)
        except (
            Exception
        ):  # code that asks a tensor for its length keeps the batch free only when traced by bytecode
            return torch.export.export(module, (example,), dynamic_shapes=batch, strict=True)


def write_graph(exported: torch.export.ExportedProgram, kind: str, folder: Path) -> str:
    """Write a program as a graph of a kind into a folder; gives the name of its file.

    Raises:
        LabelwiseError: a package that the kind needs is missing, or the model cannot be expressed in it.
    """
    require(kind)
    writers: dict[str, Callable[[torch.export.ExportedProgram, Path], None]] = {
        "onnx": _write_onnx,
        "openvino": _write_openvino,
        "torch": _write_torch,
    }
    with _quiet(), torch.no_grad(), _refusing(kind):
        writers[kind](exported, folder / FILES[kind])
    return FILES[kind]


def require(kind: str) -> None:
    """Refuse a kind of graph whose packages are not installed, or that does not exist.

    >>> require("tflite")
    Traceback (most recent call last):
    labelwise.errors.LabelwiseError: format 'tflite'; expected onnx, openvino or torch; correct --format
    """
    from importlib.util import find_spec

    if kind not in NEEDS:
        raise LabelwiseError(f"format {kind!r}", "onnx, openvino or torch", "correct --format")
    missing = [name for name in NEEDS[kind] if find_spec(name) is None]
    if missing:
        raise LabelwiseError(
            f"format {kind} without the package {missing[0]}",
            f"{', '.join(NEEDS[kind])}",
            f"run: pip install 'labelwise[{kind}]'",
        )


def save_onnx(
    exported: torch.export.ExportedProgram, file: Path, input_name: str, output_names: Sequence[str]
) -> None:
    """Write a program as one ONNX file with its weights inside."""
    with _quiet(), torch.no_grad(), _refusing("onnx"):
        made: Any = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            input_names=[input_name],
            output_names=list(output_names),
            verbose=False,
        )
        made.save(file, external_data=False)


def _write_onnx(exported: torch.export.ExportedProgram, file: Path) -> None:
    save_onnx(exported, file, INPUT, (LOGITS, MAPS)[: len(exported.graph_signature.user_outputs)])


def _write_openvino(exported: torch.export.ExportedProgram, file: Path) -> None:
    import openvino as ov

    # By way of ONNX: read from the program itself, a transformer's position code has no counterpart.
    between = file.with_name("between.onnx")
    _write_onnx(exported, between)
    # Not `convert_model`, which reports each use to its makers.
    found = openvino_core()[0].read_model(between)
    _sums_as_products(found)
    ov.save_model(found, file, compress_to_fp16=False)
    between.unlink()


def _sums_as_products(found: Any) -> None:
    """Write sums over the last dimension as products with ones.

    OpenVINO 2026.4 joins such a sum with the bias that is added to it, and then takes the biases of the batch's rows
    in place of the labels': wrong for more than one image.
    """
    from openvino import opset13 as op

    for node in found.get_ordered_ops():
        if node.get_type_name() != "ReduceSum" or node.get_attributes()["keep_dims"]:
            continue
        x, axes = node.input_value(0), node.input_value(1).get_node()
        shape = x.get_partial_shape()
        last = axes.get_type_name() == "Constant" and list(axes.data.flatten()) in ([-1], [len(shape) - 1])
        if not last or shape[-1].is_dynamic:
            continue
        ones = op.constant(np.ones((shape[-1].get_length(), 1), np.float32))
        sums = op.squeeze(op.matmul(x, ones, False, False), op.constant(np.array([-1])))
        for reader in node.output(0).get_target_inputs():
            reader.replace_source_output(sums.output(0))


def _write_torch(exported: torch.export.ExportedProgram, file: Path) -> None:
    torch.export.save(exported, file)


@contextmanager
def _refusing(kind: str) -> Iterator[None]:
    try:
        yield
    except LabelwiseError:
        raise
    except Exception as error:  # exporters raise nearly anything
        raise LabelwiseError(
            f"this model, which {kind} cannot express ({type(error).__name__}: {first_line(error)})",
            "a method and a backbone that docs/export.md lists for this format",
            "choose another --format",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' notes on their own inner workings; restored afterwards."""
    names = ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "torch.onnx._internal.exporter")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
