"""Lists of label names that a tool wrote as the text of a cell."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labelwise.errors import LabelwiseError

LONGEST = 100_000  # letters of a list written as text


def list_of(text: str, name: str, where: Callable[[int], str], place: int) -> list[str]:
    """The names of a cell that holds a list as text, or one name."""
    if not text or text[0] not in "[{(":
        return [text] if text else []
    parsed = _literal(text)
    if isinstance(parsed, Mapping) and isinstance(parsed.get("choices"), list | str):
        parsed = parsed["choices"] if isinstance(parsed["choices"], list) else [parsed["choices"]]
    items = list(parsed) if isinstance(parsed, list | tuple | set | frozenset) else None
    if items is None or not all(
        isinstance(i, str) or (isinstance(i, int) and not isinstance(i, bool)) for i in items
    ):
        raise LabelwiseError(
            f"{where(place)}, column {name!r}: {text[:60]!r}",
            'a list of label names such as ["cat", "dog"], or names with a mark between them',
            "correct the cell, or add ?separator= if it is one name",
        )
    names = [str(item).strip() for item in items]
    return [n for n in (sorted(names) if isinstance(parsed, set) else names) if n]


def _literal(text: str) -> Any:
    """What JSON, Python, NumPy or a database wrote as text; `None` for anything else."""
    if len(text) > LONGEST:
        return None
    # Python joins strings that only a blank parts, and NumPy writes lists in that form.
    numpy = re.search(r"""['"]\s+['"]""", text)
    for parse in (json.loads,) if numpy else (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    inner = re.fullmatch(r"\[([^\[\]{}()]*)\]", text, re.DOTALL)
    if inner is None:
        return None
    if quoted := re.findall(r"'([^']*)'|\"([^\"]*)\"", inner[1]):
        rest = re.sub(r"'[^']*'|\"[^\"]*\"", "", inner[1])
        return [a or b for a, b in quoted] if not rest.strip(" ,\n") else None
    if re.fullmatch(r"[\d\s]+", inner[1]):
        return [int(part) for part in inner[1].split()]
    return [part.strip() for part in inner[1].split(",")]


def is_multi_hot(lists: Sequence[tuple[int, ...]], name: str) -> bool:
    """Whether lists are rows of 0 and 1 for all labels rather than numbers of labels.

    Raises:
        LabelwiseError: they may be either.
    """
    filled = [part for part in lists if part]
    if (
        len({len(part) for part in filled}) != 1
        or len(filled[0]) < 2
        or not all(n in (0, 1) for p in filled for n in p)
    ):
        return False
    if any(len(set(part)) < len(part) for part in filled):
        return True
    raise LabelwiseError(
        f"column {name!r} with lists such as {list(filled[0])}, which are numbers of labels or a 0 or 1 for each label",
        "lists whose meaning is plain",
        "write label names in their place",
    )
