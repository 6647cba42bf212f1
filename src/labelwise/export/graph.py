"""A model as a graph that runs without this library: ONNX, OpenVINO, or a torch.export program."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError
from torch.nn.functional import normalize

from labelwise.decisions import Decisions
from labelwise.engines.runtimes import DECIDED, INPUT, OUTPUTS, openvino_core
from labelwise.errors import LabelwiseError, first_line
from labelwise.export.decide import Decide
from labelwise.export.logs import errors_only
from labelwise.export.phones import PHONE_FILES, Pixels, require_converter, write_phone
from labelwise.export.plain import attends_in_other_dimensions, plain_forms, without_resampling
from labelwise.model import LabelModel
from labelwise.runs.views import Views
from labelwise.types import Output

OPSET = 20
BATCH = "batch"
FILES = {"onnx": "model.onnx", "openvino": "model.xml", "torch": "model.pt2"}
NEEDS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "onnx", "onnxscript"),
    "torch": (),
}
_TERMINAL_CODE = re.compile(r"\x1b\[[0-9;]*m")


class Graph(nn.Module):
    """A model with tensor outputs: uint8 images `[B, 3, H, W]` -> logits `[B, L]`, then maps and features if requested.

    Args:
        model: the model to export.
        maps: whether the evidence maps `[B, L, h, w]` are the second output.
        features: whether the inputs of the labels' classifiers `[B, L, D]`, and the mean of the backbone's map over its
            places `[B, C]`, both of unit length and of the first view, are further outputs.
        decide: the step whose probabilities and selected labels are the last outputs.
    """

    def __init__(
        self, model: LabelModel, maps: bool, features: bool = False, decide: Decide | None = None
    ) -> None:
        super().__init__()
        self.model, self.maps, self.features, self.decide = model, maps, features, decide

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`(logits,)`, `(logits, maps)`, or `(logits, maps, features, whole)`, in fp32; then those of `decide`."""
        feature_map: Tensor | None = None
        if self.features and not isinstance(self.model, Views):
            feature_map = self.model.backbone(images)
            output = self.model(feature_map, want_maps=self.maps, is_map=True)
        elif self.features:
            output, feature_map = self._output_of_views(images)
        else:
            output = self.model(images, want_maps=self.maps)
        outputs = [output.logits.float()]
        if self.maps and output.maps is not None:
            outputs.append(output.maps.float())
        if feature_map is not None:
            whole = feature_map.float().mean((2, 3))
            outputs += [normalize(vectors.float(), dim=-1) for vectors in (output.features, whole)]
        if self.decide is not None:
            outputs += self.decide(outputs[0])
        return tuple(outputs)

    def _output_of_views(self, images: Tensor) -> tuple[Output, Tensor]:
        """The output of several views, and the map of the first."""
        maps: list[Tensor] = []
        handle = self.model.backbone.register_forward_hook(lambda module, given, out: maps.append(out))
        try:
            output = self.model(images, want_maps=self.maps)
        finally:
            handle.remove()
        return output, maps[0][: images.shape[0]]


def program(
    model: LabelModel,
    size: tuple[int, int],
    maps: bool,
    features: bool = False,
    decisions: Decisions | None = None,
) -> torch.export.ExportedProgram:
    """The exported program of a model for any batch of images of one size, see `Graph`, with decisions if given.

    Raises:
        LabelwiseError: the model has data-dependent control flow, with the reason; or decisions that no graph can make.
    """
    example = torch.zeros(3, 3, *size, dtype=torch.uint8)
    decider = None if decisions is None else Decide(decisions)
    return exported_graph(Graph(model, maps, features, decider), example, INPUT)


def program_for_phones(
    model: LabelModel, kind: str, size: tuple[int, int], maps: bool, features: bool = False
) -> torch.export.ExportedProgram:
    """The exported program of a model for one image, see `Graph`; with float input from 0 to 255 for Core ML.

    Raises:
        LabelwiseError: as `program`.
    """
    graph, example = Graph(model, maps, features), torch.zeros(1, 3, *size, dtype=torch.uint8)
    if kind == "coreml":
        return exported_graph(Pixels(graph), example.float(), INPUT, dynamic=False)
    return exported_graph(graph, example, INPUT, dynamic=False)


def exported_graph(
    module: nn.Module, example: Tensor, name: str, dynamic: bool = True
) -> torch.export.ExportedProgram:
    """The exported program of a module with one tensor, `name` in its `forward`, whose first dimension may be dynamic.

    Weights are in the plain memory format, and operations in the forms that every runtime computes alike.

    Raises:
        LabelwiseError: the module has data-dependent control flow, with the reason.
    """
    prepared = copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format).eval()
    with quiet(), torch.no_grad(), refusing("torch.export", "choose another method or backbone"):
        exported = _traced(prepared, example, name, dynamic)
        if attends_in_other_dimensions(exported):
            for part in prepared.modules():
                if hasattr(part, "fused_attn"):  # timm's switch between one operation and its formula
                    part.fused_attn = False  # type: ignore[assignment]
            exported = _traced(prepared, example, name, dynamic)
        resolved = without_resampling(exported)
        if resolved is not None:
            exported = _traced(resolved, example, name, dynamic)
        plain_forms(exported)
    return exported


