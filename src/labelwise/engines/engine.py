"""What an engine is: from images to logits, maps, features and decisions, whatever computes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from labelwise.errors import LabelwiseError, first_line

INPUT = "images"
"""Name of a graph's input."""
LOGITS, MAPS, FEATURES, WHOLE = OUTPUTS = "logits", "maps", "features", "whole"
"""Outputs of a graph in their order; maps, and features with the whole-image feature, may be absent."""
DECIDED = "probabilities", "selected"
"""The last outputs of a graph with decisions, see `labelwise.export.decide`."""
PROBABILITY, ON_THE_LINE = 1e-4, 1e-5
"""Largest difference of a probability; and the distance to its threshold within which a decision may differ, since
float32 sums in another order change a probability by some millionths."""
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


@runtime_checkable
class Deciding(Protocol):
    """An engine that also decides, if `has_decisions`."""

    name: str
    has_decisions: bool

    def decide(self, images: Images) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits, probabilities and selected labels of a batch."""
        ...


class GraphEngine:
    """A graph in a runtime.

    Args:
        file: the graph.
        has_maps: whether its second output is the maps.
        has_features: whether the outputs after the maps are the features, see `Described`.

    Raises:
        LabelwiseError: the runtime is not installed.
    """

    def __init__(self, file: Path, has_maps: bool, has_features: bool = False) -> None:
        self.has_maps, self.has_features = has_maps, has_features
        count_undecided = 1 + has_maps + 2 * has_features
        self.name, count = self._open(file)
        self._output_count = count or count_undecided
        self.has_decisions = self._output_count == count_undecided + len(DECIDED)

    def _open(self, file: Path) -> tuple[str, int | None]:
        """Opens the graph; returns the engine's name and the number of outputs, `None` without decisions."""
        raise NotImplementedError

    def __call__(self, images: Images, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        with_maps = want_maps and self.has_maps
        with computing(self.name, images):
            outputs = self._outputs(images, 2 if with_maps else 1)
        return outputs[0], outputs[1] if with_maps else None

    def describe(self, images: Images) -> Described:
        """All outputs of a batch, of a graph with features."""
        with computing(self.name, images):
            return Described(*self._outputs(images, len(OUTPUTS)))

    def decide(self, images: Images) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits, probabilities and selected labels `[B, L]` of a batch, of a graph with decisions."""
        with computing(self.name, images):
            outputs = self._outputs(images, self._output_count)
        return outputs[0], outputs[-2], outputs[-1]

    def _outputs(self, images: Images, count: int) -> Sequence[np.ndarray]:
        """The first `count` outputs of the graph."""
        raise NotImplementedError


def as_array(images: Images) -> np.ndarray:
    """A batch as a contiguous array."""
    return np.ascontiguousarray(images.cpu() if hasattr(images, "cpu") else images)


@contextmanager
def computing(name: str, images: Images) -> Iterator[None]:
    """Turns a runtime's error on a batch into one line."""
    try:
        yield
    except LabelwiseError:
        raise
    except Exception as error:  # runtimes raise many kinds of errors
        raise LabelwiseError(
            f"images of shape {list(images.shape)}, which {name} cannot compute ({first_line(error)})",
            "images of the graph's size, and a batch that fits into memory",
            "give a smaller --batch-size",
        ) from error
