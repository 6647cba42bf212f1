"""Datumaro's `imagenet_txt`: `synsets.txt` with one label per line, lists `SUBSET.txt` of images and label numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from labelwise.data.imagefiles import is_image_name
from labelwise.data.readers.exports import beginning, text_lines
from labelwise.errors import LabelwiseError

LABELS = "synsets.txt"
_LINE = re.compile(r'("(?P<quoted>[^"]*)")?(?P<rest>\S*)(?P<numbers>(\s+\d+)*)\s*')


class Lists(NamedTuple):
    """The labels, and for each line the image, the numbers of its labels, its subset and its name for messages."""

    labels: tuple[str, ...]
    lines: list[tuple[str, list[int], str, str]]


def recognises_lists(folder: Path) -> bool:
    """Whether a folder holds labels and at least one list."""
    return (folder / LABELS).is_file() and bool(_list_files(folder))


def _list_files(folder: Path) -> list[Path]:
    """The lists in a folder, by their first lines."""
    files = sorted(file for file in folder.glob("*.txt") if file.name != LABELS)
    return [file for file in files if _parsed(beginning(file).partition("\n")[0]) is not None]


def read_lists(folder: Path) -> Lists:
    """Reads the lists of a folder.

    Raises:
        LabelwiseError: for a line of another form, or a number without a label.
    """
    labels = tuple(line for _, line in text_lines(folder / LABELS))
    lines = []
    for file in _list_files(folder):
        for number, line in text_lines(file):
            place = f"{file.name}, line {number}"
            parsed = _parsed(line)
            if parsed is None:
                raise LabelwiseError(
                    f"{place}: {line[:80]!r}", "an image and the numbers of its labels", "correct the line"
                )
            image, numbers = parsed
            if numbers and max(numbers) >= len(labels):
                raise LabelwiseError(
                    f"{place}: label {max(numbers)}",
                    f"a number from 0 to {len(labels) - 1}, as {LABELS} lists",
                    "correct the line",
                )
            lines.append((image, numbers, file.stem, place))
    return Lists(labels, lines)


def _parsed(line: str) -> tuple[str, list[int]] | None:
    """Image and label numbers of a line; a name with blanks is quoted up to its suffix.

    >>> _parsed('"a b".jpg 1 2'), _parsed("c.jpg "), _parsed("0 cat")
    (('a b.jpg', [1, 2]), ('c.jpg', []), None)
    """
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    image = (match["quoted"] or "") + match["rest"]
    return (image, [int(number) for number in match["numbers"].split()]) if is_image_name(image) else None