def _traced(module: nn.Module, example: Tensor, name: str, dynamic: bool) -> torch.export.ExportedProgram:
    """The exported program, traced in strict mode only if the other mode fails."""
    shapes = {name: {0: torch.export.Dim(BATCH, min=1)}} if dynamic else None
    try:
        return torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)
    except UserError as error:  # `len(tensor)` keeps the batch dynamic only in strict mode
        try:
            return torch.export.export(module, (example,), dynamic_shapes=shapes, strict=True)
        except Exception as strict_error:  # tracing raises nearly anything; both reasons are shown
            raise RuntimeError(f"{first_line(error)}; in strict mode: {first_line(strict_error)}") from None


def write_graph(exported: torch.export.ExportedProgram, kind: str, folder: Path) -> str:
    """Writes a program as a graph of a kind to a folder and returns the name of its file.

    Raises:
        LabelwiseError: a package that the kind requires is missing, or the model cannot be expressed in it.
    """
    require(kind)
    writers: dict[str, Callable[..., None]] = {
        "onnx": _write_onnx,
        "openvino": _write_openvino,
        "torch": _write_torch,
        **{phone: partial(write_phone, kind=phone) for phone in PHONE_FILES},
    }
    file = graph_file(kind)
    with quiet(), torch.no_grad(), refusing(kind, "give --format torch"):
        writers[kind](exported, file=folder / file)
    return file


def graph_file(kind: str) -> str:
    """The name of the file, or of the folder for Core ML, of a kind of graph."""
    return {**FILES, **PHONE_FILES}[kind]


def require(kind: str) -> None:
    """Raises an error if a kind of graph does not exist or its packages are not installed.

    >>> require("tflite")
    Traceback (most recent call last):
    labelwise.errors.LabelwiseError: format 'tflite'; expected onnx, openvino, torch, executorch, litert or coreml...
    """
    from importlib.util import find_spec

    if kind in PHONE_FILES:
        return require_converter(kind)
    if kind not in NEEDS:
        kinds = "onnx, openvino, torch, executorch, litert or coreml"
        raise LabelwiseError(f"format {kind!r}", kinds, "correct --format")
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
    with quiet(), torch.no_grad():
        onnx_program: Any = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_shapes={input_name: {0: BATCH}},
            verbose=False,
        )
        onnx_program.save(file, external_data=False)


def _write_onnx(exported: torch.export.ExportedProgram, file: Path) -> None:
    save_onnx(exported, file, INPUT, output_names(exported))


def output_names(exported: torch.export.ExportedProgram) -> list[str]:
    """The names of a program's outputs; those of a graph that decides end with booleans."""
    outputs: Any = exported.graph.output_node().args[0]
    decided = DECIDED if outputs[-1].meta["val"].dtype == torch.bool else ()
    return [*OUTPUTS[: len(outputs) - len(decided)], *decided]


def _write_openvino(exported: torch.export.ExportedProgram, file: Path) -> None:
    # Via ONNX, since OpenVINO cannot convert the position embedding of a transformer from the program itself.
    onnx_file = file.with_name("between.onnx")
    _write_onnx(exported, onnx_file)
    write_openvino(onnx_file, file)
    onnx_file.unlink()


def write_openvino(onnx_file: Path, file: Path) -> None:
    """Writes an ONNX graph as one of OpenVINO."""
    import openvino as ov

    with refusing("openvino", "give --format torch"):
        # Not `convert_model`, which sends usage statistics.
        ov.save_model(openvino_core()[0].read_model(onnx_file), file, compress_to_fp16=False)


def _write_torch(exported: torch.export.ExportedProgram, file: Path) -> None:
    torch.export.save(exported, file)


@contextmanager
def refusing(kind: str, advice: str) -> Iterator[None]:
    """Turns the errors of an exporter into one line with their cause."""
    try:
        yield
    except LabelwiseError:
        raise
    except Exception as error:  # exporters raise many kinds of errors
        # The exporters' own message names a step; its cause names the operation.
        cause = error.__cause__ or error
        reason = _TERMINAL_CODE.sub("", f"{type(cause).__name__}: {first_line(cause)}")
        raise LabelwiseError(
            f"this model, which {kind} cannot express ({reason})",
            "a method and a backbone that docs/export.md lists for this format",
            advice,
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporters' logs and warnings, and restores them afterwards."""
    names = ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "torch.onnx._internal.exporter")
    with errors_only(*names), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
