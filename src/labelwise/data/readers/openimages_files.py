"""The files of Open Images: which ones a folder holds, the names of its labels, and what stands above what."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelwise import rules
from labelwise.data.imagefiles import is_clutter
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError, first_line

DEPTH = 3  # folders below the given one in which tables are looked for
_SPLIT_FOLDERS = ("train", "validation", "test")
_HEAD = 4096  # bytes of a table that show its header
_LABELS = {"ImageID", "LabelName", "Confidence"}
_INFO = {"Subset", "Rotation", "OriginalURL"}


@dataclass
class Tables:
    """Tables of a folder by what they hold.

    Args:
        labels: image-level labels.
        images: facts of images, such as `Subset` and `Rotation`.
        names: display names of labels.
        hierarchy: trees of labels.
        other: further tables with an `ImageID`, such as boxes.
    """

    labels: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    names: list[Path] = field(default_factory=list)
    hierarchy: list[Path] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)


def tables_of(source: Source) -> tuple[Tables, list[Path]]:
    """The tables that a source names, and the folders in which its images may be, the likeliest first.

    Raises:
        LabelwiseError: for a path that is not there, or without a table of image-level labels.
    """
    path = Path(source.path)
    if path.is_dir():
        tables = sorted_out(_tables_below(path))
        if tables.labels:
            return tables, [path, path.parent]
        boxes = f"; {tables.other[0].name} holds no image-level labels" if tables.other else ""
        raise LabelwiseError(
            f"folder {source.path!r} without image-level labels{boxes}",
            "a CSV with the columns ImageID, LabelName and Confidence",
            "add the file, such as validation-annotations-human-imagelabels.csv",
        )
    if not path.is_file():
        raise LabelwiseError(
            f"{source.path!r}, which does not exist", "a folder or a CSV of Open Images", "check the path"
        )
    if kind_of(path) != "labels":
        raise LabelwiseError(
            f"{source.path!r} with the header {', '.join(_header(path))[:120]!r}",
            "the columns ImageID, LabelName and Confidence (and Source)",
            "name the file of image-level labels",
        )
    above = path.absolute().parent.parent
    near = [path.parent, path.parent / "metadata", above, above / "metadata"]
    tables = sorted_out(file for folder in near if folder.is_dir() for file in _tables_in(folder))
    tables.labels, tables.other = [path], []
    return tables, [path.parent, above]


def holds_label_table(path: Path) -> bool:
    """Whether a file is a table of image-level labels, or a folder, or one in it of a usual name, holds one."""
    if not path.is_dir():
        return path.is_file() and kind_of(path) == "labels"
    names = (
        "",
        "annotations",
        "labels",
        *(f"{split}{inner}" for split in _SPLIT_FOLDERS for inner in ("", "/labels")),
    )
    folders = [path / name for name in names if (path / name).is_dir()]
    return any(kind_of(file) == "labels" for folder in folders for file in _tables_in(folder))


def _tables_below(root: Path) -> Iterator[Path]:
    for place, inner, files in os.walk(root):
        deep = len(Path(place).relative_to(root).parts) >= DEPTH
        inner[:] = [] if deep else sorted(name for name in inner if not is_clutter(name))
        yield from (Path(place) / name for name in sorted(files) if _may_be_table(name))


def _tables_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if _may_be_table(file.name) and file.is_file())


def _may_be_table(name: str) -> bool:
    return not name.startswith(".") and (
        name.lower().endswith(".csv") or ("hierarchy" in name and name.endswith(".json"))
    )


def sorted_out(files: Iterator[Path]) -> Tables:
    """The files by what they hold; those of another kind are in none of the lists."""
    tables = Tables()
    for file in files:
        kind = kind_of(file)
        if kind:
            getattr(tables, kind).append(file)
    return tables


def kind_of(file: Path) -> str:
    """What a file holds, by its header: `labels`, `images`, `names`, `hierarchy`, `other`, or nothing known."""
    if file.suffix == ".json":
        return "hierarchy"
    header = _header(file)
    columns = set(header)
    if columns >= _LABELS:
        return "labels" if columns <= _LABELS | {"Source"} else "other"
    if "ImageID" in columns:
        return "images" if columns & _INFO or len(header) == 1 else "other"
    named = "class-descriptions" in file.name or file.name in ("classes.csv", "dict.csv")
    return "names" if len(header) == 2 and (named or header == ["LabelName", "DisplayName"]) else ""


def _header(file: Path) -> list[str]:
    try:
        with file.open("rb") as opened:
            line = opened.read(_HEAD).decode("utf-8-sig", errors="replace").splitlines()[:1]
        return [cell.strip() for cell in next(csv.reader(line), [])]
    except (OSError, csv.Error):
        return []


def display_names(files: Sequence[Path], notes: list[str]) -> dict[str, str]:
    """Name of each label id, in the order of the files; the longest file goes first.

    Raises:
        LabelwiseError: for a row without a name.
    """
    names: dict[str, str] = {}
    changed = 0
    for file in sorted(files, key=lambda file: -file.stat().st_size):
        for number, row in _rows(file):
            if row == ["LabelName", "DisplayName"]:
                continue
            if len(row) != 2 or not all(cell.strip() for cell in row):
                raise LabelwiseError(
                    f"{file}, line {number}: {','.join(row)[:80]!r}",
                    "a label id and its name",
                    "correct the line",
                )
            key, name = row[0].strip(), row[1].strip()
            changed += names.setdefault(key, name) != name
    if changed:
        notes.append(
            f"{changed:,} labels have other names in a second file of names: the longest file is taken."
        )
    return names


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened)
            yield from ((reader.line_num, row) for row in reader if row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelwiseError(f"{file}: {first_line(error)}", "a CSV in UTF-8", "save it again") from None


def ancestors_of(file: Path) -> dict[str, list[str]]:
    """All labels above each label of a hierarchy file, without its root, which every image would have.

    Raises:
        LabelwiseError: for a file of another form.
    """
    try:
        return rules.ancestors_of(json.loads(file.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LabelwiseError(
            f"{file}: {type(error).__name__} ({first_line(error)})",
            "a tree of LabelName and Subcategory, such as bbox_labels_600_hierarchy.json",
            "check the file, or write hierarchy=none",
        ) from None
