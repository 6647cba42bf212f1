"""Roboflow's multi-label export: one folder per split, each with `_classes.csv` beside its images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import walk
from labelwise.data.readers import csv
from labelwise.data.readers.columns import dataset_of
from labelwise.data.readers.files import source_folder
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.several import named_by
from labelwise.data.readers.split_names import canonical
from labelwise.data.readers.split_tables import SplitTable, table_of_splits
from labelwise.data.source import Source, WouldLose
from labelwise.errors import LabelwiseError

FORM = "roboflow:DIR[?labels=same|union]"
MEANING = "a Roboflow export: train, valid and test folders, each with _classes.csv and its images"
OPTIONS = frozenset({"labels", "ignore", "unknown", "duplicates", "missing"})
TABLE = "_classes.csv"


def recognises(path: Path) -> bool:
    """Whether a folder, or a split folder in it, holds `_classes.csv` with the image column that Roboflow writes."""
    return path.is_dir() and any(_is_table(file) for file in (path / TABLE, *_tables(path).values()))


def _is_table(file: Path) -> bool:
    """Whether a file is a table with the image column that Roboflow writes."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(64).removeprefix(b"\xef\xbb\xbf").lower().startswith(b"filename,")


def _tables(root: Path) -> dict[str, Path]:
    """The path of each split folder's table, which may not exist, by the folder's name."""
    names = [name for listing in walk(root, 0) for name in listing.folders]
    split = {name: canonical(name) or "" for name in names}
    order = ("train", "val", "test")
    named = sorted((n for n in names if split[n] in order), key=lambda name: (order.index(split[name]), name))
    return {name: root / name / TABLE for name in named}


def read(source: Source) -> Dataset:
    """Reads the tables of the split folders as one, by the rules of CSV.

    Raises:
        LabelwiseError: a folder without tables, or an error of the CSV reader.
        WouldLose: tables with different labels, without `labels=union`.
    """
    union = source.choice("labels", ("same", "union")) == "union"
    root = source_folder(source, "a folder of a Roboflow export")
    tables = _tables(root)
    files = {name: file for name, file in tables.items() if file.is_file()}
    if (root / TABLE).is_file():
        if files:
            raise LabelwiseError(
                f"{root / TABLE} beside {next(iter(files.values()))}",
                "tables in split folders, or one",
                "move one away",
            )
        files = {"": root / TABLE}
    if not files:
        raise LabelwiseError(
            f"folder {source.path!r} without {TABLE} in train, valid or test",
            "a multi-label export of Roboflow",
            "check the path; coco:DIR reads an export in the COCO format",
        )
    options = {name: value for name, value in source.options.items() if name in OPTIONS - {"labels"}}
    if "" in files:
        return csv.read(Source("csv", str(files[""]), options))
    inner = Source("roboflow", source.path, options)
    parts = [_split_table(name, file, root) for name, file in files.items()]
    notes = _differences(parts, inner, union)
    (table, row_name, more), folder = table_of_splits(parts, inner)
    notes += [f"Folder {name!r} has no {TABLE} and was left out." for name in tables if name not in files]
    return dataset_of(table, inner, folder, row_name).with_notes(*more, *notes)


def _split_table(name: str, file: Path, root: Path) -> SplitTable:
    """The table of a split's folder."""
    title = str(file.relative_to(root))
    with named_by(title):
        content = csv.table_file(file)
    columns = [column.strip() for column in content.table.column_names]  # a blank follows each comma
    return SplitTable(file, name, title, content._replace(table=content.table.rename_columns(columns)))


def _differences(parts: Sequence[SplitTable], source: Source, union: bool) -> list[str]:
    """A note on tables that lack labels; raises `WouldLose` for them without `union`."""
    ignored = source.names("ignore")
    all_columns = dict.fromkeys(name for part in parts for name in part.content.table.column_names)
    lacking = []
    for part in parts:
        names = {*part.content.table.column_names, *ignored}
        if absent := [name for name in all_columns if name not in names]:
            lacking.append(f"{part.split} lacks {few(absent)}")
    if not lacking:
        return []
    if not union:
        raise WouldLose(
            f"labels that differ: {'; '.join(lacking)}",
            f"the same labels in {', '.join(part.split for part in parts)}",
            "make them agree, or add labels=union: a label is unknown where it is missing",
            ("labels", "union"),
        )
    return [f"Labels are unknown where they are missing: {'; '.join(lacking)}."]
