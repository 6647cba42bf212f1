"""Splits named by cells of a table, and by names of files and folders."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from labelwise.data.readers.cells import is_blank, number, text_of

_Split = TypeVar("_Split", str, str | None)
SPLITS = ("train", "val", "test")
SPLIT_ORDER = ("train", "val", "eval", "test")
"""The order of splits named by files or folders; `eval` is a separate split only beside both `val` and `test`."""
SPLIT_OF_WORD: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "vld", "tuning"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "tst"), "test"),
}
"""The split of every name for one, for all readers."""
_OF_CELL = {"publictest": "val", "privatetest": "test"}
"""Names that competitions use for their public and their private test set."""
_EVAL = frozenset({"eval", "evaluation"})
"""Names of the test split, or of the validation split where another one is called test."""
_SET = re.compile(r"[\s_-]*(?:set|split)$")
_NAME = re.compile(
    rf"(?<![a-z])(test[-_]dev|{'|'.join(sorted(SPLIT_OF_WORD, key=len, reverse=True))})(?![a-z])"
)


def canonical(value: object) -> str | None:
    """`train`, `val` or `test` for a name of that split, empty for a value that means no split, else `None`.

    >>> canonical("Validation"), canonical("unassigned"), canonical("NA"), canonical("extra")
    ('val', '', '', None)
    """
    text = text_of(value).casefold()
    return "" if is_blank(value) or text == "unassigned" else SPLIT_OF_WORD.get(text)


def of_cell(cell: object) -> str | None:
    """The result of `canonical`, also for names that only cells of tables use.

    >>> of_cell("Train set"), of_cell("PublicTest"), of_cell("dev")
    ('train', 'val', 'val')
    """
    text = text_of(cell).casefold()
    return canonical(cell) if is_blank(cell) else _OF_CELL.get(text) or canonical(_SET.sub("", text) or text)


def splits_of(texts: Collection[str]) -> dict[str, str]:
    """The split of each text of one column, which depends on all of them; a text that names none is its own split.

    >>> splits_of(["train", "eval", "test"])
    {'train': 'train', 'eval': 'val', 'test': 'test'}
    >>> splits_of(["eval", "valid", "test"])
    {'eval': 'eval', 'valid': 'val', 'test': 'test'}
    """
    splits = {text: text if (split := of_cell(text)) is None else split for text in texts}
    return dict(zip(splits, splits_together(tuple(splits), tuple(splits.values())), strict=True))


def splits_together(names: Sequence[str], splits: Sequence[_Split]) -> list[_Split | str]:
    """The splits of files, folders or cells that are read together, where eval may stand beside another test split.

    It is then `val`, or its own split `eval` where another one is `val`.

    >>> splits_together(["train.json", "eval.json", "test.json"], ["train", "test", "test"])
    ['train', 'val', 'test']
    """
    are_eval = [is_eval(name) for name in names]
    others = {split for split, of_eval in zip(splits, are_eval, strict=True) if not of_eval}
    if "test" not in others:
        return list(splits)
    eval_split = "eval" if "val" in others else "val"
    return [eval_split if of_eval else split for split, of_eval in zip(splits, are_eval, strict=True)]


def is_eval(text: str) -> bool:
    """Whether a split, or the last name of one in the name of a file, is called eval."""
    names = _NAME.findall(_lower_words(text))
    return bool(names) and names[-1] in _EVAL


def numbered_splits(cells: Iterable[object]) -> dict[float, str]:
    """The splits of a column that numbers them from 0 or 1 on, by number; empty for other cells.

    >>> numbered_splits([0, "2", None]), numbered_splits([1, 2, 3]), numbered_splits([0, 1, 4])
    ({0.0: 'train', 2.0: 'test'}, {1.0: 'train', 2.0: 'val', 3.0: 'test'}, {})
    """
    values = {None if isinstance(cell, bool) else number(cell) for cell in cells if not is_blank(cell)}
    numbers = sorted(value for value in values if value is not None)
    start = 1 if len(numbers) > 1 and numbers[0] == 1 else 0
    if len(numbers) < len(values) or not set(numbers) <= {start, start + 1, start + 2}:
        return {}
    return {value: SPLITS[int(value) - start] for value in numbers}


def split_in_name(stem: str) -> str | None:
    """The last split that the name of a file or folder contains.

    >>> split_in_name("instances_val2014"), split_in_name("valid"), split_in_name("latest")
    ('val', 'val', None)
    >>> split_in_name("image_info_test-dev2017"), split_in_name("instancesTrain")
    ('test', 'train')
    """
    names = _NAME.findall(_lower_words(stem))
    return canonical(re.split("[-_]", names[-1])[0]) if names else None


def _lower_words(name: str) -> str:
    """A name in lower case, with an underscore before each word that begins with a capital."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def are_splits(cells: Iterable[object], least: int = 2) -> bool:
    """Whether all filled cells are names of splits, of at least `least` different ones.

    >>> are_splits(["Training", "dev", None]), are_splits(["train", "car"]), are_splits(["train"])
    (True, False, False)
    """
    splits = {of_cell(cell) for cell in cells}
    return None not in splits and len(splits - {""}) >= least
