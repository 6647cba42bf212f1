"""CelebA: `list_attr_celeba.txt` or `.csv` of 1 and -1, the official partition, identities as groups."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import UInt8

from labelwise.data.dataset import Dataset
from labelwise.data.readers.columns import group_codes
from labelwise.data.readers.exports import utf8_text
from labelwise.data.readers.files import text_array
from labelwise.data.readers.image_labels import dataset_of_cells
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "celeba:DIR|FILE"
MEANING = "CelebA: list_attr_celeba.txt or .csv (1 and -1), with its partition, identities and images"
OPTIONS = frozenset({"images", "duplicates", "missing"})
_ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
_PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")
_IDENTITIES = ("identity_CelebA.txt",)
_IMAGES = ("img_align_celeba/img_align_celeba", "img_align_celeba", "img_align_celeba_png", "img_celeba")
_SUBFOLDERS = ("", "Anno", "Eval", "celeba", "CelebA")
_SPLITS = {"0": "train", "1": "val", "2": "test"}


@dataclass(frozen=True)
class Lines:
    """A list of CelebA: an image name and cells in each row.

    Args:
        header: names of the cells; empty if the file has none.
        names: `[N]` images.
        cells: `[N, C]` texts.
        first: line number of the first row.
    """

    header: tuple[str, ...]
    names: list[str]
    cells: np.ndarray
    first: int


def recognises(path: Path) -> bool:
    """Whether a file is a list of attributes by its content (a CSV by its name), or a folder holds one."""
    if path.is_dir():
        return any((path / inner / name).is_file() for inner in ("", "Anno") for name in _ATTRIBUTES)
    if path.name.lower() == _ATTRIBUTES[1]:
        return path.is_file()
    if path.suffix.lower() != ".txt":
        return False
    with path.open("rb") as stream:
        lines = [line.split() for line in stream.read(1 << 16).splitlines()[:3]]
    return (
        len(lines) == 3
        and len(lines[0]) == 1
        and lines[0][0].isdigit()
        and len(lines[2]) == len(lines[1]) + 1 > 1
        and set(lines[2][1:]) <= {b"1", b"-1"}
    )


def read(source: Source) -> Dataset:
    """Reads CelebA, or lists of the same form with other attributes.

    Raises:
        LabelwiseError: for lists of another form, an image twice in the partition, or missing images.
    """
    path = Path(source.path)
    file = path if path.is_file() else _first_file([path], _ATTRIBUTES)
    if file is None:
        given = f"{source.path!r}, which does not exist"
        if path.is_dir():
            given = f"folder {source.path!r} without {_ATTRIBUTES[0]}"
        raise LabelwiseError(given, "a folder of CelebA, or its list of attributes", "check the path")
    lines = _csv_lines(file) if file.suffix.lower() == ".csv" else _text_lines(file)
    notes = []
    if path.is_dir() and file.suffix == ".txt" and file.with_suffix(".csv").is_file():
        notes.append(f"{file.with_suffix('.csv').name} beside {file.name} is not read.")
    values = _values(file, lines, notes)
    bases = [file.parent, file.parent.parent]
    splits = _splits(lines.names, _first_file(bases, _PARTITIONS), notes)
    group = _groups(lines.names, _first_file(bases, _IDENTITIES), notes)
    names = text_array(lines.names)
    folders = [base / inner for base in bases for inner in ("", "Img") if (base / inner).is_dir()]
    images = [base / name for name in _IMAGES for base in folders if (base / name).is_dir()]
    if images and images[0].name == "img_align_celeba_png":
        names = pc.replace_substring_regex(names, r"\.jpg$", ".png")
    return dataset_of_cells(
        names,
        lines.header,
        values,
        np.ones(values.shape, bool),
        source,
        [*images, file.parent],
        row_name=lambda row: f"line {row + lines.first}",
        splits=splits,
        group=group,
        notes=notes,
    )


def _first_file(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first file with one of the names, in the folders or the usual ones inside them; `None` without one."""
    files = (folder / inner / name for name in names for folder in folders for inner in _SUBFOLDERS)
    return next((file for file in files if file.is_file()), None)


def _text_lines(file: Path) -> Lines:
    """A line with the number of images, a line of attribute names, then rows separated by blanks."""
    head, _, tail = utf8_text(file).lstrip("\n").partition("\n")
    header, _, body = tail.partition("\n")
    if not head.strip().isdecimal() or not header.strip():
        raise LabelwiseError(
            f"{file} that begins with {head.strip()[:40]!r}",
            "the number of images, then a line of attribute names, then one line per image",
            "check the file",
        )
    lines = _rows(file, body, tuple(header.split()), 3)
    if len(lines.names) != int(head):
        raise LabelwiseError(
            f"{file} with {len(lines.names):,} rows, though its first line says {int(head):,}",
            "a complete file",
            "fetch it again, or correct the first line",
        )
    return lines


