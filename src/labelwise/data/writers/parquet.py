"""Parquet: the canonical table, with columns that pandas, polars and DuckDB read directly."""

from __future__ import annotations

from pathlib import Path

from labelwise.data.readers.name_doubts import few
from labelwise.data.source import Source
from labelwise.data.table import column_of, write_table
from labelwise.data.writers.job import Job, Written

MEANING = "the table of `labelwise data import`: image, split, group, and a nullable column for each label"
SUFFIXES = (".parquet",)
IMAGES = ("paths", "embed")
OPTIONS = frozenset[str]()


def write(job: Job) -> Written:
    """Writes the canonical table, which `parquet:` reads back without loss.

    Raises:
        LabelwiseError: an unreadable image to embed.
    """
    data = job.data
    write_table(data, job.out, job.images == "embed")
    notes = []
    renamed = [f"{column_of(name)} is {name}" for name in data.labels if column_of(name) != name]
    if renamed:
        notes.append(f"Columns of labels with reserved names: {few(renamed)}.")
    if not data.embedded and job.images == "paths" and data.root is not None:
        notes.append(f"Names in the column image are relative to {Path(data.root).absolute()}.")
    return Written(job.out, (job.out.name,), tuple(notes), Source("parquet", str(job.out)))
