"""Graphs for phones: ExecuTorch, LiteRT and Core ML, and the first two in their own runtimes for Python."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.engines.engine import (
    FEATURES,
    INPUT,
    LOGITS,
    MAPS,
    OUTPUTS,
    WHOLE,
    Answer,
    GraphEngine,
    Images,
    as_array,
)
from labelwise.engines.runtimes import threads
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import Artefact

PHONE_FILES = {"executorch": "model.pte", "litert": "model.tflite", "coreml": "model.mlpackage"}
"""File of each kind of graph."""
CONVERTERS = {
    "executorch": ("executorch", "1.5"),
    "litert": ("litert-torch", "0.10"),
    "coreml": ("coremltools", "9"),
}
"""Package that writes each kind of graph, and its version; other versions have other faults."""

NOT_COMPARED = "answers were not compared with the run's: Core ML computes on Apple's systems only"


def require_converter(kind: str) -> None:
    """Raises an error if the package that writes a kind of graph is missing or has another version."""
    package, required = CONVERTERS[kind]
    try:
        installed = version(package)
    except PackageNotFoundError:
        given = f"format {kind} without the package {package}"
    else:
        if f"{installed}.".startswith(f"{required}."):
            return
        given = f"format {kind} with {package} {installed}"
    raise LabelwiseError(given, f"{package} {required}", f"run: pip install 'labelwise[{kind}]'")


class Pixels(nn.Module):
    """A model that takes floats from 0 to 255, since Core ML has no input of whole numbers of 8 bits.

    Args:
        model: takes floats in [0, 1].
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the model."""
        return self.model(images / 255)


class _NamedOutputs(nn.Module):
    """A model with named outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.training = model, False

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip(OUTPUTS, self.model(images), strict=False))


def _write_executorch(exported: torch.export.ExportedProgram, file: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    try:
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    except AssertionError as error:
        if "dependency cycle" not in str(error):
            raise
        # With one operation a part there are none.
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner(per_op_mode=True)])
    file.write_bytes(lowered.to_executorch().buffer)


def _write_litert(exported: torch.export.ExportedProgram, file: Path) -> None:
    import litert_torch

    (example,), _ = exported.example_inputs
    litert_torch.convert(_NamedOutputs(exported.module()), sample_kwargs={INPUT: example}).export(str(file))


