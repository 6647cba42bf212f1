"""Cells of verified labels: rows of image and label, with what a hierarchy of labels implies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, Int64

from labelwise.data.source import Source, WouldLose

_POLICIES = ("stop", "unknown", "union")
Relatives = Sequence[Sequence[int]]
"""For each label the numbers of labels that it brings along."""


@dataclass(frozen=True)
class Rows:
    """Rows of a label table: an image's and a label's number, one of each a row."""

    image: Int[np.ndarray, " R"]
    label: Int[np.ndarray, " R"]

    def where(self, keep: Bool[np.ndarray, " R"]) -> Rows:
        """The rows that are kept."""
        return Rows(self.image[keep], self.label[keep])

    def keys(self, width: int) -> Int64[np.ndarray, " R"]:
        """The number of each row's cell in a table of this width."""
        return self.image.astype(np.int64) * width + self.label

    def implied(self, others: Relatives) -> Rows:
        """The same rows, and behind them one for each label that a row's label brings along."""
        count = np.array([len(some) for some in others], np.int64)
        if not count.sum() or not len(self.label):
            return self
        start = np.concatenate([[0], np.cumsum(count)[:-1]])
        flat = np.array([label for some in others for label in some], np.int64)
        times = count[self.label]
        ends = np.cumsum(times)
        step = np.arange(int(ends[-1])) - np.repeat(ends - times, times)
        more = flat[np.repeat(start[self.label], times) + step]
        image = np.concatenate([self.image, np.repeat(self.image, times)])
        return Rows(image, np.concatenate([self.label, more]))

    def columns(self, column: Int64[np.ndarray, " A"]) -> Rows:
        """The rows whose label has a column, with the column as their label."""
        place = column[self.label]
        return Rows(self.image[place >= 0], place[place >= 0])


@dataclass(frozen=True)
class Naming:
    """Names of images and labels, by number, for messages."""

    images: pa.Array
    labels: Sequence[str]


def agreeing(
    present: Rows, absent: Rows, width: int, source: Source, naming: Naming
) -> tuple[Rows, Rows, Int64[np.ndarray, " C"]]:
    """Rows without those that call a label of an image present here and absent there, and the cells that do.

    With `duplicates=union` the label is present, with `duplicates=unknown` neither row counts.

    Raises:
        WouldLose: with the first three, unless the source says what to do.
    """
    policy = source.choice("duplicates", _POLICIES)
    mine, theirs = present.keys(width), absent.keys(width)
    both = _common(mine, theirs)
    if not len(both):
        return present, absent, both
    if policy == "stop":
        first = [divmod(int(key), width) for key in both[:3]]
        told = [f"{naming.images[i].as_py()}: {naming.labels[j]} present and absent" for i, j in first]
        raise _contradiction(len(both), told, "")
    absent = absent.where(~np.isin(theirs, both))
    return (present.where(~np.isin(mine, both)) if policy == "unknown" else present), absent, both


def _common(first: Int64[np.ndarray, " A"], second: Int64[np.ndarray, " B"]) -> Int64[np.ndarray, " C"]:
    """Numbers in both, ascending; one sort of all, which is quicker than `np.intersect1d`."""
    marked = np.sort(np.concatenate([first * 2, second * 2 + 1]))
    edge = (marked[1:] == marked[:-1] + 1) & (marked[:-1] % 2 == 0)
    return marked[:-1][edge] // 2


def implied_cells(
    present: Rows,
    absent: Rows,
    shape: tuple[int, int],
    column: Int64[np.ndarray, " A"],
    relatives: tuple[Relatives, Relatives],
    source: Source,
    naming: Naming,
) -> tuple[Bool[np.ndarray, " cells"], Bool[np.ndarray, " cells"], Int64[np.ndarray, " C"]]:
    """Which cells are present, which are absent, and the numbers of those that contradict the hierarchy.

    A present label makes those above it present, an absent label makes those below it absent.

    Args:
        present, absent: rows over `A` labels that do not contradict each other.
        shape: `(N, L)`; the cells are numbered row by row.
        column: each label's column, or -1.
        relatives: for each label those above it and those below it.
        source: for its option `duplicates`.
        naming: for messages.

    Raises:
        WouldLose: for a label that is absent though one below it is present, unless the source says what to do.
    """
    pos, neg = np.zeros((2, shape[0] * shape[1]), bool)
    pos[present.implied(relatives[0]).columns(column).keys(shape[1])] = True
    neg[absent.implied(relatives[1]).columns(column).keys(shape[1])] = True
    clash = np.flatnonzero(pos & neg) if any(relatives[0]) else np.zeros(0, np.int64)
    if len(clash):
        policy = source.choice("duplicates", _POLICIES)
        if policy == "stop":
            images, first = np.unique(clash // shape[1], return_index=True)
            told = []
            for image, key in zip(images[:3].tolist(), clash[first[:3]].tolist(), strict=True):
                label = int(np.flatnonzero(column == key % shape[1])[0])
                below = _one_of(present, image, [label, *relatives[1][label]])
                above = _one_of(absent, image, [label, *relatives[0][label]])
                told.append(
                    f"{naming.images[image].as_py()}: {naming.labels[below]} without {naming.labels[above]}"
                )
            raise _contradiction(len(clash), told, ", or add hierarchy=none")
        neg[clash] = False
        pos[clash] = policy == "union"
    return pos, neg, clash


def _one_of(rows: Rows, image: int, labels: Sequence[int]) -> int:
    have = rows.label[rows.image == image]
    return int(have[np.isin(have, labels)][0])


def _contradiction(count: int, told: Sequence[str], further: str) -> WouldLose:
    return WouldLose(
        f"{count:,} labels of images that contradict each other; {'; '.join(told)}",
        "rows that agree with each other and with the hierarchy",
        "correct the rows, or add duplicates=unknown (mask such cells) or duplicates=union (present wins)"
        + further,
        ("duplicates", "unknown"),
    )
