"""Rare labels: labels with too few positives for their figures to be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

FEWEST = 10
"""A label with fewer known positives than this in a split is rare in that split."""
_LISTED = 10


def rare_labels(positives: Mapping[str, float]) -> dict[str, int]:
    """The rare labels among these, with their numbers of known positives, fewest first.

    Args:
        positives: known positives of each label in a split.

    >>> rare_labels({"dog": 40, "elephant": 3, "fox": 0})
    {'fox': 0, 'elephant': 3}
    """
    rare = ((name, int(count)) for name, count in positives.items() if count < FEWEST)
    return dict(sorted(rare, key=lambda item: item[1]))


def format_rare(rare: Mapping[str, int]) -> str:
    """Rare labels as text, each with its positives; at most ten names.

    >>> format_rare({"fox": 0, "elephant": 3})
    'fox (0), elephant (3)'
    """
    return format_names(f"{name} ({count:,})" for name, count in rare.items())


def format_names(names: Iterable[str]) -> str:
    """Names as text, at most ten of them.

    >>> format_names(f"x{i}" for i in range(12)).endswith("x9 and 2 more")
    True
    """
    listed = list(names)
    ending = f" and {len(listed) - _LISTED:,} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + ending
