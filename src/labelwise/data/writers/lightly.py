"""The CSV of LightlyTrain's multi-label classification: the path of an image, and its labels with commas between."""

from __future__ import annotations

import csv

import numpy as np

from labelwise.data.source import Source
from labelwise.data.wholefile import whole_file
from labelwise.data.writers.images import absolute_paths, names_from
from labelwise.data.writers.job import Job, Written, left_out, refuse_shares
from labelwise.errors import LabelwiseError

MEANING = "LightlyTrain's CSV: image_path, and label with names and commas between them"
SUFFIXES = (".csv",)
IMAGES = ("paths",)
OPTIONS = frozenset[str]()


def write(job: Job) -> Written:
    """Writes the known positives of each image; `csv:` reads the file back, with what is unknown as absent.

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
    positive = data.positive
    empty = int((~positive.any(1)).sum())
    unknown = int((~data.known).sum())
    notes = [*left_out(data, "the CSV", "boxes", "groups", "sets")]
    if data.split_of is not None:
        notes.append("Splits are left out of the CSV: LightlyTrain takes a file for each.")
    if empty:
        notes.append(f"LightlyTrain 0.18.0 leaves out rows without a label, {empty:,} here, without a word.")
    if unknown:
        notes.append(f"{unknown:,} unknown cells are not written: the form takes them for absent.")
    names = names_from(absolute_paths(job), job.out.parent)
    with whole_file(job.out) as part, open(part, "w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("image_path", "label"))
        for name, row in zip(names, positive, strict=True):
            rows.writerow((name, ",".join(data.labels.names[j] for j in np.flatnonzero(row))))
    return Written(job.out, (job.out.name,), tuple(notes), Source("csv", str(job.out)))
