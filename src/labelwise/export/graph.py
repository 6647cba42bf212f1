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
    """A model with tensor outputs: uint8 images `[B, 3, H, W]` -> logits `[B, L]`, then maps if requested.

    Args:
        model: the model to export.
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
    """The exported program of a model for any batch of images of one size.

    Raises:
        LabelwiseError: the model has data-dependent control flow, with the reason.
    """
    example = torch.zeros(3, 3, *size, dtype=torch.uint8)
    return exported_graph(Graph(model.cpu(), maps).eval(), example, INPUT)


def exported_graph(module: nn.Module, example: Tensor, name: str) -> torch.export.ExportedProgram:
    """The exported program of a module with one tensor, `name` in its `forward`, whose first dimension is dynamic.

    Raises:
        LabelwiseError: the module has data-dependent control flow, with the reason.
    """
    batch = {name: {0: torch.export.Dim("batch", min=1)}}
    with _quiet(), torch.no_grad(), _refusing("torch.export"):
        try:
            return torch.export.export(module, (example,), dynamic_shapes=batch, strict=False)
        except Exception:  # `len(tensor)` keeps the batch dynamic only in strict mode
            return torch.export.export(module, (example,), dynamic_shapes=batch, strict=True)


def write_graph(exported: torch.export.ExportedProgram, kind: str, folder: Path) -> str:
    """Writes a program as a graph of a kind to a folder and returns the name of its file.

    Raises:
        LabelwiseError: a package that the kind requires is missing, or the model cannot be expressed in it.
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
    """Raises an error if a kind of graph does not exist or its packages are not installed.

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
    """Writes a program as one ONNX file that includes its weights."""
    with _quiet(), torch.no_grad(), _refusing("onnx"):
        onnx_program: Any = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            input_names=[input_name],
            output_names=list(output_names),
            verbose=False,
        )
        onnx_program.save(file, external_data=False)


def _write_onnx(exported: torch.export.ExportedProgram, file: Path) -> None:
    save_onnx(exported, file, INPUT, (LOGITS, MAPS)[: len(exported.graph_signature.user_outputs)])


def _write_openvino(exported: torch.export.ExportedProgram, file: Path) -> None:
    import openvino as ov

    # Via ONNX, since OpenVINO cannot convert the position embedding of a transformer from the program itself.
    onnx_file = file.with_name("between.onnx")
    _write_onnx(exported, onnx_file)
    # Not `convert_model`, which sends usage statistics.
    graph = openvino_core()[0].read_model(onnx_file)
    _sums_as_products(graph)
    ov.save_model(graph, file, compress_to_fp16=False)
    onnx_file.unlink()


def _sums_as_products(graph: Any) -> None:
    """Replaces sums over the last dimension by products with ones.

    OpenVINO 2026.4 fuses such a sum with the bias that is added to it, and then indexes the bias by the batch row
    instead of the label, which is wrong for more than one image.
    """
    from openvino import opset13 as op

    for node in graph.get_ordered_ops():
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
    except Exception as error:  # exporters raise many kinds of errors
        raise LabelwiseError(
            f"this model, which {kind} cannot express ({type(error).__name__}: {first_line(error)})",
            "a method and a backbone that docs/export.md lists for this format",
            "choose another --format",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporters' logs and warnings, and restores them afterwards."""
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
