"""Open Images: image-level labels, a row a label: 1 present, 0 verified absent, the rest unknown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelwise.data.dataset import Dataset
from labelwise.data.readers.columns import split_codes
from labelwise.data.readers.files import rows_there
from labelwise.data.readers.label_counts import refuse_huge
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.openimages_cells import (
    LabelRows,
    Pairs,
    agreeing,
    implied_cells,
    label_rows,
    with_guesses,
)
from labelwise.data.readers.openimages_images import images_of
from labelwise.data.readers.openimages_labels import Vocabulary, chosen, rules_of, vocabulary
from labelwise.data.readers.openimages_tables import holds_label_table, tables_of
from labelwise.data.source import Source, WouldLose
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

FORM = "openimages:FILE.csv|DIR[?rest=unknown|negative&confidence=skip|soft|0.5]"
MEANING = "Open Images labels: rows of ImageID, LabelName and Confidence (1 present, 0 absent)"
OPTIONS = frozenset({"images", "labels", "hierarchy", "confidence", "rest", "duplicates", "missing"})


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
    limit = _machine_limit(source)
    tables, folders = tables_of(source)
    files: Sequence[Path] = tables.labels
    if limit == "" and Path(source.path).is_dir():
        files = _without_machine_files(files, notes)
    if tables.other:
        others = few([file.name for file in tables.other])
        notes.append(f"Left out, as they hold no image-level labels: {others}.")
    rows = _counted(label_rows(files), limit, notes)
    images = images_of(rows.ids, rows.splits, tables.images, source, folders, notes)
    total = len(images.ids)
    there, lost = rows_there(images.names, str(images.root), source, images.there)
    images, rows = images.where(there), rows.of_images(there)
    words = vocabulary(rows.labels, tables, source, notes)
    labels, values, known, masked = _cells(rows, images.ids, words, source, notes)
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
        notes=(*notes, *lost),
        rows_in_source=total,
    )
    if "labels" in source.options and rest == "unknown" and not some.all():
        left_out = f"{int((~some).sum()):,} images without a row of these labels were left out."
        return data.take(some).with_notes(left_out)
    return data


def _machine_limit(source: Source) -> str | float:
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


def _without_machine_files(files: Sequence[Path], notes: list[str]) -> Sequence[Path]:
    """The files whose names do not say that a classifier gave the labels; all, where there is no other."""
    by_people = [file for file in files if "machine" not in file.name]
    if by_people and len(by_people) < len(files):
        others = [file.name for file in files if file not in by_people]
        notes.append(
            f"Labels given by machine were left out (confidence=0.5 or soft reads them): {few(others)}."
        )
    return by_people or files


def _counted(rows: LabelRows, limit: str | float, notes: list[str]) -> LabelRows:
    """The rows that count: those by machine are refused, left out or kept, as the limit says.

    Raises:
        WouldLose: for rows by machine without a limit.
    """
    count = int(rows.machine.sum())
    if not count or limit == "soft":
        return rows
    if isinstance(limit, float):
        low = rows.machine & (rows.confidence < np.float32(limit))
        notes.append(
            f"{int(low.sum()):,} labels given by machine with a Confidence below {limit:g} were left out."
        )
        return rows.where(~low)
    if limit == "":
        row = int(np.flatnonzero(rows.machine)[0])
        image, label = rows.ids[int(rows.pairs.image[row])].as_py(), rows.labels[int(rows.pairs.label[row])]
        raise WouldLose(
            f"{count:,} labels given by machine, such as {image} {label} with Confidence {rows.confidence[row]:g}",
            "labels verified by people (Confidence 1 or 0)",
            "add confidence=skip (leave them out), confidence=0.5 (present from there on) or confidence=soft",
            ("confidence", "skip"),
        )
    notes.append(f"{count:,} labels given by machine were left out.")
    return rows.where(~rows.machine)


def _cells(
    rows: LabelRows, images: pa.Array, words: Vocabulary, source: Source, notes: list[str]
) -> tuple[LabelSet, np.ndarray, np.ndarray, np.ndarray]:
    """The labels, values and known cells, `[N, L]` each, and the numbers of cells that stay unknown in any case."""
    people, guessed = rows.where(~rows.machine), rows.where(rows.machine)
    names = words.shown()
    present, absent, torn = agreeing(
        people.pairs.where(people.confidence == 1),
        people.pairs.where(people.confidence == 0),
        images,
        names,
        source,
    )
    used = np.bincount(rows.pairs.label, minlength=len(words.ids)) > 0
    for j in np.flatnonzero(np.bincount(rows.pairs.label[rows.confidence > 0])).tolist():
        used[list(words.above[j])] = True
    column, labels = chosen(words, used, source, notes)
    shape = (len(images), len(labels))
    refuse_huge(
        *shape,
        source.path,
        "choose labels with labels=FILE, or leave out images without a file with missing=skip",
    )
    pos, neg, clash = implied_cells(
        present, absent, shape, column, (words.above, words.below), images, names, source
    )
    known = np.logical_or(pos, neg, out=neg).reshape(shape)  # in place: a mask may hold gigabytes
    values = pos.view(np.uint8).reshape(shape)
    if len(guessed.confidence):
        soft = _machine_limit(source) == "soft"
        values = with_guesses(values, known, guessed, words.above, column, soft=soft, notes=notes)
    torn = Pairs(*np.divmod(torn, max(len(words.ids), 1))).columns(column).keys(shape[1])
    masked = np.union1d(torn, clash)
    if len(masked):
        fate = "are present" if source.options["duplicates"] == "union" else "are unknown"
        notes.append(f"{len(masked):,} cells that contradict each other {fate}.")
    named = LabelSet(labels, rules=rules_of(words, column, labels))
    return named, values, known, masked[~known.reshape(-1)[masked]]


def _absence_notes(labels: Sequence[str], values: np.ndarray, known: np.ndarray, rest: str) -> list[str]:
    if rest == "negative":
        return ["A label is absent where no row names it (rest=negative)."]
    absent = known.sum(0) - np.count_nonzero(values, axis=0)  # values are 0 where nothing is known
    unchecked = [labels[j] for j in np.flatnonzero(absent == 0).tolist()]
    if len(unchecked) == len(labels):
        return [
            "No label is ever verified absent (no row has Confidence 0): what no row names is unknown; "
            "rest=negative reads it as absent."
        ]
    notes = ["Confidence 1 is present, 0 absent; a label without a row is unknown."]
    if unchecked:
        notes.append(f"{len(unchecked):,} labels are never verified absent: {few(unchecked)}.")
    return notes
