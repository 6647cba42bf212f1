"""A reader: one line per image, `SPLIT<TAB>IMAGE<TAB>LABEL,LABEL`."""

from __future__ import annotations

from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.data.readers.image_labels import ImageLabels, dataset_of_images
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "lines:FILE"
MEANING = (
    "a text file with split, image and labels in each line, between tabs; labels that it lacks are absent"
)
OPTIONS = frozenset({"images", "missing"})


def recognises(path: Path) -> bool:
    """Whether a file is named labels.lines."""
    return path.name == "labels.lines"


def read(source: Source) -> Dataset:
    """Reads the lines; raises `LabelwiseError` for one without three parts."""
    file, items = Path(source.path), []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        parts = line.split("\t")
        if len(parts) != 3:
            raise LabelwiseError(
                f"{file}, line {number} with {len(parts)} parts",
                "split, image and labels",
                "correct the line",
            )
        split, image, labels = parts
        names = [name for name in labels.split(",") if name]
        items.append(ImageLabels(image, names, split=split, place=f"line {number}"))
    return dataset_of_images(items, source, [file.parent])
