"""What computes: the model itself, or a graph in a runtime; images in, logits and maps out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError, first_line
from labelwise.export.artefact import Artefact
from labelwise.export.graph import INPUT, require
from labelwise.model import LabelModel
from labelwise.training.config import make_config
from labelwise.training.frozen_engine import compiled
from labelwise.training.run import Run

Answer = tuple[np.ndarray, np.ndarray | None]


@runtime_checkable
class Engine(Protocol):
    """uint8 images `[B, 3, H, W]` -> logits `[B, L]` float32 and maps `[B, L, h, w]` float32, or `None`.

    `name` says what computes; `gives_maps` whether `want_maps` can be met.
    """

    name: str
    gives_maps: bool

    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """The answer to a batch."""
        ...


class Eager:
    """The model as it was trained, in PyTorch.

    Args:
        model: in evaluation mode.
        device: where to compute; `None` takes a GPU where there is one.
    """

    def __init__(self, model: LabelModel, device: str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device).eval()
        self.name, self.gives_maps = f"eager ({self.device.type})", True

    @torch.inference_mode()
    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """The answer to a batch."""
        output = self.model(images.to(self.device), want_maps=want_maps)
        maps = output.maps.float().cpu().numpy() if want_maps and output.maps is not None else None
        return output.logits.float().cpu().numpy(), maps


class TorchProgram:
    """A torch.export program, on the CPU.

    Args:
        file: `model.pt2`.
        gives_maps: whether its second output is the maps.
    """

    def __init__(self, file: Path, gives_maps: bool) -> None:
        self._run: Any = torch.export.load(file).module()
        self.name, self.gives_maps = "torch.export (cpu)", gives_maps

    @torch.inference_mode()
    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """The answer to a batch."""
        found = self._run(images.cpu())
        return found[0].numpy(), found[1].numpy() if want_maps and self.gives_maps else None


class OnnxRuntime:
    """A graph in ONNX Runtime, on the CPU, with as many threads as torch uses.

    Args:
        file: `model.onnx`.
        gives_maps: whether its second output is the maps.
        precision: `int8` where its backbone is quantised.
    """

    def __init__(self, file: Path, gives_maps: bool, precision: str = "fp32") -> None:
        require("onnx")
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.name, self.gives_maps = _named(f"ONNX Runtime {ort.__version__}", precision), gives_maps

    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """The answer to a batch; maps that nobody wants are still part of the graph, but are not copied."""
        wanted = self._outputs if want_maps and self.gives_maps else self._outputs[:1]
        found = self._session.run(wanted, {INPUT: images.cpu().contiguous().numpy()})
        return found[0], found[1] if len(found) > 1 else None


class OpenVINO:
    """A graph in OpenVINO, on the CPU, with as many threads as torch uses.

    Args:
        file: `model.xml`, with `model.bin` beside it, or `model.onnx`.
        gives_maps: whether its second output is the maps.
        precision: `bf16` to compute in it where the processor can; elsewhere, as otherwise, in fp32.
    """

    def __init__(self, file: Path, gives_maps: bool, precision: str = "fp32") -> None:
        self._run, name = compiled(file, precision)
        taken = self._run.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.name = _named(name, "bf16" if taken == "bf16" else "fp32")
        self.gives_maps = gives_maps

    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """The answer to a batch."""
        found = self._run({INPUT: images.cpu().contiguous().numpy()})
        maps = np.array(found[1]) if want_maps and self.gives_maps else None
        return np.array(found[0]), maps


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
            return TorchProgram(file, artefact.gives_maps)
        runtime = OnnxRuntime if artefact.kind == "onnx" else OpenVINO
        return runtime(file, artefact.gives_maps, artefact.precision)
    except LabelwiseError:
        raise
    except Exception as error:  # runtimes raise nearly anything on a graph they do not take
        raise LabelwiseError(
            f"{file} ({first_line(error)})", f"a graph that {artefact.kind} opens here", "export again"
        ) from error


def seconds_per_image(
    engine: Engine, images: Tensor, repeats: int = 5, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median time of a batch over its images, after one untimed call."""
    engine(images)
    times = []
    for _ in range(repeats):
        start = clock()
        engine(images)
        times.append(clock() - start)
    return median(times) / len(images)


def fastest(engines: Sequence[Engine], images: Tensor, repeats: int = 5) -> tuple[Engine, dict[str, float]]:
    """The quickest of some engines on this machine, and the seconds per image of each."""
    times = {engine.name: seconds_per_image(engine, images, repeats) for engine in engines}
    return min(engines, key=lambda engine: times[engine.name]), times


def _named(runtime: str, precision: str) -> str:
    return f"{runtime} (cpu)" if precision == "fp32" else f"{runtime} (cpu, {precision})"
