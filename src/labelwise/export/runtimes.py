"""Graphs in runtimes that need no PyTorch: from images to logits and maps."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from labelwise.errors import LabelwiseError, first_line
from labelwise.export.artefact import Artefact

INPUT = "images"
"""Name of a graph's input."""
LOGITS, MAPS, FEATURES, WHOLE = OUTPUTS = "logits", "maps", "features", "whole"
"""Outputs of a graph in their order; maps, and features with the whole-image feature, may be absent."""
Images: TypeAlias = Any
"""uint8 `[B, 3, H, W]`, an array or a tensor."""
Answer = tuple[np.ndarray, np.ndarray | None]


class Described(NamedTuple):
    """Outputs of a batch: logits `[B, L]`, maps `[B, L, h, w]`, and label features `[B, L, D]` and the whole-image
    feature `[B, C]` of unit length."""

    logits: np.ndarray
    maps: np.ndarray
    features: np.ndarray
    whole: np.ndarray


@runtime_checkable
class Engine(Protocol):
    """uint8 images `[B, 3, H, W]` -> logits `[B, L]` float32 and maps `[B, L, h, w]` float32, or `None`.

    `name` is the runtime and device; `has_maps` says whether `want_maps` is supported.
    """

    name: str
    has_maps: bool

    def __call__(self, images: Images, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        ...


@runtime_checkable
class Describing(Protocol):
    """An engine that also gives features, if `has_features`."""

    name: str
    has_features: bool

    def describe(self, images: Images) -> Described:
        """All outputs of a batch."""
        ...


class GraphEngine:
    """A graph in a runtime, on the CPU.

    Args:
        name: of the runtime.
        has_maps: whether its second output is the maps.
        has_features: whether the outputs after the maps are the features, see `Described`.
    """

    def __init__(self, name: str, has_maps: bool, has_features: bool) -> None:
        self.name, self.has_maps, self.has_features = name, has_maps, has_features

    def __call__(self, images: Images, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        wanted = want_maps and self.has_maps
        with computing(self.name, images):
            outputs = self._outputs(images, 2 if wanted else 1)
        return outputs[0], outputs[1] if wanted else None

    def describe(self, images: Images) -> Described:
        """All outputs of a batch, of a graph with features."""
        with computing(self.name, images):
            return Described(*self._outputs(images, len(OUTPUTS)))

    def _outputs(self, images: Images, count: int) -> Sequence[np.ndarray]:
        """The first outputs of the graph."""
        raise NotImplementedError


class OnnxRuntime(GraphEngine):
    """A graph in ONNX Runtime, on the CPU, with as many threads as torch.

    Args:
        file: `model.onnx`.
        has_maps, has_features: see `GraphEngine`.
        precision: `int8` if its backbone is quantised.
    """

    def __init__(
        self, file: Path, has_maps: bool, has_features: bool = False, precision: str = "fp32"
    ) -> None:
        if find_spec("onnxruntime") is None:
            raise LabelwiseError(
                "an ONNX export without the package onnxruntime",
                "that package",
                "run: pip install onnxruntime",
            )
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        super().__init__(_named(f"ONNX Runtime {ort.__version__}", precision), has_maps, has_features)

    def _outputs(self, images: Images, count: int) -> Sequence[np.ndarray]:
        # The graph computes all of its outputs; only these are copied.
        return self._session.run(self._names[:count], {INPUT: as_array(images)})


class OpenVINO(GraphEngine):
    """A graph in OpenVINO, on the CPU, with as many threads as torch.

    Args:
        file: `model.xml`, with `model.bin` next to it, or `model.onnx`.
        has_maps, has_features: see `GraphEngine`.
        precision: `bf16` to use it if the processor supports it, or fp32; `int8` if its backbone is quantised.
    """

    def __init__(
        self, file: Path, has_maps: bool, has_features: bool = False, precision: str = "fp32"
    ) -> None:
        self._run, name = compiled(file, precision)
        version, _, in_use = name.partition(", ")
        super().__init__(
            _named(version, in_use or ("int8" if precision == "int8" else "fp32")), has_maps, has_features
        )

    def _outputs(self, images: Images, count: int) -> Sequence[np.ndarray]:
        outputs = self._run({INPUT: as_array(images)})
        return [np.array(outputs[place]) for place in range(count)]


RUNTIMES: Mapping[str, Callable[..., Engine]] = {"onnx": OnnxRuntime, "openvino": OpenVINO}
"""Engines by the kind of their graph."""


@cache
def openvino_core() -> tuple[Any, str]:
    """OpenVINO's runtime, one for the whole process, and its version.

    Each runtime replaces the process's signal stack and restores it at its end. Two runtimes would restore each
    other's freed stack, and the next signal would kill the process.

    Raises:
        LabelwiseError: OpenVINO is not installed.
    """
    if find_spec("openvino") is None:
        raise LabelwiseError(
            "OpenVINO, which is not installed",
            "the package openvino",
            "run: pip install 'labelwise[openvino]'",
        )
    import openvino as ov

    return ov.Core(), ov.__version__.split("-")[0]


def compiled(graph: Path, precision: str = "fp32") -> tuple[Any, str]:
    """A graph compiled by OpenVINO for the CPU with torch's number of threads, and the engine's name.

    Args:
        graph: an `.xml` or `.onnx` file.
        precision: `bf16` to compute in it if the processor can; the name then says so. For `fp32` a hint is needed,
            since OpenVINO would otherwise use bf16 wherever it can and differ from PyTorch.

    Raises:
        LabelwiseError: OpenVINO is not installed.
    """
    core, version = openvino_core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = core.compile_model(str(graph), "CPU", settings)
    in_bf16 = model.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "bf16"
    return model, f"OpenVINO {version}{', bf16' if in_bf16 else ''}"


def open_graph(
    artefact: Artefact, others: Mapping[str, Callable[[Path, bool, bool], Engine]] | None = None
) -> Engine:
    """The engine of an artefact's graph.

    Args:
        artefact: of a kind with a graph.
        others: kind -> engine, of kinds that need PyTorch.

    Raises:
        LabelwiseError: a graph that its runtime cannot open, a runtime that is not installed, or a kind that needs
            PyTorch and is not among `others`.
    """
    file = artefact.path / artefact.file
    others = others or {}
    if artefact.kind not in (*RUNTIMES, *others):
        raise LabelwiseError(
            f"{artefact.path}, an export of kind {artefact.kind}, which needs PyTorch",
            f"an export of kind {' or '.join(RUNTIMES)}",
            "export the run again with --format onnx",
        )
    try:
        if artefact.kind in others:
            return others[artefact.kind](file, artefact.has_maps, artefact.has_features)
        return RUNTIMES[artefact.kind](file, artefact.has_maps, artefact.has_features, artefact.precision)
    except LabelwiseError:
        raise
    except Exception as error:  # runtimes raise many kinds of errors on unsupported graphs
        raise LabelwiseError(
            f"{file} ({first_line(error)})", f"a graph that {artefact.kind} opens here", "export again"
        ) from error


def as_array(images: Images) -> np.ndarray:
    """A batch as a contiguous array."""
    return np.ascontiguousarray(images.cpu() if hasattr(images, "cpu") else images)


def threads() -> int:
    """The number of threads that torch uses, or would use if it were loaded."""
    if torch := sys.modules.get("torch"):
        return int(torch.get_num_threads())
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return int(limit) if limit.isdecimal() and int(limit) else os.cpu_count() or 1


@contextmanager
def computing(name: str, images: Images) -> Iterator[None]:
    """Turns a runtime's error on a batch into one line."""
    try:
        yield
    except Exception as error:  # runtimes raise many kinds of errors
        raise LabelwiseError(
            f"images of shape {list(images.shape)}, which {name} cannot compute ({first_line(error)})",
            "images of the graph's size, and a batch that fits into memory",
            "give a smaller --batch-size",
        ) from error


def _named(runtime: str, precision: str) -> str:
    return f"{runtime} (cpu)" if precision == "fp32" else f"{runtime} (cpu, {precision})"
