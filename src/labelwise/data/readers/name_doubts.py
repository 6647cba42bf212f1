"""Label names that may be meant otherwise than they are written."""

from __future__ import annotations

from collections.abc import Sequence

from labelwise.data.source import listed

UNANSWERED = frozenset(
    {
        "todo",
        "to do",
        "unknown",
        "unlabeled",
        "unlabelled",
        "unclear",
        "uncertain",
        "unsure",
        "tbd",
        "pending",
        "?",
    }
)
"""Words that, as a label's name, likely mean that nobody has decided."""


def unanswered_names(names: Sequence[str]) -> list[str]:
    """A sentence on labels whose name says that nobody has decided."""
    odd = [name for name in names if name.casefold() in UNANSWERED]
    if not odd:
        return []
    return [
        f"Taken for labels: {', '.join(odd)}; if such rows are not labelled yet, add ?unknown={listed(odd)}."
    ]


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
