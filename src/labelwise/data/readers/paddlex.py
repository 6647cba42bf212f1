"""PaddleX multi-label classification: `label.txt`, and lists `train.txt`, `val.txt` and `test.txt` with 0/1 marks."""

from __future__ import annotations

import re
from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.data.readers.exports import beginning, missing_export, text_lines
from labelwise.data.readers.files import source_folder
from labelwise.data.readers.image_labels import ImageLabels, dataset_of_images
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "paddlex:DIR[?images=DIR]"
MEANING = "PaddleX multi-label classification: label.txt, and train.txt, val.txt, test.txt of image<TAB>0,1,0"
OPTIONS = frozenset({"images", "duplicates", "missing"})

_SPLITS = ("train", "val", "test")
_LINE = re.compile(r"(?P<image>[^\t]*\S)\t\s*(?P<marks>[01](\s*,\s*[01])*)\s*,?\s*")
_LABEL = re.compile(r"(?P<number>\d+)\s+(?P<name>\S.*)")


def recognises(path: Path) -> bool:
    """Whether a folder holds `label.txt` and a list with 0/1 marks in its first line."""
    if not (path / "label.txt").is_file():
        return False
    lines = [beginning(path / f"{split}.txt").lstrip().partition("\n")[0] for split in _SPLITS]
    return any(_LINE.fullmatch(line.rstrip("\r")) for line in lines)


def read(source: Source) -> Dataset:
    """Reads the lists; every mark is known.

    Raises:
        LabelwiseError: a line of another format, more or fewer marks than labels, or label numbers that do not count
            from 0.
    """
    folder = source_folder(source, "a PaddleX data set")
    files = [folder / f"{split}.txt" for split in _SPLITS if (folder / f"{split}.txt").is_file()]
    if not files or not (folder / "label.txt").is_file():
        raise missing_export(
            folder, "label.txt, or any of train.txt, val.txt and test.txt", "a PaddleX data set"
        )
    labels = _labels(folder / "label.txt")
    items = []
    for file in files:
        for number, line in text_lines(file):
            place = f"{file.name}, line {number}"
            match = _LINE.fullmatch(line)
            if match is None:
                raise LabelwiseError(
                    f"{place}: {line[:80]!r}", "an image, a tab and 0,1 marks", "correct the line"
                )
            marks = [mark.strip() for mark in match["marks"].split(",")]
            if len(marks) != len(labels):
                raise LabelwiseError(
                    f"{place}: {len(marks)} marks",
                    f"{len(labels)}, one per label of label.txt",
                    "correct the line",
                )
            present = tuple(name for name, mark in zip(labels, marks, strict=True) if mark == "1")
            items.append(ImageLabels(match["image"].strip(), present, split=file.stem, place=place))
    return dataset_of_images(items, source, [folder, folder / "images"], labels=labels)


def _labels(file: Path) -> tuple[str, ...]:
    """The label names of `label.txt`; raises `LabelwiseError` unless they are numbered from 0."""
    names: list[str] = []
    for number, line in text_lines(file):
        match = _LABEL.fullmatch(line)
        if match is None or int(match["number"]) != len(names):
            raise LabelwiseError(
                f"{file}, line {number}: {line[:80]!r}", f"'{len(names)} NAME'", "number the labels from 0 on"
            )
        names.append(match["name"])
    if not names:
        raise LabelwiseError(f"{file}, an empty file", "a number and a name in each line", "list the labels")
    return tuple(names)
