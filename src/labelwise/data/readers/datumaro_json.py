"""Files of Datumaro's own JSON: categories of labels, and items with their annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelwise.data.readers.boxes import LabelBox, Sides
from labelwise.data.readers.exports import json_content
from labelwise.data.readers.image_labels import Annotations, ImageLabels
from labelwise.errors import LabelwiseError
from labelwise.types import Group

EXPECTED = "a data set in Datumaro's own format"
_SIDES = {"bbox": "bbox", "polygon": "points", "polyline": "points", "ellipse": "points"}


@dataclass
class Collected(Annotations):
    """Content of the files, with the groups that they list and notes for the data set."""

    groups: dict[str, Group] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        image: str,
        labels: Sequence[str],
        subset: str,
        place: str,
        base: Path,
        boxes: Sequence[LabelBox] = (),
    ) -> None:
        """Adds an item; its image may lie in a folder of the subset, which is a split unless it is `default`."""
        path = f"{subset}/{image}" if (base / subset / image).is_file() else image
        split = "" if subset == "default" else subset
        present = tuple(dict.fromkeys(labels))
        self.items.append(ImageLabels(path, present, split=split, place=place, boxes=boxes))


def collect_items(file: Path, collected: Collected, base: Path) -> None:
    """Adds the items of a file to those of others; its name is the name of the subset.

    Args:
        file: of JSON.
        collected: extended in place.
        base: folder of the images, or of a folder for each subset.

    Raises:
        LabelwiseError: for a file of another kind, or invalid entries.
    """
    content = json_content(file, EXPECTED)
    document = content if isinstance(content, dict) else {}
    categories, items = document.get("categories"), document.get("items")
    if not isinstance(categories, dict) or not isinstance(items, list):
        raise LabelwiseError(f"{file} without categories and items", EXPECTED, "check the file")
    labels = _labels(file, categories.get("label"), collected)
    if collected.labels and tuple(collected.labels) != labels:
        raise LabelwiseError(
            f"{file.name} with other labels than the file before",
            "the same labels in every file",
            "merge them",
        )
    collected.labels = dict.fromkeys(labels)
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise LabelwiseError(f"{file.name}, item {number}: {item!r}", "an object", "correct the file")
        place = f"{file.name}, item {item.get('id', number)!r}"
        image, size = _image(item, place)
        present, boxes = [], []
        for annotation in _annotations_of(item, place):
            label = _label(annotation, labels, place, collected.left_out)
            if label is None:
                continue
            present.append(labels[label])
            sides = _sides(annotation, place)
            if sides:
                boxes.append(LabelBox(labels[label], sides, size))
        collected.add(image, present, file.stem, place, base, boxes)


def _labels(file: Path, category: Any, collected: Collected) -> tuple[str, ...]:
    """Names of the listed labels; of the first file also its notes."""
    entries = category.get("labels") if isinstance(category, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries
    ):
        raise LabelwiseError(
            f"{file} without a list of labels", "categories of labels by name", "check the file"
        )
    names = tuple(entry["name"] for entry in entries)
    if not collected.labels:
        child = next((entry for entry in entries if entry.get("parent")), None)
        if child is not None:
            collected.notes.append(
                f"Labels have parents, as {child['parent']} of {child['name']}: a parent is present where it is "
                "annotated itself."
            )
        groups = category.get("label_groups")
        for group in groups if isinstance(groups, list) else ():
            if not isinstance(group, dict) or not isinstance(group.get("labels"), list):
                raise LabelwiseError(f"{file}: label group {group!r}", "a name and labels", "check the file")
            members = tuple(name for name in group["labels"] if name in names)
            collected.groups[str(group.get("name"))] = Group(members, group.get("group_type") == "exclusive")
    return names


def _image(item: Mapping[str, Any], place: str) -> tuple[str, tuple[float, float] | None]:
    """File name of an item, or else its id, and width and height, if the file states them."""
    medium = next((key for key in ("point_cloud", "video", "video_frame") if item.get(key)), None)
    if medium:
        raise LabelwiseError(f"{place}, which is a {medium}", "images only", "export the images")
    image = item.get("image")
    path = image.get("path") if isinstance(image, dict) else None
    name = path or item.get("id")
    if not isinstance(name, str) or not name:
        raise LabelwiseError(f"{place} without an image", "the path of an image", "correct the file")
    size = image.get("size") if isinstance(image, dict) else None
    if isinstance(size, list) and len(size) == 2 and all(isinstance(n, int | float) for n in size):
        return name, (float(size[1]), float(size[0]))  # the file has the height first
    return name, None


def _annotations_of(item: Mapping[str, Any], place: str) -> Iterator[Mapping[str, Any]]:
    """The annotations of an item; raises `LabelwiseError` unless they are a list of objects."""
    entries = item.get("annotations", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise LabelwiseError(
            f"{place}: annotations {str(entries)[:60]}", "a list of objects", "correct the file"
        )
    yield from entries


def _label(item: Mapping[str, Any], labels: Sequence[str], place: str, left_out: Counter[str]) -> int | None:
    """The number of an annotation's label; `None` without one, which is counted as left out."""
    label = item.get("label_id")
    if item.get("attributes"):
        left_out["annotations' attributes"] += 1
    if label is None:
        left_out[f"annotations of type {item.get('type', '?')}"] += 1
        return None
    if type(label) is not int or not 0 <= label < len(labels):
        raise LabelwiseError(
            f"{place}: label_id {label!r}", f"a number from 0 to {len(labels) - 1:,}", "correct the file"
        )
    return label


def _sides(annotation: Mapping[str, Any], place: str) -> Sides | None:
    """The bounding box (x0, y0, x1, y1) of a box or shape in pixels; `None` for other annotations."""
    key = _SIDES.get(str(annotation.get("type")))
    try:
        numbers = [float(number) for number in annotation[key]] if key else []
    except (KeyError, TypeError, ValueError):
        numbers = [float("nan")]
    if not numbers:
        return None
    if len(numbers) % 2 or len(numbers) < 4:
        raise LabelwiseError(
            f"{place}: {annotation.get('type')} {str(annotation.get(key or ''))[:60]}",
            "pairs of numbers",
            "correct the file",
        )
    if key == "bbox":
        x, y, width, height = numbers[:4]
        return x, y, x + width, y + height
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
