"""The tables of Open Images: the kinds of files, and fast reading of their columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from labelwise.data.imagefiles import walk
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError, first_line

DEPTH = 3  # levels of subfolders that are searched for tables
_SPLIT_FOLDERS = ("train", "validation", "test")
_HEAD = 4096  # bytes of a table that are read for its header
_LABELS = {"ImageID", "LabelName", "Confidence"}
_INFO = {"Subset", "Rotation", "OriginalURL"}
_CODED = pa.dictionary(pa.int32(), pa.string())
_LABEL_TYPES = {"ImageID": _CODED, "LabelName": _CODED, "Source": _CODED, "Confidence": pa.float32()}
_INFO_TYPES = {"ImageID": pa.string(), "Subset": pa.string(), "Rotation": pa.string()}


@dataclass
class FolderTables:
    """Files of a folder by content.

    Args:
        labels: image-level labels.
        images: metadata of images, such as `Subset` and `Rotation`.
        names: display names of labels.
        hierarchy: trees of labels.
        other: further tables with an `ImageID`, such as boxes.
    """

    labels: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    names: list[Path] = field(default_factory=list)
    hierarchy: list[Path] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)


def tables_of(source: Source) -> tuple[FolderTables, list[Path]]:
    """The tables of a source, and the likely folders of its images, the likeliest first.

    Raises:
        LabelwiseError: a path that does not exist, or without a table of image-level labels.
    """
    path = Path(source.path)
    if path.is_dir():
        tables = _sorted_out(_tables_below(path, DEPTH))
        if tables.labels:
            return tables, [path, path.parent]
        detail = f"; {tables.other[0].name} holds no image-level labels" if tables.other else ""
        raise LabelwiseError(
            f"folder {source.path!r} without image-level labels{detail}",
            "a CSV with the columns ImageID, LabelName and Confidence",
            "add the file, such as validation-annotations-human-imagelabels.csv",
        )
    if not path.is_file():
        raise LabelwiseError(
            f"{source.path!r}, which does not exist", "a folder or a CSV of Open Images", "check the path"
        )
    if _kind_of(path) != "labels":
        raise LabelwiseError(
            f"{source.path!r} with the header {', '.join(_header(path))[:120]!r}",
            "the columns ImageID, LabelName and Confidence (and Source)",
            "name the file of image-level labels",
        )
    grandparent = path.absolute().parent.parent
    folders = [path.parent, path.parent / "metadata", grandparent, grandparent / "metadata"]
    tables = _sorted_out(file for folder in folders for file in _tables_below(folder, 0))
    tables.labels, tables.other = [path], []
    return tables, [path.parent, grandparent]


def holds_label_table(path: Path) -> bool:
    """Whether a file is a table of image-level labels, or a folder or one of its usual subfolders holds one."""
    if not path.is_dir():
        return path.is_file() and _kind_of(path) == "labels"
    in_splits = [f"{split}{inner}" for split in _SPLIT_FOLDERS for inner in ("", "/labels")]
    names = ("", "annotations", "labels", *in_splits)
    files = (file for name in names for file in _tables_below(path / name, 0, glance=True))
    return any(_kind_of(file) == "labels" for file in files)


def _tables_below(folder: Path, depth: int, *, glance: bool = False) -> Iterator[Path]:
    """The CSV files and hierarchies in a folder and its subfolders to this depth."""
    for listing in walk(folder, depth, glance=glance) if folder.is_dir() else ():
        for name in listing.files:
            if name.lower().endswith(".csv") or ("hierarchy" in name and name.endswith(".json")):
                yield Path(listing.path, name)


def _sorted_out(files: Iterable[Path]) -> FolderTables:
    """The files by content, without those of other kinds."""
    tables = FolderTables()
    for file in files:
        kind = _kind_of(file)
        if kind:
            getattr(tables, kind).append(file)
    return tables


def _kind_of(file: Path) -> str:
    """The kind of a file by its header: `labels`, `images`, `names`, `hierarchy`, `other`, or empty if unknown."""
    if file.suffix == ".json":
        return "hierarchy"
    header = _header(file)
    columns = set(header)
    if columns >= _LABELS:
        return "labels" if columns <= _LABELS | {"Source"} else "other"
    if "ImageID" in columns:
        return "images" if columns & _INFO or len(header) == 1 else "other"
    is_vocabulary = "class-descriptions" in file.name or file.name in ("classes.csv", "dict.csv")
    return "names" if len(header) == 2 and (is_vocabulary or header == ["LabelName", "DisplayName"]) else ""


def _header(file: Path) -> list[str]:
    """The cells of a file's first line; empty if it cannot be read."""
    try:
        with file.open("rb") as stream:
            line = stream.read(_HEAD).decode("utf-8-sig", errors="replace").splitlines()[:1]
        return [cell.strip() for cell in next(csv.reader(line), [])]
    except (OSError, csv.Error):
        return []


