"""The order of training rows: each row once per epoch, or sampled by label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError


@runtime_checkable
class EpochOrder(Protocol):
    """The rows of an epoch, as a function of only the seed and the epoch."""

    def rows(self, seed: int, epoch: int) -> Int64[np.ndarray, " N"]:
        """`[N]` row numbers, N the number of rows."""


@dataclass(frozen=True)
class Shuffled:
    """Every row once, in random order.

    Args:
        number: N, of rows.
    """

    number: int

    def rows(self, seed: int, epoch: int) -> Int64[np.ndarray, " N"]:
        """A permutation of the rows."""
        return np.random.default_rng([seed, epoch]).permutation(self.number)


class ClassAware:
    """Samples a label uniformly, then one of its images uniformly: rare labels occur as often as frequent ones.

    An epoch has N rows, sampled with replacement; rows without a known positive are never sampled.

    Args:
        positive: `[N, L]`, cells that are known to be present.

    Raises:
        LabelwiseError: no cell is positive.

    Source: class-aware sampling of Shen et al., "Relay Backpropagation for Effective Learning of Deep Convolutional
    Neural Networks" (2016).
    Differs: independent samples instead of passes over lists, so that an epoch depends only on its number.

    >>> sorted(set(ClassAware(np.array([[True], [False]] * 8)).rows(0, 0).tolist()) & {1, 3, 5, 7, 9, 11, 13, 15})
    []
    """

    def __init__(self, positive: Bool[np.ndarray, "N L"]) -> None:
        self._row_count = len(positive)
        label, self._images = np.nonzero(positive.T)
        self._counts = np.bincount(label, minlength=positive.shape[1])
        self._counts, self._starts = (
            array[self._counts > 0] for array in (self._counts, np.cumsum(self._counts) - self._counts)
        )
        if not len(self._counts):
            raise LabelwiseError(
                "sampling=class-aware without a known positive in train",
                "an image of some label",
                "use --set sampling=shuffle",
            )

    def rows(self, seed: int, epoch: int) -> Int64[np.ndarray, " N"]:
        """`[N]` sampled row numbers."""
        rng = np.random.default_rng([seed, epoch])
        label = rng.integers(len(self._counts), size=self._row_count)
        return self._images[self._starts[label] + rng.integers(self._counts[label])]


def order_of(data: Dataset, sampling: Literal["shuffle", "class-aware"]) -> EpochOrder:
    """The order of training rows that a setting names.

    Raises:
        LabelwiseError: see `ClassAware`.
    """
    return ClassAware(data.positive) if sampling == "class-aware" else Shuffled(len(data))


def turns(rows: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """How often each entry's row occurred before it.

    >>> turns(np.array([4, 7, 4, 4])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(rows) else np.zeros(0, np.int64)
    lengths = np.diff(np.r_[starts, len(rows)])
    counts = np.empty(len(rows), np.int64)
    counts[order] = np.arange(len(rows)) - np.repeat(starts, lengths)
    return counts
