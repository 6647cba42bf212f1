"""FiftyOne's image classification data sets: `labels.json` beside `data/`, with one or several labels per image."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelwise.data.dataset import Dataset
from labelwise.data.readers.boxes import LabelBox, Sides
from labelwise.data.readers.exports import beginning, json_content, missing_export
from labelwise.data.readers.files import image_folder
from labelwise.data.readers.image_labels import Annotations, ImageLabels, dataset_of_images
from labelwise.data.readers.locate import image_files
from labelwise.data.readers.split_names import canonical
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "fiftyone:DIR[?images=DIR]"
MEANING = "FiftyOne's classification data set: labels.json beside data/, or such folders train, val and test"
OPTIONS = frozenset({"images", "duplicates", "missing"})

_EXPECTED = "a FiftyOne image classification data set, labels.json beside data/"
_SIGN = re.compile(r'\{\s*("classes"\s*:\s*(\[[^\]]*\]|null)\s*,\s*)?"labels"\s*:\s*\{')


def recognises(path: Path) -> bool:
    """Whether a folder is such a data set, or holds one for each split."""
    if not path.is_dir():
        return path.name == "labels.json" and _is_data_set(path.parent)
    return bool(_data_sets(path))


def _is_data_set(folder: Path) -> bool:
    """Whether a folder holds images and a `labels.json` of this form."""
    images = (folder / "data").is_dir() or (folder / "data.json").is_file()
    return images and bool(_SIGN.match(beginning(folder / "labels.json").lstrip()))


def _data_sets(folder: Path) -> list[tuple[Path, str]]:
    """The folders that hold a `labels.json`, and the split of each, empty for none."""
    if _is_data_set(folder):
        return [(folder, "")]
    subfolders = sorted(item for item in folder.iterdir() if item.is_dir())
    split_of = {item: canonical(item.name) for item in subfolders}
    return [(item, split) for item, split in split_of.items() if split and _is_data_set(item)]


def read(source: Source) -> Dataset:
    """Reads the labels; an image without labels (null, or only in `data/`) is unknown.

    Raises:
        LabelwiseError: for a file of another kind, two folders of one split, a class out of range, or two files of one
            name.
    """
    path = Path(source.path)
    root = path.parent if path.name == "labels.json" else path
    is_single = (root / "labels.json").is_file()
    data_sets = [(root, "")] if is_single else _data_sets(root) if root.is_dir() else []
    if not data_sets:
        if root.is_dir():
            raise missing_export(root, "labels.json", _EXPECTED)
        raise LabelwiseError(f"{source.path!r}, which is no folder", _EXPECTED, "check the path")
    content = Annotations()
    if len({split for _, split in data_sets}) < len(data_sets):
        raise LabelwiseError(
            f"{', '.join(folder.name for folder, _ in data_sets)} in {root}",
            "one folder per split",
            "merge the two of one split",
        )
    for folder, split in data_sets:
        _collect(folder, split, content, root, source.options.get("images"))
    notes = []
    if content.left_out:
        notes.append(f"Fields of labels other than their name were left out: {', '.join(content.left_out)}.")
    return dataset_of_images(content.items, source, [root], labels=tuple(content.labels), notes=notes)


def _collect(folder: Path, split: str, content: Annotations, root: Path, given: str | None) -> None:
    """Adds the images and classes of one `labels.json`."""
    file = folder / "labels.json"
    document = json_content(file, _EXPECTED)
    targets = document.get("labels") if isinstance(document, dict) else None
    classes = document.get("classes") if isinstance(document, dict) else None
    if not isinstance(targets, dict):
        raise LabelwiseError(f"{file} without labels by image", _EXPECTED, "check the file")
    if classes is not None and not (
        isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    ):
        raise LabelwiseError(f"{file}: classes {str(classes)[:60]}", "a list of names", "correct the file")
    twice = next((name for name, count in Counter(classes or ()).items() if count > 1), None)
    if twice is not None:
        raise LabelwiseError(f"{file}: classes with {twice!r} twice", "distinct names", "rename one of them")
    content.labels.update(dict.fromkeys(classes or ()))
    files = _files(folder, root, given)
    for key, target in targets.items():
        place = f"{file}, {key!r}"
        labelled = list(_labels(target, classes, place, content.left_out))
        content.labels.update(dict.fromkeys(name for name, _ in labelled))
        paths = files.pop(key, None) or files.pop(os.path.splitext(key)[0], None)
        paths = paths or [os.path.join(os.path.relpath(folder / "data", root), key)]
        if len(paths) > 1:
            raise LabelwiseError(
                f"{place}, which matches {' and '.join(paths)}", "one file", "remove the other"
            )
        names = tuple(dict.fromkeys(name for name, _ in labelled))
        boxes = [LabelBox(name, sides, (1.0, 1.0)) for name, sides in labelled if sides]
        known = target is not None
        content.items.append(ImageLabels(paths[0], names, known=known, split=split, place=place, boxes=boxes))
    for image in () if given else [image for images in files.values() for image in images]:
        place = f"{image}, which {file.name} does not name"
        content.items.append(ImageLabels(image, known=False, split=split, place=place))


def _files(folder: Path, root: Path, given: str | None) -> dict[str, list[str]]:
    """Image files by their names in `labels.json`: the path below `data/` without its suffix."""
    path_file = folder / "data.json"
    if path_file.is_file() and not given and not (folder / "data").is_dir():
        paths = json_content(path_file, "the paths of images by their name")
        if not isinstance(paths, dict) or not all(isinstance(path, str) for path in paths.values()):
            raise LabelwiseError(f"{path_file}", "the paths of images by their name", "export again")
        return {key: [os.path.join(os.path.abspath(folder), path)] for key, path in paths.items()}
    base = image_folder(given) if given else folder / "data"
    files: dict[str, list[str]] = {}
    for file in image_files(base):
        path = base / file
        name = os.path.abspath(path) if given else str(path.relative_to(root))
        files.setdefault(os.path.splitext(file)[0], []).append(name)
    return files


def _labels(
    target: Any, classes: Sequence[str] | None, place: str, left_out: Counter[str]
) -> Iterator[tuple[str, Sides | None]]:
    """Names, and boxes if given, of a target: null, a class, an object with a label, or a list of these."""
    if target is None:
        return
    for entry in target if isinstance(target, list) else [target]:
        label = entry.get("label") if isinstance(entry, dict) else entry
        if isinstance(entry, dict):
            left_out.update(key for key in entry if entry[key] and key not in ("label", "bounding_box"))
        if type(label) is int and classes is not None and 0 <= label < len(classes):
            name = classes[label]
        elif isinstance(label, str) and (classes is None or label in classes):
            name = label
        else:
            form = "a label" if classes is None else f"a number from 0 to {len(classes) - 1:,}, or a class"
            raise LabelwiseError(f"{place}: {str(label)[:60]!r}", form, "correct the file")
        yield name, _sides(entry, place) if isinstance(entry, dict) else None


def _sides(entry: Mapping[str, Any], place: str) -> Sides | None:
    """The box (x0, y0, x1, y1) of an object in fractions of the image's sides; `None` without one."""
    box = entry.get("bounding_box")
    if box is None:
        return None
    try:
        x, y, width, height = (float(side) for side in box)
    except (TypeError, ValueError):
        raise LabelwiseError(
            f"{place}: bounding_box {str(box)[:60]}", "[x, y, width, height]", "correct the file"
        ) from None
    return x, y, x + width, y + height