def _rows(file: Path, body: str, header: tuple[str, ...], first: int, width: int | None = None) -> Lines:
    """Rows of a name and cells, separated by blanks."""
    width = len(header) if width is None else width
    names: list[str] = []
    flat: list[str] = []
    for number, line in enumerate(body.splitlines(), first):
        cells = line.split()
        if cells and len(cells) != width + 1:
            raise LabelwiseError(
                f"{file}, line {number} with {len(cells)} values: {line.strip()[:60]!r}",
                f"an image and {width} cells",
                "correct the line",
            )
        names += cells[:1]
        flat += cells[1:]
    if not names:
        raise LabelwiseError(f"{file} without images", "one line per image", "check the file")
    return Lines(header, names, np.array(flat, dtype=object).reshape(len(names), width), first)


def _csv_lines(file: Path) -> Lines:
    """A header of `image_id` and attribute names, then rows."""
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(utf8_text(file).splitlines()) if row]
    except csv.Error as error:
        raise LabelwiseError(f"{file}: {error}", "a CSV", "check the file") from None
    if len(rows) < 2 or len(rows[0]) < 2:
        raise LabelwiseError(
            f"{file} without rows", "a header, then an image and its cells in each row", "check the file"
        )
    header = rows.pop(0)
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise LabelwiseError(
                f"{file}, line {number} with {len(row)} cells",
                f"{len(header)}, as in the header",
                "correct the line",
            )
    cells = np.array([row[1:] for row in rows], dtype=object)
    return Lines(tuple(header[1:]), [row[0] for row in rows], cells, 2)


def _values(file: Path, lines: Lines, notes: list[str]) -> UInt8[np.ndarray, "N L"]:
    """Values `[N, L]`, and a note on the number that means absent; raises `LabelwiseError` for another cell."""
    present, minus, zero = (lines.cells == text for text in ("1", "-1", "0"))
    invalid = ~(present | minus | zero) if not (minus.any() and zero.any()) else ~(present | minus)
    if invalid.any():
        row, column = np.argwhere(invalid)[0].tolist()
        raise LabelwiseError(
            f"{file}, line {row + lines.first}: {lines.header[column]} {str(lines.cells[row, column])!r}",
            "1 (present) or -1 (absent)",
            "correct the cell",
        )
    notes.append("-1 is read as absent." if minus.any() or not zero.any() else "0 is read as absent.")
    return present.astype(np.uint8)


def _column(file: Path) -> Lines:
    """The rows of a list with one cell per image; raises `LabelwiseError` for an image that is listed twice."""
    lines = _csv_lines(file) if file.suffix.lower() == ".csv" else _rows(file, utf8_text(file), (), 1, 1)
    if lines.cells.shape[1] != 1:
        raise LabelwiseError(
            f"{file} with {lines.cells.shape[1] + 1} columns", "an image and a number", "check the file"
        )
    if len(set(lines.names)) < len(lines.names):
        seen: set[str] = set()
        repeated = next(name for name in lines.names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise LabelwiseError(f"{file}: image {repeated!r} twice", "each image once", "correct the file")
    return lines


def _aligned(names: Sequence[str], lines: Lines) -> pa.Array:
    """The cell of each image; null if the list lacks the image."""
    rows = pc.index_in(text_array(names), value_set=text_array(lines.names))
    return pa.array(lines.cells[:, 0].tolist(), pa.string()).take(rows)


def _splits(names: Sequence[str], file: Path | None, notes: list[str]) -> pa.Array | None:
    """The split of each image by the official partition; `None` without that file."""
    if file is None:
        notes.append(f"{_PARTITIONS[0]} is not there: the data set has no splits.")
        return None
    lines = _column(file)
    for row, code in enumerate(lines.cells[:, 0].tolist()):
        if code not in _SPLITS:
            raise LabelwiseError(
                f"{file}, line {row + lines.first}: {code!r}",
                "0 (train), 1 (val) or 2 (test)",
                "correct the line",
            )
    extra = len(set(lines.names) - set(names))
    if extra:
        notes.append(f"{extra:,} images of {file.name} have no attributes and were left out.")
    codes = _aligned(names, lines)
    splits = pa.array(list(_SPLITS.values()))
    return splits.take(pc.index_in(codes, value_set=pa.array(list(_SPLITS))))


def _groups(names: Sequence[str], file: Path | None, notes: list[str]) -> np.ndarray | None:
    """A code of each image's person by the list of identities; `None` without that file."""
    if file is None:
        return None
    codes = group_codes(pa.chunked_array([_aligned(names, _column(file))]), notes)
    notes.append(f"Images of one person by {file.name} are a group.")
    return codes
