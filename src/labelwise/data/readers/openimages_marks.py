"""Rows of all label tables of Open Images, and what becomes of those that a classifier gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int64

from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.openimages_cells import Relatives, Rows
from labelwise.data.readers.openimages_tables import label_table
from labelwise.data.readers.several import split_of
from labelwise.data.readers.split_cells import SPLIT_ALIASES
from labelwise.data.source import Source, WouldLose
from labelwise.errors import LabelwiseError


@dataclass(frozen=True)
class Marks:
    """Rows of all label tables.

    Args:
        ids: `[N]` image ids.
        splits: `[N]` texts, null where no file tells one.
        labels: ids of labels.
        rows: an image and a label each.
        confidence: `[R]` in [0, 1].
        machine: `[R]`; whether a classifier gave the row, not a person.
    """

    ids: pa.Array
    splits: pa.Array
    labels: Sequence[str]
    rows: Rows
    confidence: Float32[np.ndarray, " R"]
    machine: Bool[np.ndarray, " R"]

    def where(self, keep: Bool[np.ndarray, " R"]) -> Marks:
        """The rows that are kept, of the same images and labels."""
        return replace(
            self, rows=self.rows.where(keep), confidence=self.confidence[keep], machine=self.machine[keep]
        )

    def of_images(self, keep: Bool[np.ndarray, " M"]) -> Marks:
        """The rows of the images that are kept, with these counted anew; `ids` and `splits` stay as they are.

        Args:
            keep: one a image, the `N` of this table first.
        """
        if keep.all():
            return self
        number = np.cumsum(keep) - 1
        some = self.where(keep[self.rows.image])
        return replace(some, rows=Rows(number[some.rows.image], some.rows.label))


def marks_of(files: Sequence[Path]) -> Marks:
    """The rows of label tables; an image of two splits counts as two."""
    by_split: dict[str, list[Path]] = {}
    word_of: dict[str, str] = {}
    for file in files:
        word = split_of(file)
        split = SPLIT_ALIASES.get(word, word)
        word_of.setdefault(split, word)
        by_split.setdefault(split, []).append(file)
    parts = {split: label_table(some) for split, some in by_split.items()}
    labels: dict[str, int] = {}
    image, label, start = [], [], 0
    for part in parts.values():
        place = np.array([labels.setdefault(key, len(labels)) for key in part.labels.to_pylist()], np.int32)
        image.append(part.image + start)
        label.append(place[part.label])
        start += len(part.images)
    every = list(parts.values())
    splits = [
        pa.array([word_of[split] or None] * len(part.images), pa.string()) for split, part in parts.items()
    ]
    return Marks(
        pa.concat_arrays([part.images for part in every]),
        pa.concat_arrays(splits),
        list(labels),
        Rows(np.concatenate(image), np.concatenate(label)),
        np.concatenate([part.confidence for part in every]),
        np.concatenate([part.machine for part in every]),
    )


def machine_limit(source: Source) -> str | float:
    """The option `confidence`: empty, `skip`, `soft`, or the least Confidence of a label that counts as present."""
    text = source.options.get("confidence", "")
    if text in ("", "skip", "soft"):
        return text
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 < limit <= 1:
        raise LabelwiseError(
            f"confidence={text!r} in {str(source)!r}",
            "skip, soft, or a number in (0, 1]",
            "correct the option",
        )
    return limit


def without_machine_files(files: Sequence[Path], notes: list[str]) -> Sequence[Path]:
    """The files whose names do not say that a classifier gave the labels; all, where there is no other."""
    by_people = [file for file in files if "machine" not in file.name]
    if by_people and len(by_people) < len(files):
        others = [file.name for file in files if file not in by_people]
        notes.append(
            f"Labels given by machine were left out (confidence=0.5 or soft reads them): {few(others)}."
        )
    return by_people or files


def counted(marks: Marks, limit: str | float, notes: list[str]) -> Marks:
    """The rows that count: those by machine are refused, left out or kept, as the limit says.

    Raises:
        WouldLose: for rows by machine without a limit.
    """
    count = int(marks.machine.sum())
    if not count or limit == "soft":
        return marks
    if isinstance(limit, float):
        low = marks.machine & (marks.confidence < np.float32(limit))
        notes.append(
            f"{int(low.sum()):,} labels given by machine with a Confidence below {limit:g} were left out."
        )
        return marks.where(~low)
    if limit == "":
        row = int(np.flatnonzero(marks.machine)[0])
        shown = f"{marks.ids[int(marks.rows.image[row])].as_py()} {marks.labels[int(marks.rows.label[row])]}"
        raise WouldLose(
            f"{count:,} labels given by machine, such as {shown} with Confidence {marks.confidence[row]:g}",
            "labels verified by people (Confidence 1 or 0)",
            "add confidence=skip (leave them out), confidence=0.5 (present from there on) or confidence=soft",
            ("confidence", "skip"),
        )
    notes.append(f"{count:,} labels given by machine were left out.")
    return marks.where(~marks.machine)


def with_guesses(
    values: np.ndarray,
    known: Bool[np.ndarray, "N L"],
    guessed: Marks,
    above: Relatives,
    column: Int64[np.ndarray, " A"],
    soft: bool,
    notes: list[str],
) -> np.ndarray:
    """The values with labels given by machine where nobody verified the label; their cells become known.

    Args:
        values: `[N, L]` uint8.
        known: changed in place.
        guessed: the rows by machine that count.
        above: for each label those above it.
        column: of each label, or -1.
        soft: whether a value is the Confidence (of the surest row); else such labels are present, and those above.
        notes: takes a sentence on how many.
    """
    rows = guessed.rows if soft else guessed.rows.implied(above)
    keys = rows.columns(column).keys(values.shape[1])
    free = ~known.reshape(-1)[keys]
    if soft:
        values = values.astype(np.float32)
        confidence = guessed.confidence[column[rows.label] >= 0]
        np.maximum.at(values.reshape(-1), keys[free], confidence[free])
    else:
        values.reshape(-1)[keys[free]] = 1
    known.reshape(-1)[keys[free]] = True
    how = "hold the Confidence of" if soft else "are present by"
    notes.append(
        f"{len(np.unique(keys[free])):,} cells that no person verified {how} labels given by machine."
    )
    return values
