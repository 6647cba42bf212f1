"""Label rows of Open Images as cells: labels verified by people, implied by a hierarchy, or predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Int, Int64

from labelwise.data.readers.openimages_tables import label_columns
from labelwise.data.readers.several import split_of
from labelwise.data.source import Source, WouldLose

_POLICIES = ("stop", "unknown", "union")
Relatives = Sequence[Sequence[int]]
"""For each label, the indices of the labels that it implies."""


@dataclass(frozen=True)
class Pairs:
    """The indices of an image and of a label for each row."""

    image: Int[np.ndarray, " R"]
    label: Int[np.ndarray, " R"]

    def where(self, keep: Bool[np.ndarray, " R"]) -> Pairs:
        """The rows that are kept."""
        return Pairs(self.image[keep], self.label[keep])

    def keys(self, width: int) -> Int64[np.ndarray, " R"]:
        """The flat index of each row's cell in a table of this width."""
        return self.image.astype(np.int64) * width + self.label

    def implied(self, others: Relatives) -> Pairs:
        """The same rows, followed by one row for each label that a row's label implies."""
        count = np.array([len(related) for related in others], np.int64)
        if not count.sum() or not len(self.label):
            return self
        start = np.concatenate([[0], np.cumsum(count)[:-1]])
        flat = np.array([label for related in others for label in related], np.int64)
        times = count[self.label]
        ends = np.cumsum(times)
        step = np.arange(int(ends[-1])) - np.repeat(ends - times, times)
        implied = flat[np.repeat(start[self.label], times) + step]
        image = np.concatenate([self.image, np.repeat(self.image, times)])
        return Pairs(image, np.concatenate([self.label, implied]))

    def columns(self, column: Int64[np.ndarray, " A"]) -> Pairs:
        """The rows of labels that have a column, with the column as their label."""
        columns = column[self.label]
        return Pairs(self.image[columns >= 0], columns[columns >= 0])


@dataclass(frozen=True)
class LabelRows:
    """The `R` rows of all label tables.

    Args:
        ids: `[N]` image ids.
        splits: `[N]` texts, null if no file name includes one.
        labels: ids of labels.
        pairs: the image and the label of each row.
        confidence: `[R]` in [0, 1].
        machine: `[R]`; whether the label is by a classifier, not by a person.
    """

    ids: pa.Array
    splits: pa.Array
    labels: Sequence[str]
    pairs: Pairs
    confidence: Float32[np.ndarray, " R"]
    machine: Bool[np.ndarray, " R"]

    def where(self, keep: Bool[np.ndarray, " R"]) -> LabelRows:
        """The rows that are kept, of the same images and labels."""
        return replace(
            self, pairs=self.pairs.where(keep), confidence=self.confidence[keep], machine=self.machine[keep]
        )

    def of_images(self, keep: Bool[np.ndarray, " M"]) -> LabelRows:
        """The rows of the kept images, with new image indices; `ids` and `splits` stay as they are.

        Args:
            keep: one flag per image, the `N` of this table first.
        """
        if keep.all():
            return self
        new_index = np.cumsum(keep) - 1
        rows = self.where(keep[self.pairs.image])
        return replace(rows, pairs=Pairs(new_index[rows.pairs.image], rows.pairs.label))


def read_label_rows(files: Sequence[Path]) -> LabelRows:
    """The rows of label tables, grouped by split; an image of two splits counts as two.

    Raises:
        LabelwiseError: rows of another format, with file and line.
    """
    by_split: dict[str, list[pa.Table]] = {}
    for file in files:
        by_split.setdefault(split_of(file), []).append(label_columns(file))
    image, ids, splits, start = [], [], [], 0
    for split, tables in by_split.items():
        codes, images = _codes([table["ImageID"] for table in tables])
        image.append(codes + start)
        ids.append(images)
        splits.append(pa.array([split or None] * len(images), pa.string()))
        start += len(images)
    tables = [table for of_split in by_split.values() for table in of_split]
    label, labels = _codes([table["LabelName"] for table in tables])
    confidence = np.concatenate([table["Confidence"].to_numpy() for table in tables])
    machine = np.concatenate([_by_machine(table) for table in tables])
    machine |= (confidence > 0) & (confidence < 1)
    pairs = Pairs(np.concatenate(image), label)
    return LabelRows(
        pa.concat_arrays(ids), pa.concat_arrays(splits), labels.to_pylist(), pairs, confidence, machine
    )


def _codes(columns: Sequence[pa.ChunkedArray]) -> tuple[Int[np.ndarray, " R"], pa.Array]:
    """The index of each row's text, and the texts."""
    joined = pa.chunked_array([chunk for column in columns for chunk in column.chunks]).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in joined.chunks])
    return codes, joined.chunk(0).dictionary


def _by_machine(table: pa.Table) -> Bool[np.ndarray, " R"]:
    """Whether each row's label is by a classifier, if the table has the column `Source`."""
    if "Source" not in table.column_names:
        return np.zeros(table.num_rows, bool)
    return pc.equal(table["Source"], "machine").to_numpy()


