"""Import files of Vertex AI and AutoML Vision: a CSV without a header, or JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import is_image_name
from labelwise.data.readers.files import source_file
from labelwise.data.readers.image_labels import ImageLabels, dataset_of_images
from labelwise.data.readers.lines import first_object, json_lines
from labelwise.data.readers.name_doubts import few, joined_name
from labelwise.data.readers.name_texts import MARKS
from labelwise.data.readers.split_names import canonical
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "vertex:FILE.csv|FILE.jsonl[?blank=unknown|negative]"
MEANING = "an import file of Vertex AI or AutoML: rows `[ml_use,]gs://image[,label...]`, or JSON lines"
OPTIONS = frozenset({"images", "blank", "duplicates", "missing"})
IMAGE = "imageGcsUri"
_LABELS = "dataItemResourceLabels"
_USE = "aiplatform.googleapis.com/ml_use"
_ML_USES = ("train", "training", "val", "validation", "validate", "test", "testing", "unassigned", "")
_USES = {use: canonical(use) for use in _ML_USES}
"""Vertex AI's values of `ml_use`, and their splits."""
_ANNOTATIONS = ("classificationAnnotation", "classificationAnnotations", "boundingBoxAnnotations")
_CORNERS = 8  # cells after the label of a box: four corners, of which two may be blank
_HEAD = 1 << 16


@dataclass(frozen=True)
class ImportRow:
    """A row of an import file.

    Args:
        place: line number as text, for messages.
        image: its address.
        labels: names, or `None` without any label.
        split: name of its split, or empty.
        box: whether the row is one box of several of its image.
    """

    place: str
    image: str
    labels: list[str] | None
    split: str
    box: bool = False


def recognises(path: Path) -> bool:
    """Whether a file's first line is a JSON object with `imageGcsUri`, or its first rows name images in a bucket."""
    if not path.is_file():
        return False
    first = first_object(path)
    if first:
        return isinstance(first.get(IMAGE), str)
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    try:
        lines = head.decode("utf-8-sig", errors="replace").splitlines()
        rows = [row for row in csv.reader(lines[:-1] if len(head) == _HEAD else lines) if row][:20]
    except csv.Error:
        return False
    return bool(rows) and all(_in_bucket(row) for row in rows)


def _in_bucket(cells: Sequence[str]) -> bool:
    """Whether a row is an image in a bucket, after a value of `ml_use` or without one."""
    values = cells[1:] if cells[0].strip().lower() in _USES else cells
    return bool(values) and values[0].strip().startswith("gs://") and is_image_name(values[0].strip())


def read(source: Source) -> Dataset:
    """Reads an import file; images without a label are all-unknown, or all-negative with `blank=negative`.

    Raises:
        LabelwiseError: a row of another format, with its line.
    """
    unknown = source.choice("blank", ("unknown", "negative")) == "unknown"
    file = source_file(source, "an import file of Vertex AI")
    notes = ["A label that is not in a row is absent there."]
    rows = _json_rows(file) if first_object(file) else _csv_rows(file)
    if any(row.box for row in rows):
        rows = _rows_of_images(rows)
        notes.append("Of boxes only the presence of their labels is read.")
    blank = sum(row.labels is None for row in rows)
    if blank and unknown:
        notes.append("A row without a label is not annotated; blank=negative reads it as without any label.")
    elif blank:
        notes.append(f"{blank:,} rows without a label are all-negative.")
    _refuse_states(file, rows)
    if not first_object(file):
        _refuse_no_names(file, rows)
    joined = joined_name({label for row in rows for label in row.labels or ()}, ",")
    if joined is not None:
        notes.append(
            f"{joined[0]!r} is read as one label, though its parts are labels too: separate them with commas."
        )
    items = []
    for row in rows:
        known = row.labels is not None or not unknown
        items.append(ImageLabels(row.image, row.labels or (), known=known, split=row.split, place=row.place))
    return dataset_of_images(items, source, [file.parent], notes=notes)


def _refuse_states(file: Path, rows: Sequence[ImportRow]) -> None:
    """Raises `LabelwiseError` for a table without a header that holds states 0 and 1 rather than label names."""
    names = {label for row in rows for label in row.labels or ()}
    repeating = next((row for row in rows if len(set(row.labels or ())) < len(row.labels or ())), None)
    if repeating is not None and names <= {"0", "1", "0.0", "1.0", "-1"}:
        raise LabelwiseError(
            f"{file}, {repeating.place}: {', '.join(repeating.labels or ())[:40]}, a 0 or 1 for each label",
            "names of labels after the image",
            "add a first line such as image,cat,dog, and read it with csv:FILE",
        )


