"""Inference engines: the PyTorch model, or a graph in a runtime; from images to logits and maps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError, first_line
from labelwise.export.artefact import Artefact
from labelwise.export.graph import INPUT, OUTPUTS, Graph, quiet, require
from labelwise.model import LabelModel
from labelwise.training.config import make_config
from labelwise.training.frozen_engine import compiled
from labelwise.training.run import Run

READERS = {"onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",), "torch": ("torch",)}
"""Packages of the runtimes that read each kind of graph."""
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

    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        ...


@runtime_checkable
class Describing(Protocol):
    """An engine that also gives features, if `has_features`."""

    name: str
    has_features: bool

    def describe(self, images: Tensor) -> Described:
        """All outputs of a batch."""
        ...


class Eager:
    """The trained model in PyTorch.

    Args:
        model: the model; it is set to evaluation mode.
        device: device to run on; `None` uses a GPU if there is one.
    """

    def __init__(self, model: LabelModel, device: str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device).eval()
        self.name, self.has_maps, self.has_features = f"eager ({self.device.type})", True, True

    @torch.inference_mode()
    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        output = self.model(images.to(self.device), want_maps=want_maps)
        maps = output.maps.float().cpu().numpy() if want_maps and output.maps is not None else None
        return output.logits.float().cpu().numpy(), maps

    @torch.inference_mode()
    def describe(self, images: Tensor) -> Described:
        """All outputs of a batch, as a graph with features computes them."""
        outputs = Graph(self.model, True, True)(images.to(self.device))
        return Described(*(output.cpu().numpy() for output in outputs))


class GraphEngine:
    """A graph in a runtime, on the CPU.

    Args:
        name: of the runtime.
        has_maps: whether its second output is the maps.
        has_features: whether the outputs after the maps are the features, see `Described`.
    """

    def __init__(self, name: str, has_maps: bool, has_features: bool) -> None:
        self.name, self.has_maps, self.has_features = name, has_maps, has_features

    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        wanted = want_maps and self.has_maps
        with _computing(self.name, images):
            outputs = self._outputs(images, 2 if wanted else 1)
        return outputs[0], outputs[1] if wanted else None

    def describe(self, images: Tensor) -> Described:
        """All outputs of a batch, of a graph with features."""
        with _computing(self.name, images):
            return Described(*self._outputs(images, len(OUTPUTS)))

    def _outputs(self, images: Tensor, count: int) -> Sequence[np.ndarray]:
        """The first outputs of the graph."""
        raise NotImplementedError


class TorchProgram(GraphEngine):
    """A torch.export program, on the CPU.

    Args:
        file: `model.pt2`.
        has_maps, has_features: see `GraphEngine`.
    """

    def __init__(self, file: Path, has_maps: bool, has_features: bool = False) -> None:
        # The stored program is in the plain memory format; channels last is faster on a CPU.
        with quiet():
            self._run: Any = torch.export.load(file).module().to(memory_format=torch.channels_last)
        super().__init__("torch.export (cpu)", has_maps, has_features)

    @torch.inference_mode()
    def _outputs(self, images: Tensor, count: int) -> Sequence[np.ndarray]:
        outputs = self._run(images.cpu().contiguous(memory_format=torch.channels_last))
        return [output.numpy() for output in outputs[:count]]


class OnnxRuntime(GraphEngine):
    """A graph in ONNX Runtime, on the CPU, with as many threads as torch uses.

    Args:
        file: `model.onnx`.
        has_maps, has_features: see `GraphEngine`.
        precision: `int8` if its backbone is quantised.
    """

    def __init__(
        self, file: Path, has_maps: bool, has_features: bool = False, precision: str = "fp32"
    ) -> None:
        require("onnx")
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        super().__init__(_named(f"ONNX Runtime {ort.__version__}", precision), has_maps, has_features)

    def _outputs(self, images: Tensor, count: int) -> Sequence[np.ndarray]:
        # The graph computes all of its outputs; only these are copied.
        return self._session.run(self._names[:count], {INPUT: images.cpu().contiguous().numpy()})


class OpenVINO(GraphEngine):
    """A graph in OpenVINO, on the CPU, with as many threads as torch uses.

    Args:
        file: `model.xml`, with `model.bin` next to it, or `model.onnx`.
        has_maps, has_features: see `GraphEngine`.
        precision: `bf16` to use it if the processor supports it; fp32 otherwise.
    """

    def __init__(
        self, file: Path, has_maps: bool, has_features: bool = False, precision: str = "fp32"
    ) -> None:
        self._run, name = compiled(file, precision)
        precision_in_use = self._run.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        super().__init__(
            _named(name, "bf16" if precision_in_use == "bf16" else "fp32"), has_maps, has_features
        )

    def _outputs(self, images: Tensor, count: int) -> Sequence[np.ndarray]:
        outputs = self._run({INPUT: images.cpu().contiguous().numpy()})
        return [np.array(outputs[place]) for place in range(count)]


def open_engine(artefact: Artefact, device: str | None = None) -> Engine:
    """The engine of an artefact.

    Raises:
        LabelwiseError: a graph that its runtime cannot open, or a runtime that is not installed.
    """
    file = artefact.path / artefact.file
    try:
        if artefact.kind == "weights":
            run = Run(artefact.path, make_config(artefact.settings), artefact.labels)
            return Eager(run.model(), device)
        if artefact.kind == "torch":
            return TorchProgram(file, artefact.has_maps, artefact.has_features)
        runtime = OnnxRuntime if artefact.kind == "onnx" else OpenVINO
        return runtime(file, artefact.has_maps, artefact.has_features, artefact.precision)
    except LabelwiseError:
        raise
    except Exception as error:  # runtimes raise many kinds of errors on unsupported graphs
        raise LabelwiseError(
            f"{file} ({first_line(error)})", f"a graph that {artefact.kind} opens here", "export again"
        ) from error


def installed_runtimes(
    kind: str, file: Path, has_maps: bool, has_features: bool = False
) -> Iterator[tuple[str, Callable[[], Engine]]]:
    """Each installed runtime that reads a kind of graph, with a function that opens it there in fp32.

    Args:
        kind: `onnx`, `openvino` or `torch`.
        file: the graph.
        has_maps, has_features: see `GraphEngine`.
    """
    runtimes: dict[str, Callable[[Path, bool, bool], Engine]] = {
        "onnxruntime": OnnxRuntime,
        "openvino": OpenVINO,
        "torch": TorchProgram,
    }
    for package in READERS[kind]:
        if find_spec(package) is not None:
            yield package, partial(runtimes[package], file, has_maps, has_features)


def seconds_per_image(
    engine: Engine, images: Tensor, repeats: int = 5, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median time of a batch divided by its number of images, after one untimed call."""
    engine(images)
    times = []
    for _ in range(repeats):
        start = clock()
        engine(images)
        times.append(clock() - start)
    return median(times) / len(images)


def fastest(engines: Sequence[Engine], images: Tensor, repeats: int = 5) -> tuple[Engine, dict[str, float]]:
    """The fastest engine on this machine, and the seconds per image of each."""
    times = {engine.name: seconds_per_image(engine, images, repeats) for engine in engines}
    return min(engines, key=lambda engine: times[engine.name]), times


@contextmanager
def _computing(name: str, images: Tensor) -> Iterator[None]:
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
