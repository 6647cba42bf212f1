"""COCO: one JSON file per split, with labels as categories and annotations with boxes if the data set has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from labelwise.data.decode import UnreadableImage, image_size
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.split_names import split_in_name
from labelwise.data.source import Source
from labelwise.data.wholefile import whole_file, whole_folder
from labelwise.data.writers.images import absolute_paths, common_root, copies_beside, copy_images, names_from
from labelwise.data.writers.job import Job, Written, lost_parts, parts_by_split, refuse_shares, refuse_split
from labelwise.errors import LabelwiseError

MEANING = "COCO annotations, one file per split in a folder, or one file; fields of LVIS for unknown labels"
SUFFIXES = ("", ".json")
IMAGES = ("paths", "copy")
OPTIONS = frozenset[str]()
_DECIMALS = 3  # of a pixel
_SPLITS = frozenset({"train", "val", "test"})
Size = tuple[int, int]


def write(job: Job) -> Written:
    """Writes `OUT/annotations/instances_SPLIT.json`, or the single file OUT for a data set without splits.

    A label is an annotation for each of its boxes, or one without a box. If labels are unknown, an image lists its
    absent labels in `neg_category_ids`, as LVIS does; a label that is neither annotated nor listed is unknown. Images
    of a file without any annotation list them too, as otherwise their labels would look unknown.

    Raises:
        LabelwiseError: shares, splits in one file, boxes of an unreadable image, images inside the data set without
            `copy`, or an image in two rows.
    """
    data = job.data
    refuse_shares(data, "COCO")
    is_file = job.out.suffix.lower() == ".json"
    if is_file and data.split_of is not None:
        raise LabelwiseError(
            f"a data set with splits for the single file {str(job.out)!r}",
            "a folder, with one file per split",
            "write to OUT without .json",
        )
    parts = list(parts_by_split(data))
    for split, _ in parts:
        refuse_split(split, r"[^/\\\x00-\x1f]+", "a valid file name")
    with ExitStack() as stack:
        if is_file:
            files = {"": stack.enter_context(whole_file(job.out))}
            folder = job.out.parent
        else:
            folder = stack.enter_context(whole_folder(job.out))
            (folder / "annotations").mkdir()
            files = {split: folder / "annotations" / _file_name(job, split) for split, _ in parts}
        root, names = _images(job, folder, is_file, stack)
        content = Content(job, names)
        for split, rows in parts:
            with open(files[split], "w", encoding="ascii", newline="\n") as stream:
                content.write(stream, rows)
        notes = [*lost_parts(data, "the COCO files", "groups"), *content.notes(), *_file_notes(job, parts)]
        notes.append(f"Names of images are relative to {root}, the folder of images for other tools.")
    return Written(
        job.out,
        (job.out.name,) if is_file else tuple(f"annotations/{files[split].name}" for split, _ in parts),
        tuple(notes),
        _source(job, parts, root),
    )


def _images(job: Job, folder: Path, is_file: bool, stack: ExitStack) -> tuple[Path, list[str]]:
    """The final folder of the images, and their names below it."""
    if job.images == "paths":
        paths = absolute_paths(job)
        root = common_root(job, paths)
        return root, names_from(paths, root)
    if is_file:
        return copies_beside(job, stack)
    return job.out / "images", copy_images(job, folder / "images")


def _source(job: Job, parts: Sequence[tuple[str, np.ndarray]], root: Path) -> Source | None:
    """The source that reads all files; `None` if their names do not imply the splits, or a file has no known label."""
    splits = [split for split, _ in parts]
    unnamed = splits == [""] and not (job.out.suffix and split_in_name(job.out.stem))
    if _empty_files(job, parts) or (not unnamed and not set(splits) <= _SPLITS):
        return None
    if job.images == "copy" and not job.out.suffix:
        return Source("coco", str(job.out))
    return Source("coco", str(job.out), {"images": str(root)})


def _file_name(job: Job, split: str) -> str:
    """The name of a split's file."""
    return (
        job.out.name if job.out.suffix.lower() == ".json" else f"instances{f'_{split}' if split else ''}.json"
    )


def _empty_files(job: Job, parts: Sequence[tuple[str, np.ndarray]]) -> list[str]:
    """Names of files without any known label."""
    return [_file_name(job, split) for split, rows in parts if not job.data.known[rows].any()]


def _file_notes(job: Job, parts: Sequence[tuple[str, np.ndarray]]) -> list[str]:
    """What a reader of the files may miss: files without annotations, and names of splits."""
    notes, data = [], job.data
    implied = split_in_name(job.out.stem) if job.out.suffix else None
    if implied:
        notes.append(f"Readers infer the split {implied} from the name {job.out.name}.")
    unlabelled = [name for name, rows in parts if not data.positive[rows].any()]
    if unlabelled:
        notes.append(f"Files without any annotation: {few([name or 'the only one' for name in unlabelled])}.")
        notes.append(
            "Images of files without any annotation list their absent labels in neg_category_ids, as in LVIS."
        )
    if empty_files := _empty_files(job, parts):
        notes.append(
            f"No label is known in {few(empty_files)}, which labelwise does not read: read the other files as "
            "coco:FILE,FILE, or write .csv or .parquet."
        )
    unusual = [split for split, _ in parts if split and split not in _SPLITS]
    if unusual:
        notes.append(f"File names that do not imply train, val or test: {few(unusual)}.")
        notes.append("labelwise reads files with such names one at a time, as coco:FILE.")
    empty = [name for name, count in data.splits().items() if not count]
    return [*notes, *([f"Splits without images are left out: {few(empty)}."] if empty else [])]


