"""PASCAL VOC: `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/{train,val,trainval,test}.txt`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.decode import image_size
from labelwise.data.readers.boxes import BoxList
from labelwise.data.readers.files import keep_existing, source_folder, text_array
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

FORM = "voc:DIR[?difficult=ignore|negative|positive]"
MEANING = "a PASCAL VOC folder with Annotations, JPEGImages and ImageSets/Main"
OPTIONS = frozenset({"difficult", "missing"})

_NAMES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)
VOC_NAMES = tuple(_NAMES.split())


@dataclass(frozen=True)
class VocObject:
    """An annotated object: label name, whether difficult, and its box `(xmin, ymin, xmax, ymax)` if any."""

    name: str
    difficult: bool
    box: tuple[float, float, float, float] | None


def read(source: Source) -> Dataset:
    """Reads a VOC tree; a label seen only in difficult objects is unknown unless the source says otherwise.

    Rows stand in the order of `trainval.txt` (the order of the partial-label masks), then of `test.txt`.

    Raises:
        LabelwiseError: for a tree without lists, an image in two splits, a missing or broken annotation.
    """
    policy = source.choice("difficult", ("ignore", "negative", "positive"))
    root = source_folder(source, "a VOC folder")
    ids, codes, names, notes = _rows(_lists(root))
    annotations = _annotations(root, ids)
    found = {item.name for _, objects in annotations for item in objects}
    labels = VOC_NAMES if found and found <= set(VOC_NAMES) else tuple(sorted(found))
    strong, weak, boxes = _cells(root, ids, annotations, {name: j for j, name in enumerate(labels)})
    hard = weak & ~strong
    known = ~hard if policy == "ignore" else np.ones_like(strong)
    fate = {"ignore": "unknown", "negative": "negative", "positive": "positive"}[policy]
    if hard.any():
        notes.append(f"{int(hard.sum()):,} cells with difficult objects only are {fate}.")
    files = _image_files(root)
    listed = set(ids)
    spare = sum(1 for file in (root / "Annotations").glob("*.xml") if file.stem not in listed)
    if spare:
        notes.append(f"{spare:,} annotated images are in no list of ImageSets/Main and were left out.")
    data = Dataset(
        labels=LabelSet(labels),
        images=text_array([f"JPEGImages/{files.get(i, i + '.jpg')}" for i in ids]),
        root=root,
        values=(strong | (hard & (policy == "positive"))).astype(np.uint8),
        known=known,
        split_of=codes,
        split_names=names,
        boxes=boxes.column(len(ids), len(labels)),
        notes=tuple(notes),
        rows_in_source=len(ids),
    )
    return keep_existing(data, source)


def _lists(root: Path) -> dict[str, list[str]]:
    folder = root / "ImageSets" / "Main"
    lists = {}
    for name in ("train", "val", "trainval", "test"):
        file = folder / f"{name}.txt"
        if file.is_file():
            lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
            lists[name] = [line.strip() for line in lines if line.strip()]
    if not any(lists.values()):
        inner = next((p.parent.parent for p in sorted(root.glob("*/ImageSets/Main"))), None)
        raise LabelwiseError(
            f"{str(root)!r} without image lists",
            f"train.txt, val.txt, trainval.txt or test.txt in {folder}",
            f"try voc:{inner}" if inner else "check the path, or write the lists",
        )
    return lists


def _rows(lists: Mapping[str, list[str]]) -> tuple[list[str], np.ndarray, tuple[str, ...], list[str]]:
    parts = {name: lists[name] for name in ("train", "val", "test") if lists.get(name)}
    whole, notes = lists.get("trainval", []), []
    if whole and "train" not in parts and "val" not in parts:
        parts = {"train": whole, **parts}
        notes.append("ImageSets/Main has trainval without train and val: trainval is called train.")
    split_of: dict[str, str] = {}
    for name, ids in parts.items():
        for image in ids:
            if image in split_of:
                raise LabelwiseError(
                    f"image {image!r} in {split_of[image]}.txt and again in {name}.txt",
                    "each image once in one split",
                    "remove it from one of the lists",
                )
            split_of[image] = name
    extra = [image for image in whole if image not in split_of]
    if extra:
        raise LabelwiseError(
            f"{len(extra):,} images in trainval.txt that train.txt and val.txt lack: {', '.join(extra[:5])}",
            "trainval as the union of train and val",
            "correct the lists, or remove trainval.txt",
        )
    ids = list(dict.fromkeys([*whole, *split_of]))
    names = tuple(parts)
    return ids, np.array([names.index(split_of[i]) for i in ids], np.int16), names, notes


def _annotations(root: Path, ids: list[str]) -> list[tuple[tuple[float, float] | None, list[VocObject]]]:
    folder = root / "Annotations"
    lost = [i for i in ids if not os.path.isfile(folder / f"{i}.xml")]
    if lost:
        raise LabelwiseError(
            f"{len(lost):,} listed images without an annotation in {folder}: {', '.join(lost[:5])}",
            "one XML file per listed image",
            "add the files, or take the images out of ImageSets/Main",
        )
    return [_annotation(folder / f"{i}.xml") for i in ids]


def _annotation(file: Path) -> tuple[tuple[float, float] | None, list[VocObject]]:
    tree = parse_xml(file)
    try:
        sides = [float(tree.findtext(f"size/{side}") or 0) for side in ("width", "height")]
        objects = [
            VocObject(
                (item.findtext("name") or "").strip(),
                (item.findtext("difficult") or "0").strip() == "1",
                _box(item),
            )
            for item in tree.findall("object")
        ]
    except ValueError as error:
        raise LabelwiseError(
            f"{file}: {error}", "numbers for sizes and boxes", "correct the annotation"
        ) from None
    if any(not item.name for item in objects):
        raise LabelwiseError(f"{file}: an object without a name", "a label name", "correct the annotation")
    return ((sides[0], sides[1]) if min(sides) > 0 else None), objects


def _box(item: Element) -> tuple[float, float, float, float] | None:
    box = item.find("bndbox")
    if box is None:
        return None
    x0, y0, x1, y1 = (float(box.findtext(side) or "nothing") for side in ("xmin", "ymin", "xmax", "ymax"))
    return x0 - 1, y0 - 1, x1, y1  # VOC counts pixels from 1 and includes the last one


def _cells(
    root: Path,
    ids: list[str],
    annotations: list[tuple[tuple[float, float] | None, list[VocObject]]],
    column: Mapping[str, int],
) -> tuple[np.ndarray, np.ndarray, BoxList]:
    strong, weak = np.zeros((2, len(ids), len(column)), bool)
    boxes = BoxList()
    for row, (size, objects) in enumerate(annotations):
        for item in objects:
            label = column[item.name]
            (weak if item.difficult else strong)[row, label] = True
            if item.box is not None:
                size = size or image_size(root / "JPEGImages" / f"{ids[row]}.jpg")
                try:
                    boxes.add(row, label, item.box, size, item.difficult)
                except ValueError as error:
                    raise LabelwiseError(
                        f"Annotations/{ids[row]}.xml: {error}",
                        "sides in pixels of the image",
                        "correct the annotation",
                    ) from None
    return strong, weak, boxes


def _image_files(root: Path) -> dict[str, str]:
    folder = root / "JPEGImages"
    if not folder.is_dir():
        raise LabelwiseError(f"{str(root)!r} without JPEGImages", f"the images in {folder}", "check the path")
    return {file.stem: file.name for file in folder.iterdir()}


def parse_xml(file: Path) -> Element:
    """The root element of an XML file; a document type is refused, and with it every entity bomb.

    Raises:
        LabelwiseError: for a file that is not XML or brings a document type.
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
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two of encodings
        raise LabelwiseError(f"{file}: {error}", "an XML annotation", "restore or correct the file") from None
    return builder.close()
