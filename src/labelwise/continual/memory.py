"""The base class of replay memories."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

Rows = Int64[np.ndarray, " B"]
Marks = Bool[np.ndarray, "B L"]


class Memory(ABC):
    """At most `size` rows of a stream with their positive labels, chosen by a rule.

    Args:
        size: M, >= 1.
        num_labels: L.
        seed: random seed of sampling.
        spare: additional slots that the rule needs while it decides; free between offers.

    `marks [L, slots]` is 1 if the row of a slot has the label; `seen [L]` counts each label's rows in the stream so
    far, `held [L]` those in memory, `offered` all rows so far.
    """

    def __init__(self, size: int, num_labels: int, seed: int, spare: int = 0) -> None:
        self.size, self.num_labels, self.spare = size, num_labels, spare
        self.rows = np.full(size + spare, -1, np.int64)
        self.tasks = np.zeros(size + spare, np.int64)
        self.marks = np.zeros((num_labels, size + spare))
        self.seen, self.held = np.zeros(num_labels, np.int64), np.zeros(num_labels, np.int64)
        self.offered = 0
        self.rng = np.random.default_rng([seed, size])

    def __len__(self) -> int:
        return int((self.rows >= 0).sum())

    @abstractmethod
    def offer(self, rows: Rows, marks: Marks, task: int = 0) -> None:
        """Offer the next rows of the stream, in order, with their positive labels."""

    @abstractmethod
    def target(self) -> Float[np.ndarray, " L"]:
        """`[L]`, target share of each label under the rule; sums to 1 over the labels seen so far."""

    def histogram(self) -> Float[np.ndarray, " L"]:
        """`[L]`, share of each label among the labels of the rows in memory."""
        return self.held / max(1, self.held.sum())

    def distance(self) -> float:
        """Total variation between `histogram` and `target`: half the sum of absolute differences, in [0, 1]."""
        return float(np.abs(self.histogram() - self.target()).sum() / 2)

    def draw(self, number: int) -> tuple[Rows, Rows]:
        """A uniform sample of `number` rows without replacement, and the task of each; fewer if fewer are held."""
        slots = np.flatnonzero(self.rows >= 0)
        sample = self.rng.choice(slots, min(number, len(slots)), replace=False)
        return self.rows[sample], self.tasks[sample]

    def put(self, slot: int, row: int, labels: np.ndarray, task: int) -> None:
        """Store a row in a slot, replacing the row there.

        Args:
            labels: columns of its positive labels.
        """
        if self.rows[slot] >= 0:
            self.clear(slot)
        self.rows[slot], self.tasks[slot] = row, task
        self.marks[labels, slot] = 1
        self.held[labels] += 1

    def place_without_labels(self) -> int | None:
        """A random slot that holds a row without a positive label; `None` if there is none."""
        slots = np.flatnonzero((self.rows >= 0) & ~self.marks.any(0))
        return int(self.rng.choice(slots)) if len(slots) else None

    def clear(self, slot: int) -> None:
        """Empty a slot."""
        self.held -= self.marks[:, slot].astype(np.int64)
        self.marks[:, slot], self.rows[slot] = 0, -1

    def state(self) -> dict[str, Any]:
        """Tensors and text from which `load` restores the memory exactly."""
        arrays = {name: torch.from_numpy(getattr(self, name).copy()) for name in self._ARRAYS}
        generator = json.dumps(self.rng.bit_generator.state)
        return {
            **arrays,
            "marks": torch.from_numpy(self.marks > 0),
            "offered": self.offered,
            "rng": generator,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Load the result of `state`."""
        for name in self._ARRAYS:
            getattr(self, name)[:] = state[name].numpy()
        self.marks[:] = state["marks"].numpy()
        self.offered = int(state["offered"])
        self.rng.bit_generator.state = json.loads(state["rng"])

    _ARRAYS: ClassVar[tuple[str, ...]] = ("rows", "tasks", "seen", "held")


def power_shares(seen: Int64[np.ndarray, " L"], power: float) -> Float[np.ndarray, " L"]:
    """`n_l^q / sum_j n_j^q` over labels with `n_l > 0`; 0 for the others.

    >>> power_shares(np.array([30, 10, 0]), 0.0).tolist(), power_shares(np.array([30, 10, 0]), 1.0).tolist()
    ([0.5, 0.5, 0.0], [0.75, 0.25, 0.0])
    """
    raised = np.where(seen > 0, np.maximum(seen, 1).astype(np.float64) ** power, 0.0)
    return raised / max(raised.sum(), 1e-300)
