"""Label names of one cell: parted by a mark, or a list that a tool wrote as text."""

from __future__ import annotations

from collections.abc import Sequence


def similar_names(names: Sequence[str]) -> list[str]:
    """A sentence on labels that differ only in case, outer blanks or blanks for underscores.

    >>> similar_names(("Car", "car", "dog"))
    ['Labels that differ in spelling only are kept apart: Car and car.']
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(" ".join(name.casefold().replace("_", " ").replace("-", " ").split()), []).append(
            name
        )
    groups = [" and ".join(group) for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    shown = "; ".join(groups[:5]) + ("; ..." if len(groups) > 5 else "")
    return [f"Labels that differ in spelling only are kept apart: {shown}."]


def few(names: Sequence[str], most: int = 5) -> str:
    """The first names, and whether there are more.

    >>> few(["a", "b", "c"], 2)
    'a, b, ...'
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
