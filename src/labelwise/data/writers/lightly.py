"""The CSV of LightlyTrain's multi-label classification: the path of an image, and its labels with commas between."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.source import Source
from labelwise.data.wholefile import whole_file, whole_folder
from labelwise.data.writers.images import absolute_paths, names_from
from labelwise.data.writers.job import Job, Written, left_out, parts_by_split, refuse_shares, refuse_split
from labelwise.errors import LabelwiseError

MEANING = (
    "LightlyTrain's CSV: image_path, and label with names and commas between them; a file a split in a folder"
)
SUFFIXES = (".csv", "")
IMAGES = ("paths",)
OPTIONS = frozenset[str]()


def write(job: Job) -> Written:
    """Writes the known positives of each image; `csv:` reads a file back, with what is unknown as absent.

    Raises:
        LabelwiseError: images inside the data set, a name with a comma, or states that are neither 0 nor 1.
    """
    data = job.data
    odd = next((name for name in data.labels if "," in name or name != name.strip()), None)
    if odd is not None:
        raise LabelwiseError(
            f"label {odd!r}, with a comma", "names that commas can stand between", "rename it"
        )
    refuse_shares(data, "the CSV")
    single = bool(job.out.suffix)
    parts = [("", np.arange(len(data)))] if single else list(parts_by_split(data))
    for split, _ in parts:
        refuse_split(split, r"[^/\\\x00-\x1f]+", "a name that a file can have")
    names = names_from(absolute_paths(job), job.out.parent if single else job.out)
    files = [job.out.name if single else f"{split or 'labels'}.csv" for split, _ in parts]
    with ExitStack() as stack:
        if single:
            paths = [stack.enter_context(whole_file(job.out))]
        else:
            folder = stack.enter_context(whole_folder(job.out))
            paths = [folder / file for file in files]
        for path, (_, rows) in zip(paths, parts, strict=True):
            _write_rows(data, names, rows, path)
    source = Source("csv", str(job.out)) if single else None
    return Written(job.out, tuple(files), tuple(_notes(data, single)), source)


def _write_rows(data: Dataset, names: list[str], rows: np.ndarray, path: Path) -> None:
    positive = data.positive
    with open(path, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("image_path", "label"))
        for row in rows.tolist():
            table.writerow(
                (names[row], ",".join(data.labels.names[j] for j in np.flatnonzero(positive[row])))
            )


def _notes(data: Dataset, single: bool) -> list[str]:
    notes = left_out(data, "the CSV", "boxes", "groups", "sets")
    empty, unknown = int((~data.positive.any(1)).sum()), int((~data.known).sum())
    if single and data.split_of is not None:
        notes.append(
            "Splits are left out of the CSV: LightlyTrain takes a file for each, written to an OUT without .csv."
        )
    if empty:
        notes.append(f"LightlyTrain 0.18.0 leaves out rows without a label, {empty:,} here, without a word.")
    if unknown:
        notes.append(f"{unknown:,} unknown cells are not written: the form takes them for absent.")
    return notes
