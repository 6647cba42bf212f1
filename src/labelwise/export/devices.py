"""Graphs on a GPU, compared with the CPU on their first batch; where that fails, the CPU answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from labelwise.engines.engine import ON_THE_LINE, PROBABILITY, Answer, Described, Engine, Images
from labelwise.engines.runtimes import RUNTIMES
from labelwise.errors import LabelwiseError, first_line
from labelwise.export.artefact import Artefact

DEVICES = ("cpu", "gpu", "tensorrt")
"""Words for a device: `gpu` is CUDA in ONNX Runtime and the GPU plugin of OpenVINO; `tensorrt` is of ONNX Runtime."""


class OnDevice:
    """A graph on a device, which computes its first batch also on the CPU.

    It answers from the CPU if the device cannot be used, or if a probability of that batch differs by more than 1e-4,
    or a decision whose probability is not within 1e-5 of its threshold.

    Args:
        artefact: of a kind in `RUNTIMES`.
        device: `gpu` or `tensorrt`.
        plain: the engine of the graph on the CPU.
    """

    def __init__(self, artefact: Artefact, device: str, plain: Engine) -> None:
        self.name, self.has_maps = plain.name, plain.has_maps
        self.has_features = artefact.has_features
        self._artefact, self._device = artefact, device
        self._engine: Any = plain
        self._fast_engine: Engine | None = None
        self._say: Callable[[str], None] | None = None

    def prepare(self, images: int, say: Callable[[str], None]) -> None:
        """Opens the graph on the device, once; says the choice, or why it is the CPU."""
        if self._say is not None:
            return
        self._say = say
        try:
            self._fast_engine = opened_on(self._artefact, self._device)
            self.name = self._fast_engine.name
        except Exception as error:  # runtimes raise many kinds of errors
            self._fall_back(error.given if isinstance(error, LabelwiseError) else first_line(error))

    def __call__(self, images: Images, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        answer: Answer = self._checked_engine(images)(images, want_maps)
        return answer

    def describe(self, images: Images) -> Described:
        """All outputs of a batch, of a graph with features."""
        described: Described = self._checked_engine(images).describe(images)
        return described

    def _checked_engine(self, images: Images) -> Any:
        """The engine that answers; a batch of blank images, as a server warms up with, proves nothing."""
        self.prepare(len(images), lambda line: None)
        if self._fast_engine is not None and bool((images != 0).any()):
            fast_engine, self._fast_engine = self._fast_engine, None
            try:
                difference = self._largest_difference(fast_engine, images)
            except LabelwiseError as error:
                self.name = self._engine.name
                self._fall_back(error.given)
            else:
                self._engine = fast_engine
                self._tell(
                    f"{fast_engine.name}: the first batch is as on the CPU, probabilities within {difference:.1e}"
                )
        return self._engine

    def _largest_difference(self, fast_engine: Engine, images: Images) -> float:
        """The largest difference of a probability of a batch from the CPU."""
        decisions = self._artefact.decisions
        p, q = (decisions.probabilities(engine(images)[0]) for engine in (self._engine, fast_engine))
        difference = (
            float(np.where(np.isfinite(q), np.abs(p - q), np.inf).max()) if p.shape == q.shape else np.inf
        )
        differs = (decisions.select(p) != decisions.select(q)) & (
            np.abs(p - decisions.thresholds) >= ON_THE_LINE
        )
        if difference > PROBABILITY or differs.any():
            given = f"{fast_engine.name}, on whose first batch a probability differs by {difference:.2g} from the CPU"
            raise LabelwiseError(given, f"at most {PROBABILITY:g} and the same decisions", "use the CPU")
        return difference

    def _fall_back(self, reason: str) -> None:
        self._tell(f"{reason}; {self._engine.name} answers instead")

    def _tell(self, line: str) -> None:
        if self._say is not None:
            self._say(line)


def opened_on(artefact: Artefact, device: str) -> Engine:
    """The engine of an artefact's graph on a device.

    Raises:
        LabelwiseError: a kind of graph, or an installed runtime, without this device.
    """
    if artefact.kind not in RUNTIMES:
        raise LabelwiseError(
            f"an export of kind {artefact.kind} on device {device}",
            f"an export of kind {' or '.join(RUNTIMES)}",
            "export again with another --format",
        )
    file = artefact.path / artefact.file
    return RUNTIMES[artefact.kind](file, artefact.has_maps, artefact.has_features, artefact.precision, device)


def on_device(artefact: Artefact, device: str | None, plain: Engine) -> Engine:
    """The engine of an artefact on a device; `plain` itself for the CPU or no wish.

    Raises:
        LabelwiseError: a word that is none of `DEVICES`.
    """
    if device is None or device == "cpu":
        return plain
    if device not in (*DEVICES, "cuda"):
        raise LabelwiseError(f"device {device!r}", ", ".join(DEVICES), "correct the device")
    return OnDevice(artefact, "gpu" if device == "cuda" else device, plain)
