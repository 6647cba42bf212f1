"""PASCAL VOC: `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/`; labels from annotations, or from lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.decode import image_size
from labelwise.data.readers.boxes import BoxList
from labelwise.data.readers.files import keep_existing, source_folder, text_array
from labelwise.data.readers.voc_labels import label_names, labels_of_lists
from labelwise.data.readers.voc_layout import VocLayout, voc_layout
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

FORM = "voc:DIR[?difficult=ignore|negative|positive]"
MEANING = "a PASCAL VOC folder with JPEGImages, Annotations or lists of labels, and ImageSets/Main"
OPTIONS = frozenset({"difficult", "missing"})


@dataclass(frozen=True)
class VocObject:
    """An annotated object: label name, whether difficult, and its box `(xmin, ymin, xmax, ymax)` if any."""

    name: str
    difficult: bool
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class VocAnnotation:
    """An annotation file: the image's size `(width, height)` if stated, its objects, and whether it is VOC's."""

    size: tuple[float, float] | None
    objects: list[VocObject]
    of_voc: bool


def read(source: Source) -> Dataset:
    """Reads a VOC tree; a label with difficult objects only is unknown unless the source sets `difficult`.

    Rows are in the order of `trainval.txt` (the order of the partial-label masks), then of `test.txt`. Lists of a label
    with 1 and -1 add to the annotations, and replace them where there are none.

    Raises:
        LabelwiseError: a tree without lists, an image in two splits, a missing or broken annotation.
    """
    policy = source.choice("difficult", ("ignore", "negative", "positive"))
    root = source_folder(source, "a VOC folder")
    layout = voc_layout(root)
    annotations = [_annotation(row.xml) if row.xml else None for row in layout.rows]
    present = [annotation for annotation in annotations if annotation]
    occurring = {item.name for annotation in present for item in annotation.objects}
    of_voc = bool(present) and all(annotation.of_voc for annotation in present)
    labels, label_notes = label_names(root, occurring, layout.states, of_voc)
    strong, weak, boxes = _cells(root, layout, annotations, {name: j for j, name in enumerate(labels)})
    annotated = np.array([annotation is not None for annotation in annotations], bool)
    strong, weak, in_lists, further = labels_of_lists(root, layout, labels, annotated, strong, weak)
    difficult = weak & ~strong
    known = in_lists & ~difficult if policy == "ignore" else in_lists
    meaning = {"ignore": "unknown", "negative": "negative", "positive": "positive"}[policy]
    if difficult.any():
        further.append(f"{int(difficult.sum()):,} cells with difficult objects only are {meaning}.")
    data = Dataset(
        labels=LabelSet(labels),
        images=text_array([row.image for row in layout.rows]),
        root=root,
        values=(strong | (difficult & (policy == "positive"))).astype(np.uint8),
        known=known,
        split_of=layout.codes(),
        split_names=layout.splits,
        boxes=boxes.column(len(annotations), len(labels)) if boxes.rows else None,
        notes=(*layout.notes, *label_notes, *further),
        rows_in_source=len(annotations),
    )
    return keep_existing(data, source)


def _annotation(file: Path) -> VocAnnotation:
    """Size and objects of an annotation file."""
    tree = parse_xml(file)
    if tree.tag != "annotation":
        raise LabelwiseError(
            f"{file} with <{tree.tag}>", "<annotation>, a VOC file", "name the kind of the data"
        )
    try:
        sides = [float(tree.findtext(f"size/{side}") or 0) for side in ("width", "height")]
        objects = []
        for item in tree.findall("object"):
            name, difficult = ((item.findtext(tag) or "").strip() for tag in ("name", "difficult"))
            objects.append(VocObject(name, difficult == "1", _box(item)))
    except ValueError as error:
        raise LabelwiseError(
            f"{file}: {error}", "numbers for sizes and boxes", "correct the annotation"
        ) from None
    if any(not item.name for item in objects):
        raise LabelwiseError(f"{file}: an object without a name", "a label name", "correct the annotation")
    origins = [tree.findtext(tag) or "" for tag in ("folder", "source/database", "source/annotation")]
    size = (sides[0], sides[1]) if min(sides) > 0 else None
    return VocAnnotation(size, objects, any(re.search(r"VOC[ _-]?20\d\d", text) for text in origins))


def _box(item: Element) -> tuple[float, float, float, float] | None:
    """The box (x0, y0, x1, y1) of an object in pixels from 0, ends excluded; `None` without one."""
    box = item.find("bndbox")
    if box is None:
        return None
    x0, y0, x1, y1 = (float(box.findtext(side) or "nothing") for side in ("xmin", "ymin", "xmax", "ymax"))
    return x0 - 1, y0 - 1, x1, y1  # VOC counts pixels from 1 and includes the last one


def _cells(
    root: Path, layout: VocLayout, annotations: Sequence[VocAnnotation | None], column: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray, BoxList]:
    """Labels with a regular object and labels with a difficult object, `[N, L]` each, and the boxes."""
    strong, weak = np.zeros((2, len(annotations), len(column)), bool)
    boxes = BoxList()
    for row, annotation in enumerate(annotations):
        size = annotation.size if annotation else None
        for item in annotation.objects if annotation else ():
            label = column[item.name]
            (weak if item.difficult else strong)[row, label] = True
            image = root / layout.rows[row].image
            if item.box is not None and (size or image.is_file()):  # a missing image is handled later
                size = size or image_size(image)
                try:
                    boxes.add(row, label, item.box, size, item.difficult)
                except ValueError as error:
                    raise LabelwiseError(
                        f"{layout.rows[row].xml}: {error}",
                        "sides in pixels of the image",
                        "correct the annotation",
                    ) from None
    return strong, weak, boxes


def parse_xml(file: Path) -> Element:
    """The root element of an XML file; a document type is refused, which also excludes entity bombs.

    Raises:
        LabelwiseError: a file that is not XML or has a document type.
    """
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise LabelwiseError(f"{file}: a document type (DTD)", "plain XML", "remove the <!DOCTYPE ...> part")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(file.read_bytes(), True)
    except LabelwiseError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:  # encodings raise the latter two
        raise LabelwiseError(f"{file}: {error}", "an XML annotation", "restore or correct the file") from None
    return builder.close()
