"""COCO annotations: one JSON, several or a folder; labels in ascending category id."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers.boxes import BoxList
from labelwise.data.readers.coco_content import Content, categories, labelled_content
from labelwise.data.readers.coco_images import located
from labelwise.data.readers.coco_layout import AnnotationFile, Layout, layout
from labelwise.data.readers.files import keep_existing, text_array
from labelwise.data.readers.lvis import cells_looked_for
from labelwise.data.readers.published import PUBLISHED, count_notes
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

FORM = "coco:ANNOTATIONS.json[,MORE.json][?images=DIR[,DIR]]|DIR"
MEANING = "COCO annotations; several files are the splits train, val and test by their names or folders"
OPTIONS = frozenset({"images", "missing"})


@dataclass(frozen=True)
class AnnotationPart:
    """An annotation file: its validated content, the folder of its images, and their names below the folder."""

    file: AnnotationFile
    content: Content
    folder: Path
    names: list[str]


def read(source: Source) -> Dataset:
    """Reads COCO files; images without annotations are all-negative, crowd annotations count as labels.

    An annotation without a box, or with an empty one, is a label of its image. If a file lists the labels that were
    verified in an image (LVIS), the others are unknown.

    Raises:
        LabelwiseError: for a file of another kind or without any annotation, categories that differ, annotations that
             name an unknown image or category, repeated images, or a split in the names of only some files.
    """
    plan = layout(source)
    parts, notes = _annotation_parts(plan, source)
    names, column, content_notes = categories([part.file for part in parts], [part.content for part in parts])
    labels = LabelSet(names)
    rows = sum(len(part.names) for part in parts)
    values, known = np.zeros((rows, len(names)), np.uint8), np.ones((rows, len(names)), bool)
    boxes, start = BoxList(), 0
    for part in parts:
        block = slice(start, start + len(part.names))
        _set_cells(part, column, values[block], boxes, start)
        images, present = part.content["images"], values[block] > 0
        part_known, known_notes = cells_looked_for(part.file.path, images, column, present)
        if part_known is not None:
            known[block] = part_known
        content_notes += known_notes
        start = block.stop
    paths = [str(part.folder / name) for part in parts for name in part.names]
    _refuse_repeated(paths, [image for part in parts for image in part.content["images"]])
    splits = tuple(dict.fromkeys(part.file.split for part in parts if part.file.split))
    codes = [splits.index(part.file.split) if part.file.split else -1 for part in parts for _ in part.names]
    content_notes += _score_note(parts)
    empty = int((known.all(1) & ~values.any(1)).sum())
    if empty:
        content_notes.append(f"{empty:,} images without annotations are all-negative.")
    root = Path(os.path.commonpath([part.folder.absolute() for part in parts]))
    data = Dataset(
        labels=labels,
        images=text_array([os.path.relpath(os.path.abspath(path), root) for path in paths]),
        root=root,
        values=values,
        known=known,
        split_of=np.array(codes, np.int16) if splits else None,
        split_names=splits,
        boxes=boxes.column(rows, len(names)) if boxes.rows else None,
        notes=(*content_notes, *notes),
        rows_in_source=rows,
    )
    if plan.year:
        data = data.with_notes(*count_notes(data.splits(), PUBLISHED[f"coco{plan.year}"]))
    return keep_existing(data, source)


def _annotation_parts(plan: Layout, source: Source) -> tuple[list[AnnotationPart], list[str]]:
    """The annotation files with their images located, and notes on them."""
    given = source.options.get("images", "")
    folders: Sequence[str | None] = [given] if Path(given).is_dir() else source.names("images")
    folders = folders if given else [None]
    if len(folders) not in (1, len(plan.files)):
        raise LabelwiseError(
            f"{len(folders)} image folders for {len(plan.files)} files in {str(source)!r}",
            "one folder, or one per file",
            "correct images=DIR,DIR",
        )
    parts, notes = [], list(plan.notes)
    for i, file in enumerate(plan.files):
        content = labelled_content(file)
        folder, names, note = located(file, content["images"], folders[i if len(folders) > 1 else 0])
        parts.append(AnnotationPart(file, content, folder, names))
        notes += [note] if note else []
    return parts, notes


def _score_note(parts: Sequence[AnnotationPart]) -> list[str]:
    """A note on annotations with scores, which come from a model."""
    scored = sum("score" in item for part in parts for item in part.content["annotations"])
    note = f"{scored:,} annotations hold a score, as predictions of a model do: each counts as present."
    return [note] if scored else []


def _set_cells(
    part: AnnotationPart, column: dict[int, int], values: np.ndarray, boxes: BoxList, start: int
) -> None:
    """Sets the labels in the part's rows `[N, L]` of `values`, and adds the boxes; its first row is `start`."""
    images = _rows_by_id(part)
    for item in part.content["annotations"]:
        row, label = _cell(part, item, images, column)
        values[row, label] = 1
        try:
            _add_box(boxes, start + row, label, item, part.content["images"][row])
        except (TypeError, ValueError, OverflowError) as error:
            raise LabelwiseError(
                f"{part.file.path}: annotation {item.get('id', '?')} ({error})",
                "bbox [x, y, width, height] in pixels of the image",
                "correct the file",
            ) from None


def _rows_by_id(part: AnnotationPart) -> dict[Any, int]:
    """The row of each image id of a file; raises `LabelwiseError` for an id that occurs twice."""
    index: dict[Any, int] = {}
    for row, image in enumerate(part.content["images"]):
        if image["id"] in index:
            raise LabelwiseError(
                f"{part.file.path}: image id {image['id']} twice", "distinct ids", "correct the file"
            )
        index[image["id"]] = row
    return index


def _cell(
    part: AnnotationPart, item: dict[str, Any], images: dict[Any, int], column: dict[int, int]
) -> tuple[int, int]:
    """Row and column of an annotation; raises `LabelwiseError` for an unknown image or category."""
    for key, known in (("image_id", images), ("category_id", column)):
        if item[key] not in known:
            raise LabelwiseError(
                f"{part.file.path}: annotation {item.get('id', '?')} with {key} {item[key]!r}",
                f"an id listed in the same file's {'images' if key == 'image_id' else 'categories'}",
                "correct the file",
            )
    return images[item["image_id"]], column[item["category_id"]]


def _add_box(boxes: BoxList, row: int, label: int, item: dict[str, Any], image: dict[str, Any]) -> None:
    """Adds the box of an annotation, if it has one and the size of its image is known."""
    box, width, height = item.get("bbox"), image.get("width"), image.get("height")
    if box and len(box) == 4 and any(box) and width and height:
        x, y, w, h = (float(side) for side in box)
        boxes.add(row, label, (x, y, x + w, y + h), (float(width), float(height)), bool(item.get("iscrowd")))


def _refuse_repeated(paths: list[str], images: list[dict[str, Any]]) -> None:
    """Raises `LabelwiseError` for an image that occurs twice in the files."""
    seen: dict[str, str] = {}
    for path, image in zip(paths, images, strict=True):
        written = str(image.get("file_name", image.get("coco_url")))
        if path in seen:
            also = "" if seen[path] == written else f" ({seen[path]} and {written})"
            raise LabelwiseError(
                f"image {path} twice in the COCO files{also}", "each image once", "remove one of them"
            )
        seen[path] = written
