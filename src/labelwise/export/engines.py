"""Inference engines: the PyTorch model, or a graph in a runtime; from images to logits and maps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError, first_line
from labelwise.export.artefact import Artefact
from labelwise.export.graph import INPUT, quiet, require
from labelwise.model import LabelModel
from labelwise.training.config import Config, make_config
from labelwise.training.frozen_engine import EAGER, compiled, engine_name, use_engine
from labelwise.training.run import Run

READERS = {"onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",), "torch": ("torch",)}
"""Packages of the runtimes that read each kind of graph."""
Answer = tuple[np.ndarray, np.ndarray | None]


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


class Eager:
    """The trained model in PyTorch.

    Args:
        model: the model; it is set to evaluation mode.
        device: device to run on; `None` uses a GPU if there is one.
        config: settings of the run, for `prepare`; without them PyTorch computes everything.
    """

    def __init__(self, model: LabelModel, device: str | None = None, config: Config | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model, self._config = model.to(self.device).eval(), config
        self.name, self.has_maps = f"eager ({self.device.type})", True

    def prepare(self, images: int, say: Callable[[str], None]) -> None:
        """Select the engine of the backbone for a number of images, see `use_engine`."""
        backbone = self.model.backbone
        if self._config is not None and getattr(backbone, "engine", None) is None:
            use_engine(backbone, self._config, images, self.device, say, views=True)
            if engine_name(backbone) != EAGER:
                self.name += f", maps by {engine_name(backbone)}"

    @torch.inference_mode()
    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        output = self.model(images.to(self.device), want_maps=want_maps)
        maps = output.maps.float().cpu().numpy() if want_maps and output.maps is not None else None
        return output.logits.float().cpu().numpy(), maps


class TorchProgram:
    """A torch.export program, on the CPU.

    Args:
        file: `model.pt2`.
        has_maps: whether its second output is the maps.
    """

    def __init__(self, file: Path, has_maps: bool) -> None:
        # The stored program is in the plain memory format; channels last is faster on a CPU.
        with quiet():
            self._run: Any = torch.export.load(file).module().to(memory_format=torch.channels_last)
        self.name, self.has_maps = "torch.export (cpu)", has_maps

    @torch.inference_mode()
    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        with _computing(self.name, images):
            outputs = self._run(images.cpu().contiguous(memory_format=torch.channels_last))
        return outputs[0].numpy(), outputs[1].numpy() if want_maps and self.has_maps else None


class OnnxRuntime:
    """A graph in ONNX Runtime, on the CPU, with as many threads as torch uses.

    Args:
        file: `model.onnx`.
        has_maps: whether its second output is the maps.
        precision: `int8` if its backbone is quantised.
    """

    def __init__(self, file: Path, has_maps: bool, precision: str = "fp32") -> None:
        require("onnx")
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.name, self.has_maps = _named(f"ONNX Runtime {ort.__version__}", precision), has_maps

    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch; the graph always computes its maps, but they are copied only if requested."""
        names = self._outputs if want_maps and self.has_maps else self._outputs[:1]
        with _computing(self.name, images):
            outputs = self._session.run(names, {INPUT: images.cpu().contiguous().numpy()})
        return outputs[0], outputs[1] if len(outputs) > 1 else None


class OpenVINO:
    """A graph in OpenVINO, on the CPU, with as many threads as torch uses.

    Args:
        file: `model.xml`, with `model.bin` next to it, or `model.onnx`.
        has_maps: whether its second output is the maps.
        precision: `bf16` to use it if the processor supports it; fp32 otherwise.
    """

    def __init__(self, file: Path, has_maps: bool, precision: str = "fp32") -> None:
        self._run, name = compiled(file, precision)
        version, _, in_use = name.partition(", ")
        self.name, self.has_maps = _named(version, in_use or "fp32"), has_maps

    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        with _computing(self.name, images):
            outputs = self._run({INPUT: images.cpu().contiguous().numpy()})
        maps = np.array(outputs[1]) if want_maps and self.has_maps else None
        return np.array(outputs[0]), maps


def open_engine(artefact: Artefact, device: str | None = None) -> Engine:
    """The engine of an artefact.

    Raises:
        LabelwiseError: a graph that its runtime cannot open, or a runtime that is not installed.
    """
    file = artefact.path / artefact.file
    try:
        if artefact.kind == "weights":
            run = Run(artefact.path, make_config(artefact.settings), artefact.labels)
            return Eager(run.model(), device, run.config)
        if artefact.kind == "torch":
            return TorchProgram(file, artefact.has_maps)
        runtime = OnnxRuntime if artefact.kind == "onnx" else OpenVINO
        return runtime(file, artefact.has_maps, artefact.precision)
    except LabelwiseError:
        raise
    except Exception as error:  # runtimes raise many kinds of errors on unsupported graphs
        raise LabelwiseError(
            f"{file} ({first_line(error)})", f"a graph that {artefact.kind} opens here", "export again"
        ) from error


def installed_runtimes(kind: str, file: Path, has_maps: bool) -> Iterator[tuple[str, Callable[[], Engine]]]:
    """Each installed runtime that reads a kind of graph, with a function that opens it there in fp32.

    Args:
        kind: `onnx`, `openvino` or `torch`.
        file: the graph.
        has_maps: whether its second output is the maps.
    """
    runtimes: dict[str, Callable[[Path, bool], Engine]] = {
        "onnxruntime": OnnxRuntime,
        "openvino": OpenVINO,
        "torch": TorchProgram,
    }
    for package in READERS[kind]:
        if find_spec(package) is not None:
            yield package, partial(runtimes[package], file, has_maps)


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