def without_vectors(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Write products of a matrix with a vector as products with a matrix of one column, in place; returns the program.

    coremltools 9 ends in an IndexError at a product with a vector.
    """
    aten, graph = torch.ops.aten, exported.graph
    for node in list(graph.nodes):
        if node.target not in (aten.matmul.default, aten.mv.default) or node.args[1].meta["val"].dim() != 1:
            continue
        matrix, vector = node.args
        with graph.inserting_before(node):
            column = graph.call_function(aten.unsqueeze.default, (vector, -1))
            column.meta["val"] = vector.meta["val"].unsqueeze(-1)
            product = graph.call_function(aten.matmul.default, (matrix, column))
            product.meta["val"] = node.meta["val"].unsqueeze(-1)
            result = graph.call_function(aten.squeeze.dim, (product, -1))
            result.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(result)
        graph.erase_node(node)
    return exported


def _write_coreml(exported: torch.export.ExportedProgram, file: Path) -> None:
    import coremltools as ct

    # Without the decompositions, the converter refuses the program; without the precision, it computes in 16 bits.
    model = ct.convert(
        without_vectors(exported.run_decompositions({})),
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    # The converter names an output after the operation that computes it.
    spec = model.get_spec()
    for old_name, name in zip([output.name for output in spec.description.output], OUTPUTS, strict=False):
        ct.utils.rename_feature(spec, old_name, name, rename_inputs=False)
    ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True).save(str(file))


def write_phone(exported: torch.export.ExportedProgram, kind: str, file: Path) -> None:
    """Writes a program for one image as a graph of a kind."""
    write = {"executorch": _write_executorch, "litert": _write_litert, "coreml": _write_coreml}[kind]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # of their progress and warnings
        write(exported, file)


def _require_runtime(kind: str, package: str) -> None:
    """Raises an error if the package that computes a kind of graph is missing."""
    try:
        version(package)
    except PackageNotFoundError:
        raise LabelwiseError(
            f"an export for {kind} without the package {package}",
            "that package",
            f"run: pip install {package}",
        ) from None


class OneByOne(GraphEngine):
    """A graph for one image, which computes the images of a batch in turn."""

    def _outputs(self, images: Images, count: int) -> Sequence[np.ndarray]:
        answers = [self._answer(image[None]) for image in as_array(images)]
        return [np.concatenate(outputs) for outputs in list(zip(*answers, strict=True))[:count]]

    def _answer(self, image: np.ndarray) -> Sequence[np.ndarray]:
        """All outputs for `[1, 3, H, W]` uint8."""
        raise NotImplementedError


class ExecuTorch(OneByOne):
    """`model.pte` in ExecuTorch, on the CPU."""

    def _open(self, file: Path) -> tuple[str, None]:
        _require_runtime("executorch", "executorch")
        from executorch.runtime import Runtime

        self._method = Runtime.get().load_program(file).load_method("forward")
        return f"ExecuTorch {version('executorch')} (cpu)", None

    def _answer(self, image: np.ndarray) -> Sequence[np.ndarray]:
        return [output.numpy().copy() for output in self._method.execute([torch.from_numpy(image)])]


class LiteRT(OneByOne):
    """`model.tflite` in LiteRT, on the CPU, with as many threads as torch."""

    def _open(self, file: Path) -> tuple[str, None]:
        _require_runtime("litert", "ai-edge-litert")
        from ai_edge_litert.interpreter import Interpreter

        self._run = Interpreter(str(file), num_threads=threads()).get_signature_runner()
        return f"LiteRT {version('ai-edge-litert')} (cpu)", None

    def _answer(self, image: np.ndarray) -> Sequence[np.ndarray]:
        outputs = self._run(**{INPUT: image})
        return [outputs[name] for name in OUTPUTS if name in outputs]


@dataclass(frozen=True)
class Structure:
    """The description of a graph whose answers cannot be compared here.

    Args:
        inputs, outputs: shapes by name.
    """

    inputs: dict[str, list[int]]
    outputs: dict[str, list[int]]

    def to_json(self) -> dict[str, Any]:
        """JSON data for the card."""
        return {"images": 0, "compared": NOT_COMPARED, "inputs": self.inputs, "outputs": self.outputs}

    def __str__(self) -> str:
        return f"inputs and outputs as described; {NOT_COMPARED}"


class CoreML:
    """`model.mlpackage`, which computes on Apple's systems only.

    Args:
        file: the graph.
        has_maps: whether its second output is the maps.
    """

    def __init__(self, file: Path, has_maps: bool) -> None:
        self.name, self.has_maps, self._file = (
            f"Core ML (coremltools {version('coremltools')})",
            has_maps,
            file,
        )

    def __call__(self, images: Images, want_maps: bool = False) -> Answer:
        """Refused: the graph is not computed."""
        raise LabelwiseError(self.name, "a graph that computes on this system", "give another --format")

    def structure(self, artefact: Artefact) -> Structure:
        """The names and shapes of the graph's inputs and outputs, which must be those of the artefact.

        Raises:
            LabelwiseError: others.
        """
        import coremltools as ct

        description = ct.utils.load_spec(str(self._file)).description
        inputs, outputs = (
            {tensor.name: list(tensor.type.multiArrayType.shape) for tensor in tensors}
            for tensors in (description.input, description.output)
        )
        names = [LOGITS, *[MAPS] * artefact.has_maps, *[FEATURES, WHOLE] * artefact.has_features]
        expected = {INPUT: [1, 3, *artefact.preprocessing.input_size]}
        if inputs != expected or list(outputs) != names or outputs[LOGITS] != [1, len(artefact.labels)]:
            raise LabelwiseError(
                f"{self.name} with inputs {inputs} and outputs {outputs}",
                f"inputs {expected} and outputs {', '.join(names)}",
                "choose another --format; nothing was written",
            )
        return Structure(inputs, outputs)
