"""Roboflow's multi-label export: a folder a split, each with `_classes.csv` beside its images."""

from __future__ import annotations

from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.data.readers import csv
from labelwise.data.readers.files import source_folder
from labelwise.data.readers.joined import joined
from labelwise.data.readers.several import named_by
from labelwise.data.readers.split_names import canonical
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "roboflow:DIR[?labels=same|union]"
MEANING = "a Roboflow export: train, valid and test folders, each with _classes.csv and its images"
OPTIONS = frozenset({"labels", "ignore", "unknown", "duplicates", "missing"})
TABLE = "_classes.csv"


def recognises(path: Path) -> bool:
    """Whether a folder, or a split folder in it, holds `_classes.csv` with the image column that Roboflow writes."""
    return path.is_dir() and any(_is_table(file) for file in (path / TABLE, *_tables(path).values()))


def _is_table(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(64).removeprefix(b"\xef\xbb\xbf").lower().startswith(b"filename,")


def _tables(root: Path) -> dict[str, Path]:
    """The table of each split folder, by the folder's name, whether it is there or not."""
    folders = [item for item in root.iterdir() if item.is_dir() and not item.name.startswith(".")]
    split = {folder: canonical(folder.name) or "" for folder in folders}
    order = ("train", "val", "test")
    told = sorted((f for f in folders if split[f] in order), key=lambda f: (order.index(split[f]), f.name))
    return {folder.name: folder / TABLE for folder in told}


def read(source: Source) -> Dataset:
    """Reads the table of each split folder by the rules of CSV, and joins them.

    Raises:
        LabelwiseError: for a folder without tables, tables whose labels differ, or what the CSV reader refuses.
    """
    union = source.choice("labels", ("same", "union")) == "union"
    root = source_folder(source, "a folder of a Roboflow export")
    tables = _tables(root)
    found = {name: file for name, file in tables.items() if file.is_file()}
    if (root / TABLE).is_file():
        if found:
            raise LabelwiseError(
                f"{root / TABLE} beside {next(iter(found.values()))}",
                "tables in split folders, or one",
                "move one away",
            )
        found = {"": root / TABLE}
    if not found:
        raise LabelwiseError(
            f"folder {source.path!r} without {TABLE} in train, valid or test",
            "a multi-label export of Roboflow",
            "check the path; an export in the COCO form is read by coco:DIR",
        )
    options = {name: value for name, value in source.options.items() if name in OPTIONS - {"labels"}}
    parts = []
    for name, file in found.items():
        with named_by(str(file.relative_to(root))):
            parts.append((csv.read(Source("csv", str(file), options)), name))
    data = joined(parts, union=union) if len(parts) > 1 or parts[0][1] else parts[0][0]
    empty = [name for name in tables if name not in found and found.keys() != {""}]
    return data.with_notes(*(f"Folder {name!r} has no {TABLE} and was left out." for name in empty))
