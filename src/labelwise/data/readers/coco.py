"""COCO instances: one JSON, or several for several splits; labels in ascending category id."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers.boxes import BoxList
from labelwise.data.readers.files import find_root, image_folder, keep_existing, source_file, text_array
from labelwise.data.readers.published import PUBLISHED, count_notes
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

FORM = "coco:ANNOTATIONS.json[,MORE.json][?images=DIR[,DIR]]|DIR"
MEANING = "COCO annotations; several files give the splits train, val and test by their names"
OPTIONS = frozenset({"images", "missing"})


_ENTRIES: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "images": {"id": (int, str), "file_name": (str,)},
    "annotations": {"image_id": (int, str), "category_id": (int,)},
    "categories": {"id": (int,), "name": (str,)},
}
"""What each entry of a list must hold, and of which types."""


@dataclass(frozen=True)
class Part:
    """One annotation file: its path, parsed content, image folder, and the split its name tells, if any."""

    file: Path
    content: dict[str, Any]
    folder: Path
    split: str | None


def read(source: Source) -> Dataset:
    """Reads COCO files; images without annotations are all-negative, crowd annotations count as labels.

    Raises:
        LabelwiseError: for a file of another kind, categories that differ, annotations that name an unknown
             image or category, repeated images, or names that tell only some of the splits.
    """
    parts = _parts(source)
    names, column = _categories(parts)
    paths: list[str] = []
    codes: list[int] = []
    cells: list[tuple[int, int]] = []
    boxes = BoxList()
    splits = tuple(dict.fromkeys(part.split for part in parts if part.split))
    for part in parts:
        start = len(paths)
        images = _index(part)
        paths += [str(part.folder / image["file_name"]) for image in part.content["images"]]
        codes += [splits.index(part.split) if part.split else -1] * len(images)
        for item in part.content["annotations"]:
            row, label = _place(part, item, images, column)
            cells.append((start + row, label))
            try:
                _add_box(boxes, start + row, label, item, part.content["images"][row])
            except (TypeError, ValueError, OverflowError) as error:
                raise LabelwiseError(
                    f"{part.file}: annotation {item.get('id', '?')} ({error})",
                    "bbox [x, y, width, height] in pixels of the image",
                    "correct the file",
                ) from None
    _refuse_repeated(paths)
    root = Path(os.path.commonpath([part.folder.absolute() for part in parts]))
    values = np.zeros((len(paths), len(names)), np.uint8)
    if cells:
        values[tuple(np.array(cells).T)] = 1
    empty = int((values.sum(1) == 0).sum())
    notes = [f"{empty:,} images without annotations are all-negative."] if empty else []
    if Path(source.path).is_dir():
        notes.append("val2014 is called test, as the field uses it.")
        counts = {name: codes.count(code) for code, name in enumerate(splits)}
        notes += count_notes(counts, PUBLISHED["coco2014"])
    data = Dataset(
        labels=LabelSet(names),
        images=text_array([os.path.relpath(os.path.abspath(path), root) for path in paths]),
        root=root,
        values=values,
        known=np.ones(values.shape, bool),
        split_of=np.array(codes, np.int16) if splits else None,
        split_names=splits,
        boxes=boxes.column(len(paths), len(names)),
        notes=tuple(notes),
        rows_in_source=len(paths),
    )
    return keep_existing(data, source)


def _parts(source: Source) -> list[Part]:
    if Path(source.path).is_dir():
        return _parts_of_2014(Path(source.path), source)
    whole = Path(source.path).is_file()
    files = [source.path] if whole else [text.strip() for text in source.path.split(",") if text.strip()]
    folders = source.names("images")
    if folders and len(folders) not in (1, len(files)):
        raise LabelwiseError(
            f"{len(folders)} image folders for {len(files)} files in {str(source)!r}",
            "one folder, or one per file",
            "correct images=DIR,DIR",
        )
    parts = []
    for i, name in enumerate(files):
        file = source_file(Source(source.kind, name), "a COCO annotation file")
        content = _content(file)
        if folders:
            folder = image_folder(folders[i if len(folders) > 1 else 0])
        else:
            near = [file.parent, file.parent / "images", file.parent.parent / "images"]
            near.append(file.parent.parent / file.stem.rpartition("_")[2])
            folder = find_root([image["file_name"] for image in content["images"][:1]], near)
        parts.append(Part(file, content, folder, split_in_name(file.stem)))
    untold = [part.file.name for part in parts if part.split is None]
    if len(parts) > 1 and untold and len(untold) < len(parts):
        raise LabelwiseError(
            f"{untold[0]} beside files of named splits", "train, val or test in every file name", "rename it"
        )
    return parts


def _parts_of_2014(root: Path, source: Source) -> list[Part]:
    """The two annotated parts of COCO-2014, in which the field trains on train2014 and tests on val2014."""
    parts, images = [], source.options.get("images")
    base = image_folder(images) if images else root
    for name, split in (("train2014", "train"), ("val2014", "test")):
        file = root / "annotations" / f"instances_{name}.json"
        if not file.is_file():
            raise LabelwiseError(
                f"{str(root)!r} without annotations/{file.name}",
                "a COCO-2014 folder, or annotation files",
                "add the file, or write coco:ANNOTATIONS.json",
            )
        parts.append(Part(file, _content(file), base / name, split))
    return parts


def split_in_name(stem: str) -> str | None:
    """The split that a file name tells.

    >>> split_in_name("instances_val2014"), split_in_name("annotations")
    ('val', None)
    """
    found = re.findall(r"(?<![a-z])(train|val|test)(?![a-z])", stem.lower())
    return found[-1] if found else None


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LabelwiseError(
            f"{file}: not JSON ({error})", "a COCO annotation file", "check the file"
        ) from None
    lists = ("images", "annotations", "categories")
    absent = [k for k in lists if not (isinstance(content, dict) and isinstance(content.get(k), list))]
    if absent:
        raise LabelwiseError(
            f"{file} without {', '.join(absent)}", f"lists {', '.join(lists)}", "check the file"
        )
    for name, keys in _ENTRIES.items():
        for number, item in enumerate(content[name]):
            _check_entry(item, keys, f"{file}: entry {number} of {name}")
    return content


def _check_entry(item: Any, keys: Mapping[str, tuple[type, ...]], place: str) -> None:
    for key, kinds in keys.items():
        if not (isinstance(item, dict) and key in item):
            raise LabelwiseError(f"{place} without {key}", " and ".join(keys), "correct the file")
        if type(item[key]) not in kinds:  # not isinstance: true is no number
            wanted = " or ".join({int: "a whole number", str: "text"}[kind] for kind in kinds)
            raise LabelwiseError(f"{place} with {key} {item[key]!r}", wanted, "correct the file")


def _categories(parts: list[Part]) -> tuple[tuple[str, ...], dict[int, int]]:
    tables = []
    for part in parts:
        tables.append({c["id"]: c["name"] for c in part.content["categories"]})
        if len(tables[-1]) < len(part.content["categories"]):
            raise LabelwiseError(f"{part.file}: a category id twice", "distinct ids", "correct the file")
        if tables[-1] != tables[0]:
            raise LabelwiseError(
                f"{part.file.name} with other categories than {parts[0].file.name}",
                "the same ids and names in every file",
                "read the files one by one, or make them agree",
            )
    order = sorted(tables[0])
    return tuple(tables[0][i] for i in order), {i: j for j, i in enumerate(order)}


def _index(part: Part) -> dict[Any, int]:
    index: dict[Any, int] = {}
    for row, image in enumerate(part.content["images"]):
        if image["id"] in index:
            raise LabelwiseError(
                f"{part.file}: image id {image['id']} twice", "distinct ids", "correct the file"
            )
        index[image["id"]] = row
    return index


def _place(
    part: Part, item: dict[str, Any], images: dict[Any, int], column: dict[int, int]
) -> tuple[int, int]:
    for key, known in (("image_id", images), ("category_id", column)):
        if item[key] not in known:
            raise LabelwiseError(
                f"{part.file}: annotation {item.get('id', '?')} with {key} {item[key]}",
                f"an id listed in the same file's {'images' if key == 'image_id' else 'categories'}",
                "correct the file",
            )
    return images[item["image_id"]], column[item["category_id"]]


def _add_box(boxes: BoxList, row: int, label: int, item: dict[str, Any], image: dict[str, Any]) -> None:
    box, width, height = item.get("bbox"), image.get("width"), image.get("height")
    if box and len(box) == 4 and width and height:
        x, y, w, h = (float(side) for side in box)
        boxes.add(
            row, label, (x, y, x + w, y + h), (float(width), float(height)), bool(item.get("iscrowd", 0))
        )


def _refuse_repeated(paths: list[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise LabelwiseError(
                f"image {path} twice in the COCO files", "each image once", "remove one of them"
            )
        seen.add(path)
