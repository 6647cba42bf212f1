"""Inference engines with PyTorch, and the choice among all engines; see `runtimes` for those without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelwise.engines.engine import computing
from labelwise.engines.frozen_engine import EAGER, engine_name, use_engine
from labelwise.engines.runtimes import (
    Answer,
    Described,
    Engine,
    GraphEngine,
    Images,
    OnnxRuntime,
    OpenVINO,
)
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import Artefact
from labelwise.export.devices import on_device
from labelwise.export.graph import Graph, quiet
from labelwise.export.opening import open_graph
from labelwise.export.phones import ExecuTorch, LiteRT
from labelwise.model import LabelModel
from labelwise.runs.config import Config, make_config
from labelwise.runs.run import Run

READERS = {
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
    "torch": ("torch",),
    "executorch": ("executorch",),
    "litert": ("ai_edge_litert",),
    "coreml": (),
}
"""Packages of the runtimes that read each kind of graph."""


class Eager:
    """The trained model in PyTorch.

    Args:
        model: the model; it is set to evaluation mode.
        device: device to run on, one of torch's; `gpu` and `None` use a GPU if there is one.
        config: settings of the run, for `prepare`; without them PyTorch computes everything.
    """

    def __init__(self, model: LabelModel, device: str | None = None, config: Config | None = None) -> None:
        default = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.device = torch.device(default if device in (None, "gpu") else device)
        except RuntimeError:
            raise LabelwiseError(
                f"device {device!r} for a run",
                "cpu or gpu, or a name of torch",
                "correct it, or export the run",
            ) from None
        self._device_line = "" if device is None else f"PyTorch on {self.device.type}"
        self.model, self._config = model.to(self.device).eval(), config
        self.name, self.has_maps, self.has_features = f"eager ({self.device.type})", True, True

    def prepare(self, images: int, say: Callable[[str], None]) -> None:
        """Select the engine of the backbone for a number of images, see `use_engine`."""
        if self._device_line:
            say(self._device_line)
            self._device_line = ""
        backbone = self.model.backbone
        if self._config is not None and getattr(backbone, "engine", None) is None:
            use_engine(backbone, self._config, images, self.device, say, views=True)
            if engine_name(backbone) != EAGER:
                self.name += f", maps by {engine_name(backbone)}"

    @torch.inference_mode()
    def __call__(self, images: Images, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        with computing(self.name, images):
            output = self.model(torch.as_tensor(images).to(self.device), want_maps=want_maps)
        maps = output.maps.float().cpu().numpy() if want_maps and output.maps is not None else None
        return output.logits.float().cpu().numpy(), maps

    @torch.inference_mode()
    def describe(self, images: Images) -> Described:
        """All outputs of a batch, as a graph with features computes them."""
        with computing(self.name, images):
            outputs = Graph(self.model, True, True)(torch.as_tensor(images).to(self.device))
        return Described(*(output.cpu().numpy() for output in outputs))


class TorchProgram(GraphEngine):
    """`model.pt2`, a torch.export program, on the CPU."""

    def _open(self, file: Path) -> tuple[str, int]:
        # The stored program is in the plain memory format; channels last is faster on a CPU.
        with quiet():
            program = torch.export.load(file)
            self._run: Any = program.module().to(memory_format=torch.channels_last)
        return "torch.export (cpu)", len(program.graph_signature.user_outputs)

    @torch.inference_mode()
    def _outputs(self, images: Images, count: int) -> Sequence[np.ndarray]:
        batch = torch.as_tensor(images).cpu()
        outputs = self._run(batch.contiguous(memory_format=torch.channels_last))
        return [output.numpy() for output in outputs[:count]]


def open_engine(artefact: Artefact, device: str | None = None) -> Engine:
    """The engine of an artefact.

    Args:
        artefact: a graph, or weights.
        device: as in `labelwise.serving.load`.

    Raises:
        LabelwiseError: a graph that its runtime cannot open, or a runtime that is not installed.
    """
    if artefact.kind == "weights":
        run = Run(artefact.path, make_config(artefact.settings), artefact.labels)
        return Eager(run.model(), device, run.config)
    torch_engines = {"torch": TorchProgram, "executorch": ExecuTorch, "litert": LiteRT}
    return on_device(artefact, device, open_graph(artefact, torch_engines))


def installed_runtimes(
    kind: str, file: Path, has_maps: bool, has_features: bool = False
) -> Iterator[tuple[str, Callable[[], Engine]]]:
    """Each installed runtime that reads a kind of graph, with a function that opens it there in fp32.

    Args:
        kind: of the graph, one of `READERS`.
        file: the graph.
        has_maps, has_features: see `GraphEngine`.
    """
    runtimes: dict[str, Callable[[Path, bool, bool], Engine]] = {
        "onnxruntime": OnnxRuntime,
        "openvino": OpenVINO,
        "torch": TorchProgram,
        "executorch": ExecuTorch,
        "ai_edge_litert": LiteRT,
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