def _refuse_no_names(file: Path, rows: Sequence[ImportRow]) -> None:
    """Raises `LabelwiseError` for cells of several names, and for numbers beside names, as the sides of a box."""
    names = {label for row in rows for label in row.labels or ()}
    if not all(map(_is_number, names)):
        row_with_number = next((row for row in rows if any(map(_is_number, row.labels or ()))), None)
        if row_with_number is not None:
            raise LabelwiseError(
                f"{file}, {row_with_number.place}: {few(row_with_number.labels or ())}, numbers beside names of labels",
                "names alone, or Vertex AI's boxes: the label, then x and y of four corners as shares",
                "remove the numbers; boxes in pixels: convert them to COCO, and read them with coco:FILE",
            )
    marks = [mark for mark in MARKS if mark != ","]  # a comma inside quotes is part of the name
    for row in rows:
        for label in row.labels or ():
            if any(mark in label.strip(mark) for mark in marks):
                raise LabelwiseError(
                    f"{file}, {row.place}: {label[:60]!r}, which may be several names",
                    "a cell for each label",
                    "write commas between names; only JSON lines can hold a name with such a mark",
                )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _csv_rows(file: Path) -> list[ImportRow]:
    """The rows of a CSV; raises `LabelwiseError` for boxes beside labels of images."""
    rows = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, skipinitialspace=True, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    rows.append(_csv_row([cell.strip() for cell in cells], f"line {reader.line_num}", file))
    except (UnicodeDecodeError, csv.Error) as error:
        fault = "not in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise LabelwiseError(f"{file}: {fault}", "a CSV in UTF-8", "save it again") from None
    if not rows:
        raise LabelwiseError(f"{file} without rows", "rows [ml_use,]image[,label...]", "check the file")
    boxes = {row.box for row in rows if row.labels is not None}
    if len(boxes) > 1:
        odd = next(row for row in rows if row.labels is not None and not row.box)
        raise LabelwiseError(
            f"{file}, {odd.place}: labels of an image beside boxes", "rows of one form", "separate the rows"
        )
    return rows


def _csv_row(cells: list[str], place: str, file: Path) -> ImportRow:
    """The row of some cells; raises `LabelwiseError` for one without an image or with another `ml_use`."""
    use = _USES.get(cells[0].lower()) if len(cells) > 1 else None
    values = cells if use is None else cells[1:]
    if not values[0]:
        raise LabelwiseError(
            f"{file}, {place}: {','.join(cells)[:80]!r} without an image",
            "[ml_use,]image[,label...] with ml_use training, validation, test or UNASSIGNED",
            "complete the row",
        )
    if use is None and len(cells) > 1 and cells[1].startswith("gs://"):
        raise LabelwiseError(
            f"{file}, {place}: ml_use {cells[0]!r}",
            "training, validation, test or UNASSIGNED",
            "correct the row",
        )
    labels = [cell for cell in values[1:] if cell]
    box = len(values) == 2 + _CORNERS and all(_is_share(cell) for cell in values[2:]) and len(labels) > 1
    return ImportRow(place, values[0], (labels[:1] if box else labels) or None, use or "", box)


def _is_share(cell: str) -> bool:
    """Whether a cell is blank or a number from 0 to 1."""
    try:
        return not cell or 0 <= float(cell) <= 1
    except ValueError:
        return False


def _json_rows(file: Path) -> list[ImportRow]:
    """The rows of JSON lines; raises `LabelwiseError` for one without an image or with another `ml_use`."""
    rows = []
    for line in json_lines(file):
        place, content = line.place, line.content
        image = content.get(IMAGE)
        if not isinstance(image, str) or not image.strip():
            raise LabelwiseError(
                f"{file}, {place} without {IMAGE}", "an image in each line", "correct the line"
            )
        resources = content.get(_LABELS) or {}
        use = resources.get(_USE) if isinstance(resources, dict) else None
        split = _USES.get(str(use or "").lower())
        if split is None:
            raise LabelwiseError(
                f"{file}, {place}: {_USE} {use!r}", "training, validation, test or none", "correct the line"
            )
        rows.append(ImportRow(place, image.strip(), _annotated(content, file, place), split))
    return rows


def _annotated(content: dict[str, Any], file: Path, place: str) -> list[str] | None:
    """Names of the labels in a JSON line, `None` without an annotation of a known kind."""
    values = [content[key] for key in _ANNOTATIONS if content.get(key) is not None]
    annotations = [item for value in values for item in (value if isinstance(value, list) else [value])]
    for item in annotations:
        name = item.get("displayName") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name.strip():
            raise LabelwiseError(
                f"{file}, {place}: annotation {item!r}"[:300],
                "an object with a displayName",
                "correct the line",
            )
    return [item["displayName"].strip() for item in annotations] if values else None


def _rows_of_images(rows: Sequence[ImportRow]) -> list[ImportRow]:
    """One row per image, with the labels of all its boxes."""
    merged: dict[tuple[str, str], ImportRow] = {}
    for row in rows:
        earlier = merged.setdefault((row.image, row.split), ImportRow(row.place, row.image, None, row.split))
        if row.labels:
            labels = [*(earlier.labels or ()), *row.labels]
            merged[row.image, row.split] = ImportRow(earlier.place, row.image, labels, row.split)
    return list(merged.values())
