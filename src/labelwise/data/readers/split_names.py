"""Splits that words tell: cells of a table, and names of files and folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from labelwise.data.readers.cells import is_blank, text_of

SPLITS = ("train", "val", "test")
SPLIT_OF_WORD: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Every word that tells a split, for all readers."""
_WORD = re.compile(
    rf"(?<![a-z])(test[-_]dev|{'|'.join(sorted(SPLIT_OF_WORD, key=len, reverse=True))})(?![a-z])"
)


def canonical(word: object) -> str | None:
    """`train`, `val` or `test` where a word tells it, nothing where it says that there is none, else `None`.

    >>> canonical("Validation"), canonical("unassigned"), canonical("NA"), canonical("extra")
    ('val', '', '', None)
    """
    text = text_of(word).casefold()
    return "" if is_blank(word) or text == "unassigned" else SPLIT_OF_WORD.get(text)


def split_in_name(stem: str) -> str | None:
    """The split that the name of a file or folder tells, as the last word that does.

    >>> split_in_name("instances_val2014"), split_in_name("valid"), split_in_name("latest")
    ('val', 'val', None)
    >>> split_in_name("image_info_test-dev2017"), split_in_name("instancesTrain")
    ('test', 'train')
    """
    words = _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", stem).lower())
    return canonical(re.split("[-_]", words[-1])[0]) if words else None


def tells_splits(cells: Iterable[object], least: int = 2) -> bool:
    """Whether cells are names of splits alone, of so many of them at least; blank ones tell none.

    >>> tells_splits(["Training", "dev", None]), tells_splits(["train", "car"]), tells_splits(["train"])
    (True, False, False)
    """
    splits = {canonical(cell) for cell in cells}
    return None not in splits and len(splits - {""}) >= least
