"""The CSV of LightlyTrain's multi-label classification: the path of an image, and its labels with commas."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from labelwise.data.dataset import Dataset
from labelwise.data.readers.names import NOTHING, named_rows, nothing_word
from labelwise.data.readers.roles import roles_of
from labelwise.data.readers.split_names import are_splits
from labelwise.data.source import Source
from labelwise.data.wholefile import whole_file, whole_folder
from labelwise.data.writers.images import absolute_paths, names_from
from labelwise.data.writers.job import Job, Written, lost_parts, parts_by_split, refuse_shares, refuse_split
from labelwise.errors import LabelwiseError

MEANING = (
    "LightlyTrain's CSV: image_path, and label with comma-separated names; one file per split in a folder"
)
SUFFIXES = (".csv", "")
IMAGES = ("paths",)
OPTIONS = frozenset[str]()
_IMAGE, _LABEL = "image_path", "label"


def write(job: Job) -> Written:
    """Writes the known positives of each image; `csv:` reads a file back, with unknown labels as absent.

    Raises:
        LabelwiseError: images inside the data set, a name with a comma, or states other than 0 and 1.
    """
    data = job.data
    unusable = next((name for name in data.labels if "," in name or name != name.strip()), None)
    if unusable is not None:
        raise LabelwiseError(f"label {unusable!r}, with a comma", "names without commas", "rename it")
    refuse_shares(data, "the CSV")
    is_file = bool(job.out.suffix)
    parts = [("", np.arange(len(data)))] if is_file else list(parts_by_split(data))
    for split, _ in parts:
        refuse_split(split, r"[^/\\\x00-\x1f]+", "a valid file name")
    names = names_from(absolute_paths(job), job.out.parent if is_file else job.out)
    files = [job.out.name if is_file else f"{split or 'labels'}.csv" for split, _ in parts]
    with ExitStack() as stack:
        if is_file:
            paths = [stack.enter_context(whole_file(job.out))]
        else:
            folder = stack.enter_context(whole_folder(job.out))
            paths = [folder / file for file in files]
        for path, (_, rows) in zip(paths, parts, strict=True):
            _write_rows(data, names, rows, path)
    source = _source(job, names) if is_file else None
    notes = _notes(data, is_file)
    if is_file and source is None:
        notes.append(
            "labelwise does not read the file back, as a reader of tables treats its names of labels or images as "
            "blanks, numbers or states: write .csv or .parquet without --form for that."
        )
    return Written(job.out, tuple(files), tuple(notes), source)


def _write_rows(data: Dataset, names: list[str], rows: np.ndarray, path: Path) -> None:
    """Writes the rows of one file."""
    positive = data.positive
    with open(path, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow((_IMAGE, _LABEL))
        table.writerows((names[row], _cell(data, positive[row])) for row in rows.tolist())


def _source(job: Job, images: Sequence[str]) -> Source | None:
    """The source that reads the file back; `None` if a reader would misinterpret names."""
    data, positive = job.data, job.data.positive
    cells = [_cell(data, row) for row in positive]
    options = {"separator": "," if (positive.sum(1) > 1).any() else ""}
    if any(cell.casefold().replace("_", " ") in NOTHING for cell in cells):
        options["none"] = ""
    if are_splits(cells, least=0):
        options["labels"] = _LABEL
    source = Source("csv", str(job.out), options)
    table = pa.table({_IMAGE: pa.array(images, pa.string()), _LABEL: pa.array(cells, pa.string())})
    try:
        roles = roles_of(table, source)
        rows = nothing_word(named_rows(table[_LABEL], _LABEL, source, str), source, [])
    except LabelwiseError:
        return None
    used = [j for j in np.flatnonzero(positive.any(0)) if data.labels.names[j] in rows.names]
    columns = [rows.names.index(data.labels.names[j]) for j in used]
    is_equal = (
        roles.image == _IMAGE
        and roles.names == (_LABEL,)
        and all(image == image.strip() for image in images)
        and len(used) == len(rows.names) == int(positive.any(0).sum()) > 0
        and np.array_equal(rows.matrix()[:, columns], positive[:, used])
    )
    return source if is_equal else None


def _cell(data: Dataset, positive: Bool[np.ndarray, " L"]) -> str:
    """The names of an image's present labels, separated by commas."""
    return ",".join(data.labels.names[j] for j in np.flatnonzero(positive))


def _notes(data: Dataset, is_file: bool) -> list[str]:
    """Sentences on what the form leaves out."""
    notes = lost_parts(data, "the CSV", "boxes", "groups", "sets")
    empty, unknown = int((~data.positive.any(1)).sum()), int((~data.known).sum())
    if is_file and data.split_of is not None:
        notes.append(
            "Splits are left out of the CSV: LightlyTrain requires one file per split, written to an OUT without .csv."
        )
    if not is_file:
        notes.append(
            "labelwise reads them as csv:FILE,FILE, with `separator=,` for rows with several names, else `separator=`."
        )
    if empty:
        notes.append(f"LightlyTrain 0.18.0 silently drops rows without a label, {empty:,} here.")
    if unknown:
        notes.append(f"{unknown:,} unknown cells are not written: the form treats them as absent.")
    return notes
