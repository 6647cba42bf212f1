"""Splits that words tell: cells of a table, and names of files and folders."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from labelwise.data.readers.cells import is_blank, number, text_of

_Split = TypeVar("_Split", str, str | None)
SPLITS = ("train", "val", "test")
SPLIT_ORDER = ("train", "val", "eval", "test")
"""The order of splits that files or folders name; `eval` stands there beside both others alone."""
SPLIT_OF_WORD: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "vld", "tuning"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "tst"), "test"),
}
"""Every word that tells a split, for all readers."""
_OF_CELL = {"publictest": "val", "privatetest": "test"}
"""What competitions call the test set whose figures they show, and the one they judge by."""
_EVAL = frozenset({"eval", "evaluation"})
"""Words for the test split, or for the validation split where another one is called test."""
_SET = re.compile(r"[\s_-]*(?:set|split)$")
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


def of_cell(cell: object) -> str | None:
    """What `canonical` gives, for the words of cells, which say more than names of folders do.

    >>> of_cell("Train set"), of_cell("PublicTest"), of_cell("dev")
    ('train', 'val', 'val')
    """
    text = text_of(cell).casefold()
    return canonical(cell) if is_blank(cell) else _OF_CELL.get(text) or canonical(_SET.sub("", text) or text)


def splits_of(texts: Collection[str]) -> dict[str, str]:
    """The split of each text of one column, by all of them; a text that tells none is a split of its own.

    >>> splits_of(["train", "eval", "test"])
    {'train': 'train', 'eval': 'val', 'test': 'test'}
    >>> splits_of(["eval", "valid", "test"])
    {'eval': 'eval', 'valid': 'val', 'test': 'test'}
    """
    splits = {text: text if (split := of_cell(text)) is None else split for text in texts}
    return dict(zip(splits, splits_together(tuple(splits), tuple(splits.values())), strict=True))


def splits_together(names: Sequence[str], splits: Sequence[_Split]) -> list[_Split | str]:
    """The splits of files, folders or cells that are read together: eval beside another test split is no test split.

    It is `val`, or a split `eval` of its own where another one is `val`.

    >>> splits_together(["train.json", "eval.json", "test.json"], ["train", "test", "test"])
    ['train', 'val', 'test']
    """
    called = [is_eval(name) for name in names]
    others = {split for split, other in zip(splits, called, strict=True) if not other}
    if "test" not in others:
        return list(splits)
    own = "eval" if "val" in others else "val"
    return [own if other else split for split, other in zip(splits, called, strict=True)]


def is_eval(text: str) -> bool:
    """Whether a split, or the last word for one in the name of a file, is called eval."""
    words = _WORD.findall(_lower(text))
    return bool(words) and words[-1] in _EVAL


def numbered_splits(cells: Iterable[object]) -> dict[float, str]:
    """The splits of a column that numbers them from 0 or 1 on, by number; nothing for other cells.

    >>> numbered_splits([0, "2", None]), numbered_splits([1, 2, 3]), numbered_splits([0, 1, 4])
    ({0.0: 'train', 2.0: 'test'}, {1.0: 'train', 2.0: 'val', 3.0: 'test'}, {})
    """
    found = {None if isinstance(cell, bool) else number(cell) for cell in cells if not is_blank(cell)}
    numbers = sorted(value for value in found if value is not None)
    start = 1 if len(numbers) > 1 and numbers[0] == 1 else 0
    if len(numbers) < len(found) or not set(numbers) <= {start, start + 1, start + 2}:
        return {}
    return {value: SPLITS[int(value) - start] for value in numbers}


def split_in_name(stem: str) -> str | None:
    """The split that the name of a file or folder tells, as the last word that does.

    >>> split_in_name("instances_val2014"), split_in_name("valid"), split_in_name("latest")
    ('val', 'val', None)
    >>> split_in_name("image_info_test-dev2017"), split_in_name("instancesTrain")
    ('test', 'train')
    """
    words = _WORD.findall(_lower(stem))
    return canonical(re.split("[-_]", words[-1])[0]) if words else None


def _lower(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def tells_splits(cells: Iterable[object], least: int = 2) -> bool:
    """Whether cells are names of splits alone, of so many of them at least; blank ones tell none.

    >>> tells_splits(["Training", "dev", None]), tells_splits(["train", "car"]), tells_splits(["train"])
    (True, False, False)
    """
    splits = {of_cell(cell) for cell in cells}
    return None not in splits and len(splits - {""}) >= least