class Content:
    """Entries of COCO files, with consecutive ids from 1 over all files of a data set.

    Args:
        job: its data set has hard labels.
        names: of the images, relative to their folder.
    """

    def __init__(self, job: Job, names: Sequence[str]) -> None:
        self._job, self._data, self._names = job, job.data, names
        self._positive = job.data.positive
        self._has_unknown = bool((~job.data.known).any())
        self._images = self._annotations = self._done = 0
        self._boxes_left_out = 0
        self._unreadable: list[str] = []

    def write(self, stream: TextIO, rows: np.ndarray) -> None:
        """Writes a file with the given rows."""
        header: dict[str, Any] = {
            "info": {"description": "Labels of images, written by labelwise"},
            "licenses": [],
        }
        header["categories"] = self._categories()
        stream.write(json.dumps(header)[:-1] + ',\n"images": [')
        first, sizes = self._images + 1, [self._size(row) for row in rows.tolist()]
        lists = self._has_unknown or not self._positive[rows].any()
        _write_entries(
            stream, (self._image(row, size, lists) for row, size in zip(rows.tolist(), sizes, strict=True))
        )
        stream.write('],\n"annotations": [')
        pairs = enumerate(zip(rows.tolist(), sizes, strict=True), first)
        _write_entries(stream, (a for number, (row, size) in pairs for a in self._labels(row, number, size)))
        stream.write("]}\n")

    def notes(self) -> list[str]:
        """Sentences on the written files."""
        notes = []
        if self._has_unknown:
            notes.append(
                "Labels that are neither annotated nor in neg_category_ids of an image are unknown, as in LVIS; a tool "
                "without support for this field reads them as absent."
            )
        if self._boxes_left_out:
            notes.append(f"{self._boxes_left_out:,} boxes of labels that are not present are left out.")
        if self._data.labels.groups:
            notes.append(
                "Groups of labels are supercategories; the files do not store which labels exclude each other."
            )
        if self._unreadable:
            count = len(self._unreadable)
            notes.append(
                f"{count:,} images without width and height, as they cannot be read: {few(self._unreadable)}."
            )
        return notes

    def _categories(self) -> list[dict[str, Any]]:
        """The labels as categories, with their groups as supercategories."""
        group = {name: title for title, g in self._data.labels.groups.items() for name in g.labels}
        return [
            {"id": number, "name": name, "supercategory": group.get(name, "")}
            for number, name in enumerate(self._data.labels, 1)
        ]

    def _size(self, row: int) -> Size | None:
        """Width and height of a row's upright image; `None` for an unreadable image without boxes."""
        self._done += 1
        if self._done % 64 == 0 or self._done == len(self._data):
            self._job.tick(self._done)
        try:
            return image_size(self._data.encoded(row))
        except UnreadableImage:
            if self._data.boxes_of(row):
                raise
            self._unreadable.append(self._data.image_id(row))
            return None

    def _image(self, row: int, size: Size | None, lists: bool) -> Mapping[str, Any]:
        """The entry of an image; with `lists` also the ids of its absent labels and of those without boxes."""
        self._images += 1
        entry: dict[str, Any] = {"id": self._images, "file_name": self._names[row]}
        if size is not None:
            entry |= {"width": size[0], "height": size[1]}
        if lists:
            absent = self._data.known[row] & ~self._positive[row]
            boxed = {label for label, *_ in self._data.boxes_of(row)}
            without_boxes = [j for j in np.flatnonzero(self._positive[row]).tolist() if j not in boxed]
            entry["neg_category_ids"] = (np.flatnonzero(absent) + 1).tolist()
            entry["not_exhaustive_category_ids"] = [j + 1 for j in without_boxes]
        return entry

    def _labels(self, row: int, number: int, size: Size | None) -> Iterator[Mapping[str, Any]]:
        """The annotations of an image: one per box, and one for each present label without boxes."""
        boxes: dict[int, list[list[float]]] = {}
        for label, *sides in self._data.boxes_of(row):
            if self._positive[row, label] and size is not None:
                boxes.setdefault(label, []).append(_pixels(sides, size))
            else:
                self._boxes_left_out += 1
        for label in np.flatnonzero(self._positive[row]).tolist():
            for box in boxes.get(label, [None]):
                self._annotations += 1
                entry = {"id": self._annotations, "image_id": number, "category_id": label + 1, "iscrowd": 0}
                yield (
                    entry
                    if box is None
                    else {**entry, "bbox": box, "area": round(box[2] * box[3], _DECIMALS)}
                )


def _pixels(sides: Sequence[float], size: Size) -> list[float]:
    """`[x, y, width, height]` in pixels, from sides as fractions of the image."""
    x0, y0, x1, y1 = (side * scale for side, scale in zip(sides, (*size, *size), strict=True))
    return [round(number, _DECIMALS) for number in (x0, y0, x1 - x0, y1 - y0)]


def _write_entries(stream: TextIO, entries: Iterable[Mapping[str, Any]]) -> None:
    """Writes entries of a list, one per line, without holding the whole file in memory."""
    separator = "\n"
    for entry in entries:
        stream.write(separator + json.dumps(entry))
        separator = ",\n"