def agreeing(
    present: Pairs, absent: Pairs, images: pa.Array, names: Sequence[str], source: Source
) -> tuple[Pairs, Pairs, Int64[np.ndarray, " C"]]:
    """Present and absent rows without contradictions, and the contradictory cells.

    With `duplicates=union` the label is present, with `duplicates=unknown` neither row counts.

    Args:
        present, absent: rows over `A` labels.
        images: `[N]` ids, for messages.
        names: of the `A` labels; cells are numbered row by row in `[N, A]`.
        source: for its option `duplicates`.

    Raises:
        WouldLose: contradictions without the option; the message lists the first three.
    """
    policy, width = source.choice("duplicates", _POLICIES), len(names)
    positive, negative = present.keys(width), absent.keys(width)
    clashes = _common(positive, negative)
    if not len(clashes):
        return present, absent, clashes
    if policy == "stop":
        cells = [divmod(int(key), width) for key in clashes[:3]]
        examples = [f"{images[i].as_py()}: {names[j]} present and absent" for i, j in cells]
        raise _contradiction(len(clashes), examples, "")
    absent = absent.where(~np.isin(negative, clashes))
    return (present.where(~np.isin(positive, clashes)) if policy == "unknown" else present), absent, clashes


def _common(first: Int64[np.ndarray, " A"], second: Int64[np.ndarray, " B"]) -> Int64[np.ndarray, " C"]:
    """Numbers in both, ascending; a single sort is faster than `np.intersect1d`."""
    marked = np.sort(np.concatenate([first * 2, second * 2 + 1]))
    in_both = (marked[1:] == marked[:-1] + 1) & (marked[:-1] % 2 == 0)
    return marked[:-1][in_both] // 2


def implied_cells(
    present: Pairs,
    absent: Pairs,
    shape: tuple[int, int],
    column: Int64[np.ndarray, " A"],
    relatives: tuple[Relatives, Relatives],
    images: pa.Array,
    names: Sequence[str],
    source: Source,
) -> tuple[Bool[np.ndarray, " cells"], Bool[np.ndarray, " cells"], Int64[np.ndarray, " C"]]:
    """The masks of present and of absent cells, and the indices of cells that contradict the hierarchy.

    Ancestors of a present label are present, descendants of an absent label are absent.

    Args:
        present, absent: rows over `A` labels that do not contradict each other.
        shape: `(N, L)`; the cells are numbered row by row.
        column: each label's column, or -1.
        relatives: ancestors and descendants of each label.
        images, names: `[N]` ids and names of the `A` labels, for messages.
        source: for its option `duplicates`.

    Returns:
        two masks of `N * L` cells, and cell indices.

    Raises:
        WouldLose: an absent label with a present descendant, without the option.
    """
    is_present, is_absent = np.zeros((2, shape[0] * shape[1]), bool)
    is_present[present.implied(relatives[0]).columns(column).keys(shape[1])] = True
    is_absent[absent.implied(relatives[1]).columns(column).keys(shape[1])] = True
    conflicts = np.flatnonzero(is_present & is_absent) if any(relatives[0]) else np.zeros(0, np.int64)
    if len(conflicts):
        policy = source.choice("duplicates", _POLICIES)
        if policy == "stop":
            rows, first = np.unique(conflicts // shape[1], return_index=True)
            examples = []
            for row, key in zip(rows[:3].tolist(), conflicts[first[:3]].tolist(), strict=True):
                label = int(np.flatnonzero(column == key % shape[1])[0])
                below = _one_of(present, row, [label, *relatives[1][label]])
                above = _one_of(absent, row, [label, *relatives[0][label]])
                examples.append(f"{images[row].as_py()}: {names[below]} without {names[above]}")
            raise _contradiction(len(conflicts), examples, ", or add hierarchy=none")
        is_absent[conflicts] = False
        is_present[conflicts] = policy == "union"
    return is_present, is_absent, conflicts


def _one_of(rows: Pairs, image: int, labels: Sequence[int]) -> int:
    """The first of the labels in the rows of an image."""
    labels_of_image = rows.label[rows.image == image]
    return int(labels_of_image[np.isin(labels_of_image, labels)][0])


def _contradiction(count: int, examples: Sequence[str], further: str) -> WouldLose:
    """The error for cells that contradict each other."""
    return WouldLose(
        f"{count:,} labels of images that contradict each other; {'; '.join(examples)}",
        "rows that agree with each other and with the hierarchy",
        "correct the rows, or add duplicates=unknown (mask these cells) or duplicates=union (present wins)"
        + further,
        ("duplicates", "unknown"),
    )


def with_guesses(
    values: np.ndarray,
    known: Bool[np.ndarray, "N L"],
    guessed: LabelRows,
    above: Relatives,
    column: Int64[np.ndarray, " A"],
    *,
    soft: bool,
    notes: list[str],
) -> np.ndarray:
    """The values with labels by machine in cells that nobody verified; these cells become known.

    Args:
        values: `[N, L]` uint8.
        known: changed in place.
        guessed: the rows by machine to use.
        above: ancestors of each label.
        column: of each label, or -1.
        soft: whether a value is the highest Confidence of its rows; else these labels and their ancestors are present.
        notes: receives a sentence with the number of cells.

    Returns:
        `[N, L]`; float32 if `soft`, else uint8.
    """
    rows = guessed.pairs if soft else guessed.pairs.implied(above)
    keys = rows.columns(column).keys(values.shape[1])
    unknown = ~known.reshape(-1)[keys]
    if soft:
        values = values.astype(np.float32)
        confidence = guessed.confidence[column[rows.label] >= 0]
        np.maximum.at(values.reshape(-1), keys[unknown], confidence[unknown])
    else:
        values.reshape(-1)[keys[unknown]] = 1
    known.reshape(-1)[keys[unknown]] = True
    how = "hold the Confidence of" if soft else "are present by"
    notes.append(f"{len(np.unique(keys[unknown])):,} cells that no person verified {how} labels by machine.")
    return values
