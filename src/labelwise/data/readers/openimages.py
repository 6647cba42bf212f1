"""Open Images: image-level labels, one row per label: 1 is present, 0 verified absent, the rest unknown."""

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
    read_label_rows,
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
    """Reads label tables of Open Images; names of files and folders, or the column `Subset`, set the splits.

    Raises:
        LabelwiseError: tables of another format, missing images, and, unless an option resolves them, labels by
            machine or contradictions.
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
    rows = _rows_to_use(read_label_rows(files), limit, notes)
    images = images_of(rows.ids, rows.splits, tables.images, source, folders, notes)
    total = len(images.ids)
    exists, missing_notes = rows_there(images.names, str(images.root), source, images.there)
    images, rows = images.where(exists), rows.of_images(exists)
    vocab = vocabulary(rows.labels, tables, source, notes)
    labels, values, known, masked = _cells(rows, images.ids, vocab, source, notes)
    notes += _absence_notes(labels.names, values, known, rest)
    with_known = np.asarray(known.any(axis=1))
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
        notes=(*notes, *missing_notes),
        rows_in_source=total,
    )
    if "labels" in source.options and rest == "unknown" and not with_known.all():
        left_out = f"{int((~with_known).sum()):,} images without a row of these labels were left out."
        return data.take(with_known).with_notes(left_out)
    return data


def _machine_limit(source: Source) -> str | float:
    """The option `confidence`: empty, `skip`, `soft`, or the lowest Confidence of a present label."""
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
    """The files without `machine` in their name, which means labels by a classifier; all files if none is left."""
    by_people = [file for file in files if "machine" not in file.name]
    if by_people and len(by_people) < len(files):
        others = [file.name for file in files if file not in by_people]
        notes.append(f"Labels by machine were left out (confidence=0.5 or soft reads them): {few(others)}.")
    return by_people or files


def _rows_to_use(rows: LabelRows, limit: str | float, notes: list[str]) -> LabelRows:
    """The rows to use; the limit decides whether rows by machine are refused, left out or kept.

    Raises:
        WouldLose: rows by machine without a limit.
    """
    count = int(rows.machine.sum())
    if not count or limit == "soft":
        return rows
    if isinstance(limit, float):
        low = rows.machine & (rows.confidence < np.float32(limit))
        notes.append(f"{int(low.sum()):,} labels by machine with a Confidence below {limit:g} were left out.")
        return rows.where(~low)
    if limit == "":
        row = int(np.flatnonzero(rows.machine)[0])
        image, label = rows.ids[int(rows.pairs.image[row])].as_py(), rows.labels[int(rows.pairs.label[row])]
        raise WouldLose(
            f"{count:,} labels by machine, such as {image} {label} with Confidence {rows.confidence[row]:g}",
            "labels verified by people (Confidence 1 or 0)",
            "add confidence=skip (leave them out), confidence=0.5 (present from 0.5 on) or confidence=soft",
            ("confidence", "skip"),
        )
    notes.append(f"{count:,} labels by machine were left out.")
    return rows.where(~rows.machine)


def _cells(
    rows: LabelRows, images: pa.Array, vocab: Vocabulary, source: Source, notes: list[str]
) -> tuple[LabelSet, np.ndarray, np.ndarray, np.ndarray]:
    """The labels, values and known cells, `[N, L]` each, and the indices of cells that stay unknown in any case."""
    people, guessed = rows.where(~rows.machine), rows.where(rows.machine)
    names = vocab.shown()
    present, absent = (people.pairs.where(people.confidence == state) for state in (1, 0))
    present, absent, contradicted = agreeing(present, absent, images, names, source)
    occurring = np.bincount(rows.pairs.label, minlength=len(vocab.ids)) > 0
    for j in np.flatnonzero(np.bincount(rows.pairs.label[rows.confidence > 0])).tolist():
        occurring[list(vocab.above[j])] = True
    column, labels = chosen(vocab, occurring, source, notes)
    shape = (len(images), len(labels))
    todo = "choose labels with labels=FILE, or leave out images without a file with missing=skip"
    refuse_huge(*shape, source.path, todo)
    is_present, is_absent, conflicts = implied_cells(
        present, absent, shape, column, (vocab.above, vocab.below), images, names, source
    )
    known = np.logical_or(is_present, is_absent, out=is_absent).reshape(shape)  # in place: masks are large
    values = is_present.view(np.uint8).reshape(shape)
    if len(guessed.confidence):
        soft = _machine_limit(source) == "soft"
        values = with_guesses(values, known, guessed, vocab.above, column, soft=soft, notes=notes)
    contradicted = Pairs(*np.divmod(contradicted, max(len(vocab.ids), 1))).columns(column).keys(shape[1])
    masked = np.union1d(contradicted, conflicts)
    if len(masked):
        fate = "are present" if source.options["duplicates"] == "union" else "are unknown"
        notes.append(f"{len(masked):,} cells that contradict each other {fate}.")
    named = LabelSet(labels, rules=rules_of(vocab, column, labels))
    return named, values, known, masked[~known.reshape(-1)[masked]]


def _absence_notes(labels: Sequence[str], values: np.ndarray, known: np.ndarray, rest: str) -> list[str]:
    """What a label without a row means, and which labels are never verified absent."""
    if rest == "negative":
        return ["A label without a row is absent (rest=negative)."]
    absent = known.sum(0) - np.count_nonzero(values, axis=0)  # values are 0 where nothing is known
    unchecked = [labels[j] for j in np.flatnonzero(absent == 0).tolist()]
    if len(unchecked) == len(labels):
        return [
            "No label is ever verified absent (no row has Confidence 0): a label without a row is unknown; "
            "rest=negative reads it as absent."
        ]
    notes = ["Confidence 1 is present, 0 absent; a label without a row is unknown."]
    if unchecked:
        notes.append(f"{len(unchecked):,} labels are never verified absent: {few(unchecked)}.")
    return notes
