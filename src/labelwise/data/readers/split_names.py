"""Splits that the names of files and folders tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_SPLIT_OF_WORD: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_WORD = re.compile(
    rf"(?<![a-z])(test[-_]dev|{'|'.join(sorted(_SPLIT_OF_WORD, key=len, reverse=True))})(?![a-z])"
)


def split_in_name(stem: str) -> str | None:
    """The split that the name of a file or folder tells, as the last word that does.

    >>> split_in_name("instances_val2014"), split_in_name("valid"), split_in_name("latest")
    ('val', 'val', None)
    >>> split_in_name("image_info_test-dev2017"), split_in_name("instancesTrain")
    ('test', 'train')
    """
    words = _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", stem).lower())
    return _SPLIT_OF_WORD[re.split("[-_]", words[-1])[0]] if words else None


def tells_splits(cells: Iterable[object], least: int = 2) -> bool:
    """Whether cells are names of splits alone, of so many of them at least; blank ones tell none.

    >>> tells_splits(["Training", "dev", None]), tells_splits(["train", "car"]), tells_splits(["train"])
    (True, False, False)
    """
    words = {str(cell or "").strip().casefold() for cell in cells} - {"", "unassigned"}
    return words <= _SPLIT_OF_WORD.keys() and len({_SPLIT_OF_WORD[word] for word in words}) >= least
