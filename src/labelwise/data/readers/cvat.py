"""CVAT for images 1.1: tags of images, and the labels of boxes and other shapes as present."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from labelwise.data.dataset import Dataset
from labelwise.data.readers.boxes import LabelBox, Sides
from labelwise.data.readers.exports import beginning, missing_export, refuse_archive
from labelwise.data.readers.files import image_folder, source_file
from labelwise.data.readers.image_labels import Annotations, ImageLabels, dataset_of_images
from labelwise.data.readers.split_names import canonical
from labelwise.data.readers.voc import parse_xml
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "cvat:FILE.xml|DIR[?images=DIR&blank=unknown]"
MEANING = "CVAT for images 1.1: annotations.xml with tags, boxes and shapes; subsets become splits"
OPTIONS = frozenset({"images", "blank", "duplicates", "missing"})

_EXPECTED = "an export as CVAT for images 1.1"
_BEGINNING = re.compile(r"\s*(<\?xml[^>]*>)?\s*(<!--.*?-->\s*)*<annotations[\s>]", re.DOTALL)
_SIGNS = re.compile(r"<version>|<meta>|<(image|track)\s+id=")


def recognises(path: Path) -> bool:
    """Whether a path is an XML file of CVAT, or a folder that holds one."""
    if path.is_dir():
        return bool(_xml_files(path))
    text = beginning(path)
    return bool(_BEGINNING.match(text) and _SIGNS.search(text))


def read(source: Source) -> Dataset:
    """Reads tags and shapes; labels are those of the task or project, all absent from an image without annotations.

    Raises:
        LabelwiseError: for a file of another kind, video tracks, a label that the task does not list, or invalid boxes.
    """
    blank = source.choice("blank", ("negative", "unknown"))
    files, folder = _files(source)
    given = source.options.get("images")
    base = image_folder(given) if given else folder / "images"
    content = Annotations()
    for file in files:
        split = (canonical(file.stem) or "") if len(files) > 1 else ""
        _collect(file, content, base, split, blank == "negative")
    notes = []
    if not content.labels:
        notes.append("The file lists no labels: the labels are those that occur.")
    empty = sum(not item.present for item in content.items)
    if empty and blank == "negative":
        notes.append(
            f"{empty:,} images without a tag or shape have none of the labels; blank=unknown makes them unknown."
        )
    if content.left_out:
        listed = ", ".join(name for name, _ in content.left_out.most_common(5))
        notes.append(f"{content.left_out.total():,} values of attributes were left out: {listed}.")
    return dataset_of_images(content.items, source, [base, folder], labels=tuple(content.labels), notes=notes)


def _xml_files(folder: Path) -> list[Path]:
    """The files of CVAT in a folder: `annotations.xml`, or else each of a subset."""
    single = folder / "annotations.xml"
    files = [single] if single.is_file() else sorted(folder.glob("*.xml"))
    return [file for file in files if recognises(file)]


def _files(source: Source) -> tuple[list[Path], Path]:
    """The XML files of a source, one per subset where a tool wrote them so, and their folder."""
    path = Path(source.path)
    if not path.is_dir():
        file = source_file(source, f"{_EXPECTED}, or its folder")
        refuse_archive(file, _EXPECTED)
        return [file], file.parent
    files = _xml_files(path)
    if not files:
        raise missing_export(path, "annotations.xml", _EXPECTED)
    return files, path


def _collect(file: Path, content: Annotations, base: Path, split: str, empty_known: bool) -> None:
    """Adds the images of a file; with `empty_known` an image without annotations is all-negative, else unknown."""
    root = parse_xml(file)
    if root.tag != "annotations":
        raise LabelwiseError(f"{file} with the root element <{root.tag}>", _EXPECTED, "check the file")
    tracks = root.findall("track")
    if tracks:
        raise LabelwiseError(
            f"{file} with {len(tracks):,} tracks over the frames of a video", _EXPECTED, "export it as images"
        )
    for entry in root.findall("meta//labels/label"):
        name = (entry.findtext("name") or "").strip()
        if name and entry.find("parent") is None:  # parts of a skeleton are not labels of the image
            content.labels.setdefault(name)
    default = (root.findtext("meta/task/subset") or root.findtext("meta/job/subset") or "").strip() or split
    for number, image in enumerate(root.findall("image"), 1):
        name = (image.get("name") or "").strip()
        place = f"{file.name}, image {name or image.get('id') or number}"
        if not name:
            raise LabelwiseError(f"{place} without a name", "a file name", "correct the file")
        subset = (image.get("subset") or default).strip()
        present: dict[str, None] = {}
        boxes: list[LabelBox] = []
        for shape in image:
            label = (shape.get("label") or "").strip()
            if not label:
                raise LabelwiseError(f"{place}: <{shape.tag}> without a label", "a label", "correct the file")
            present.setdefault(label)
            content.left_out.update(a.get("name", "?") for a in shape.findall("attribute") if a.text)
            boxes += [LabelBox(label, sides, size) for sides, size in _sized_box(shape, image, place)]
        # Tasks of a project may hold files with equal names; these lie in a folder of their subset.
        path = f"{subset}/{name}" if subset and (base / subset / name).is_file() else name
        image_split = "" if subset.lower() == "default" else subset
        known = bool(present) or empty_known
        content.items.append(
            ImageLabels(path, tuple(present), known=known, split=image_split, place=place, boxes=boxes)
        )


def _sized_box(shape: Element, image: Element, place: str) -> Iterator[tuple[Sides, tuple[float, float]]]:
    """The bounding box of a shape and the size of the image, in pixels; nothing for a tag or points."""
    try:
        sides = _bounding_box(shape)
        if sides is not None:
            yield sides, (float(image.get("width", "")), float(image.get("height", "")))
    except ValueError as error:
        raise LabelwiseError(
            f"{place}: <{shape.tag}> ({error})", "numbers for sides and sizes", "correct the file"
        ) from None


def _bounding_box(shape: Element) -> Sides | None:
    """The bounding box of a shape after its rotation."""

    def number(key: str) -> float:
        return float(shape.get(key, ""))

    if shape.tag in ("polygon", "polyline"):
        pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
        xs, ys = [float(pair[0]) for pair in pairs], [float(pair[-1]) for pair in pairs]
        return min(xs), min(ys), max(xs), max(ys)
    if shape.tag == "mask":
        left, top = number("left"), number("top")
        return left, top, left + number("width"), top + number("height")
    if shape.tag == "box":
        x0, y0, x1, y1 = number("xtl"), number("ytl"), number("xbr"), number("ybr")
        x, y, width, height = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    elif shape.tag == "ellipse":
        x, y, width, height = number("cx"), number("cy"), number("rx"), number("ry")
    else:
        return None
    angle = math.radians(float(shape.get("rotation", "0")))
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    if shape.tag == "box":
        width, height = width * cos + height * sin, width * sin + height * cos
    else:
        width, height = math.hypot(width * cos, height * sin), math.hypot(width * sin, height * cos)
    return x - width, y - height, x + width, y + height