def label_columns(file: Path) -> pa.Table:
    """The `R` rows of a label table: `ImageID`, `LabelName`, `Confidence` in [0, 1], and `Source` if it has one.

    Raises:
        LabelwiseError: rows of another format, with file and line.
    """
    table = _columns(file, _LABEL_TYPES)
    _check_rows(file, table)
    return table


def info_columns(file: Path) -> pa.Table:
    """The columns `ImageID`, `Subset` and `Rotation` of an image table, as text, if present.

    Raises:
        LabelwiseError: rows of another length than the header.
    """
    return _columns(file, _INFO_TYPES)


def _columns(file: Path, types: dict[str, pa.DataType]) -> pa.Table:
    """Columns of these types from a CSV file; the others are not read."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        header = [cell.strip() for cell in next(csv.reader(stream), [])]
    if len(set(header)) < len(header):
        raise LabelwiseError(f"{file}: a column twice", "distinct columns", "correct the header")
    for threads in (True, False):  # one thread counts the rows, for the message
        try:
            return arrow_csv.read_csv(
                file,
                read_options=arrow_csv.ReadOptions(use_threads=threads, column_names=header, skip_rows=1),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=len(header) > len(types)),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=types,
                    include_columns=[name for name in header if name in types],
                    strings_can_be_null=False,
                    null_values=[""],
                ),
            )
        except (pa.ArrowException, OSError) as error:
            last_error = error
    fault = _invalid_confidence(file, header) if "Confidence" in types else ""
    raise LabelwiseError(
        fault or f"{file} ({first_line(last_error)})",
        f"a row with {', '.join(header)}; Confidence from 0 to 1"
        if fault
        else "a header and rows of its length",
        "correct the file",
    )


def _invalid_confidence(file: Path, header: Sequence[str]) -> str:
    """File, line and value of the first Confidence that is not a number, or empty."""
    column = header.index("Confidence")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            next(reader)
            for row in reader:
                try:
                    if row and len(row) == len(header) and row[column]:
                        float(row[column])
                except ValueError:
                    return f"{file}, line {reader.line_num}: Confidence {row[column][:40]!r}"
    except (UnicodeDecodeError, csv.Error):
        pass
    return ""


def _check_rows(file: Path, table: pa.Table) -> None:
    """Raises `LabelwiseError` for a table without rows, or a row with an invalid cell."""
    if not table.num_rows:
        raise LabelwiseError(f"{file} without rows", "a row for each label of an image", "check the file")
    confidence = table["Confidence"]
    for fault, is_wrong in (
        ("without a Confidence", pc.is_null(confidence, nan_is_null=True)),
        ("with a Confidence outside 0 to 1", pc.or_(pc.less(confidence, 0), pc.greater(confidence, 1))),
        *((f"without {name}", pc.equal(table[name], "")) for name in ("ImageID", "LabelName")),
    ):
        row = pc.index(is_wrong, True).as_py()
        if row >= 0:
            raise LabelwiseError(
                f"{file}, row {row + 2} {fault}",
                "ImageID, LabelName and a Confidence from 0 to 1",
                "correct the row",
            )
