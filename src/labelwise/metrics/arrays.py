"""Input checks of the metrics: converts arrays or tensors to NumPy, and results back to the input's library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError

Array = np.ndarray | Tensor

ROWS_PER_TILE = 256
_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Cells:
    """Scores and label states of `N` images and `L` labels, of equal shape; values are checked when read.

    Args:
        scores: `[N, L]` float32 or float64.
        targets: `[N, L]`, any real dtype; 0 or 1 where known.
        known: `[N, L]` bool, or `None` when every cell is known.
        like: the caller's scores; results are returned in their library and device.
    """

    scores: np.ndarray
    targets: np.ndarray
    known: np.ndarray | None
    like: Any

    @classmethod
    def read(cls, scores: Array, targets: Array, known: Array | None = None) -> Cells:
        """Cells from `[N, L]` arrays or tensors; raises `LabelwiseError` on shapes that differ."""
        s, t = as_numpy(scores), as_numpy(targets)
        k = None if known is None else as_numpy(known).astype(bool, copy=False)
        if s.ndim != 2:
            raise LabelwiseError(
                f"scores of shape {s.shape}", "[images, labels]", "add the missing axis, also for one label"
            )
        for name, array in (("targets", t), ("known", k)):
            if array is not None and array.shape != s.shape:
                raise LabelwiseError(
                    f"{name} of shape {array.shape}",
                    f"{s.shape}, the shape of the scores",
                    "give one row per image and one column per label in the same order",
                )
        if s.dtype not in (np.float32, np.float64):
            s = s.astype(np.float32 if s.dtype == np.float16 else np.float64)
        return cls(s, t, k, scores)

    def back(self, values: np.ndarray) -> Array:
        """float64 values in the caller's library, on the caller's device."""
        values = np.asarray(values, dtype=np.float64)
        return torch.from_numpy(values).to(self.like.device) if isinstance(self.like, Tensor) else values

    def positive(self, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        """Bool of the known positives in a tile; raises `LabelwiseError` for a known target other than 0 or 1."""
        tile = self.targets[rows, columns]
        if tile.dtype == bool:
            return tile if self.known is None else tile & self.known[rows, columns]
        ones, nonzero = tile == 1, tile != 0
        if self.known is not None:
            ones, nonzero = ones & self.known[rows, columns], nonzero & self.known[rows, columns]
        if np.count_nonzero(ones) != np.count_nonzero(nonzero):
            raise self._cell_error("target", self.targets, (self.targets != 0) & (self.targets != 1))
        return ones

    def by_label(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Fresh label-major copies `[l, N]` of scores, known positives and known cells of some columns."""
        shape, columns = (stop - start, len(self.scores)), slice(start, stop)
        scores, positive = np.empty(shape, self.scores.dtype), np.empty(shape, bool)
        known = None if self.known is None else np.empty(shape, bool)
        for first in range(0, shape[1], ROWS_PER_TILE):  # tiles that stay in cache: twice as fast as one `.T`
            rows = slice(first, min(first + ROWS_PER_TILE, shape[1]))
            scores[:, rows] = self.scores[rows, columns].T
            positive[:, rows] = self.positive(rows, columns).T
            if known is not None and self.known is not None:
                known[:, rows] = self.known[rows, columns].T
        return scores, positive, known

    def check_scores(self) -> None:
        """Raises `LabelwiseError` for a known score that is NaN or infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(self.scores.sum()):  # one cheap pass; the sum itself may overflow
                return
        invalid = ~np.isfinite(self.scores)
        if self.known is not None:
            invalid &= self.known
        if invalid.any():
            raise self._cell_error("score", self.scores, invalid)

    def check_probabilities(self) -> None:
        """Raises `LabelwiseError` for a known score outside [0, 1]."""
        self.check_scores()
        with np.errstate(invalid="ignore"):
            invalid = (self.scores < 0) | (self.scores > 1)
        if self.known is not None:
            invalid &= self.known
        if invalid.any():
            raise self._cell_error("probability", self.scores, invalid)

    def _cell_error(self, kind: str, values: np.ndarray, invalid: np.ndarray) -> LabelwiseError:
        """The error that names the first invalid known cell."""
        if self.known is not None:
            invalid = invalid & self.known
        row, column = np.argwhere(invalid)[0]
        expected, todo = {
            "target": ("0 or 1 where known", "mark the cell unknown (known=...) or harden the target"),
            "score": (
                "a finite number where known",
                "look for an overflow, or mark the cell unknown",
            ),
            "probability": ("a value in [0, 1]", "apply a sigmoid to the logits first"),
        }[kind]
        return LabelwiseError(f"{kind} {values[row, column]} at row {row}, column {column}", expected, todo)


def as_numpy(values: Any) -> np.ndarray:
    """The values as a NumPy array without a copy where possible; half precision becomes float32."""
    if isinstance(values, Tensor):
        values = values.detach()
        return (values.float() if values.dtype in _HALF else values).cpu().numpy()
    return np.asarray(values)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises `LabelwiseError` unless a text option is one of the allowed ones."""
    if value not in allowed:
        raise LabelwiseError(f"{name} {value!r}", "one of: " + ", ".join(allowed), f"choose another {name}")
