"""Open Images: image-level labels, a row a label: 1 present, 0 verified absent, the rest unknown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelwise.data.dataset import Dataset
from labelwise.data.readers.columns import split_codes
from labelwise.data.readers.files import rows_there
from labelwise.data.readers.name_doubts import few, similar_names
from labelwise.data.readers.openimages_cells import Naming, Rows, agreeing, implied_cells
from labelwise.data.readers.openimages_files import holds_label_table, tables_of
from labelwise.data.readers.openimages_images import images_of
from labelwise.data.readers.openimages_labels import Vocabulary, chosen, rules_of, vocabulary
from labelwise.data.readers.openimages_marks import (
    Marks,
    counted,
    machine_limit,
    marks_of,
    with_guesses,
    without_machine_files,
)
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

FORM = "openimages:FILE.csv|DIR[?rest=unknown|negative&confidence=skip|soft|0.5]"
MEANING = "Open Images labels: rows of ImageID, LabelName and Confidence (1 present, 0 absent)"
OPTIONS = frozenset({"images", "labels", "hierarchy", "confidence", "rest", "duplicates", "missing"})
MOST_CELLS = 1 << 33


def recognises(path: Path) -> bool:
    """Whether a file is a table of image-level labels, or a folder holds one, by the header."""
    return holds_label_table(path)


def read(source: Source) -> Dataset:
    """Reads label tables of Open Images; splits are told by names of files and folders, or the column `Subset`.

    Raises:
        LabelwiseError: for tables of another form, rows by machine or rows that contradict each other without the
            option that says what to do, or missing images.
    """
    notes: list[str] = []
    rest = source.choice("rest", ("unknown", "negative"))
    limit = machine_limit(source)
    tables, folders = tables_of(source)
    files: Sequence[Path] = tables.labels
    if limit == "" and Path(source.path).is_dir():
        files = without_machine_files(files, notes)
    if tables.other:
        others = few([file.name for file in tables.other])
        notes.append(f"Left out, as they hold no image-level labels: {others}.")
    marks = counted(marks_of(files), limit, notes)
    images = images_of(marks.ids, marks.splits, tables.images, source, folders, notes)
    total = len(images.ids)
    there, lost = rows_there(images.names, str(images.root), source, images.there)
    images, marks = images.where(there), marks.of_images(there)
    words = vocabulary(marks.labels, tables, source, notes)
    labels, values, known, masked = _cells(marks, images.ids, words, source, notes)
    notes += _absence_notes(labels.names, values, known, rest)
    some = np.asarray(known.any(axis=1))
    if rest == "negative":
        known.fill(True)
        known.reshape(-1)[masked] = False
    codes, names = None, tuple[str, ...]()
    if images.splits.null_count < len(images.splits):
        codes, names = split_codes(pa.chunked_array([images.splits]), notes)
    data = Dataset(
        labels=labels,
        images=images.names,
        root=images.root,
        values=values,
        known=known,
        split_of=codes,
        split_names=names,
        notes=(*notes, *lost, *similar_names(labels.names)),
        rows_in_source=total,
    )
    if "labels" in source.options and rest == "unknown" and not some.all():
        left_out = f"{int((~some).sum()):,} images without a row of these labels were left out."
        return data.take(some).with_notes(left_out)
    return data


def _cells(
    marks: Marks, images: pa.Array, words: Vocabulary, source: Source, notes: list[str]
) -> tuple[LabelSet, np.ndarray, np.ndarray, np.ndarray]:
    """The labels, values, known, and the numbers of cells that stay unknown whatever else is."""
    people, guessed = marks.where(~marks.machine), marks.where(marks.machine)
    naming = Naming(images, words.shown())
    present, absent, torn = agreeing(
        people.rows.where(people.confidence == 1),
        people.rows.where(people.confidence == 0),
        len(words.ids),
        source,
        naming,
    )
    used = np.bincount(marks.rows.label, minlength=len(words.ids)) > 0
    for j in np.flatnonzero(np.bincount(marks.rows.label[marks.confidence > 0])).tolist():
        used[list(words.above[j])] = True
    column, labels = chosen(words, used, source, notes)
    shape = (len(images), len(labels))
    _refuse_huge(shape, source)
    pos, neg, clash = implied_cells(
        present, absent, shape, column, (words.above, words.below), source, naming
    )
    known = (pos | neg).reshape(shape)
    values = pos.view(np.uint8).reshape(shape)
    soft = machine_limit(source) == "soft"
    if len(guessed.confidence):
        values = with_guesses(values, known, guessed, words.above, column, soft, notes)
    torn = Rows(*np.divmod(torn, max(len(words.ids), 1))).columns(column).keys(shape[1])
    masked = np.union1d(torn, clash)
    if len(masked):
        fate = "are present" if source.options["duplicates"] == "union" else "are unknown"
        notes.append(f"{len(masked):,} cells that contradict each other {fate}.")
    named = LabelSet(labels, rules=rules_of(words, column, labels))
    return named, values, known, masked[~known.reshape(-1)[masked]]


def _refuse_huge(shape: tuple[int, int], source: Source) -> None:
    if shape[0] * shape[1] > MOST_CELLS:
        raise LabelwiseError(
            f"{source.path} with {shape[0]:,} images and {shape[1]:,} labels",
            f"at most {MOST_CELLS:,} cells",
            "choose labels with labels=FILE, or leave out images without a file with missing=skip",
        )


def _absence_notes(labels: Sequence[str], values: np.ndarray, known: np.ndarray, rest: str) -> list[str]:
    if rest == "negative":
        return ["A label is absent where no row names it (rest=negative)."]
    unchecked = [labels[j] for j in np.flatnonzero(~(known & (values == 0)).any(0)).tolist()]
    if len(unchecked) == len(labels):
        return [
            "No label is ever verified absent (no row has Confidence 0): what no row names is unknown; "
            "rest=negative reads it as absent."
        ]
    notes = ["Confidence 1 is present, 0 absent; a label without a row is unknown."]
    if unchecked:
        notes.append(f"{len(unchecked):,} labels are never verified absent: {few(unchecked)}.")
    return notes
