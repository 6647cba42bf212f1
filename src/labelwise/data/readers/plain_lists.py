"""Lists of training images as text files: recognised as a table or an import file, or refused with advice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from labelwise.data.imagefiles import is_image_name
from labelwise.data.readers.roles import IMAGE, key
from labelwise.errors import LabelwiseError

_HEAD = 1 << 16
_ROWS = 50
_MARKS = {"\t": "tabs", ",": "commas", " ": "blanks"}
_STATE = re.compile(r"-?[01](?:\.0)?")


def kind_of(path: Path) -> str | None:
    """The reader of a text file of image names and labels: `csv` under a header, `vertex` for `image,label,label`.

    Returns:
        the reader's name; `None` if the lines are not images and labels.

    Raises:
        LabelwiseError: lines of images and labels in another format, with the change that makes it readable.
    """
    lines = _lines(path)
    names = re.split(r"[,;\t|]", lines[0]) if lines else []
    if len(names) > 1 and key(names[0]) in IMAGE and not any(map(is_image_name, names)):
        return "csv"
    mark = next((mark for mark in _MARKS if _are_images(lines, mark)), None)
    if mark is None:
        return None
    cells = [cell.strip() for line in lines for cell in line.split(mark)[1:] if cell.strip()]
    marks = _MARKS[mark]
    if not cells:
        given, todo = "images without labels", "write the labels after each image, separated by commas"
    elif all(map(_STATE.fullmatch, cells)):
        given = f"images and a 0 or 1 for each label, separated by {marks}, without the names of the labels"
        header = mark.replace("\t", "<TAB>").join(["image", "dog", "cat"])
        todo = f"add a first line such as {header!r} with your labels, and read it with csv:{path}"
    elif mark == ",":
        return "vertex"
    else:
        given = f"images and their labels, separated by {marks}"
        todo = f"write commas instead of the {marks}, as in a.jpg,dog,cat, and read it with vertex:{path}"
    raise LabelwiseError(
        f"{str(path)!r}, lines of {given}", "lines image,label,label, or a table with a header", todo
    )


def _are_images(lines: Sequence[str], mark: str) -> bool:
    """Whether the text before the first mark of each line is the name of an image."""
    return bool(lines) and all(is_image_name(line.split(mark)[0].strip().strip('"')) for line in lines)


def _lines(path: Path) -> list[str]:
    """The first lines of a text file that are not blank; empty for other files."""
    if not path.is_file() or path.suffix.lower() != ".txt":
        return []
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    return [line for line in (lines[:-1] if len(head) == _HEAD else lines) if line.strip()][:_ROWS]
