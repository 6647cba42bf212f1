"""Cells that follow from the rules of a label set, and images with labels that contradict the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from labelwise.data.dataset import Dataset
from labelwise.rules import IndexedRules, Rules
from labelwise.types import LabelSet

_BLOCK = 65536  # rows


@dataclass(frozen=True)
class Contradiction:
    """An image with known labels that cannot all be correct.

    Args:
        row: its number in the data set.
        columns: of the labels that the broken rules connect, ascending.
        reason: one broken rule, as text.
    """

    row: int
    columns: tuple[int, ...]
    reason: str


def with_rules(data: Dataset, rules: Rules, origin: str = "the rules") -> Dataset:
    """The data set with additional rules and with every cell filled in that follows from known ones.

    A present child makes its parents present, an absent parent its children absent; a present label of a group makes
    the others absent, and where all but one of `exactly_one` are absent, that one is present. No known cell changes.
    Values between 0 and 1 are known, and nothing follows from them. Where the labels of an image contradict the rules,
    the labels that those rules connect are unchanged in it, and a note counts and names such images.

    Args:
        data: the rows.
        rules: in addition to those of its label set; exclusive groups of the label set count too.
        origin: of the rules, for the note.

    Raises:
        LabelwiseError: an unknown label, or rules that cannot all hold.
    """
    labels = LabelSet(data.labels.names, data.labels.groups, data.labels.rules.joined(rules))
    indexed = labels.every_rule.over(labels.names)
    values, known = data.values.copy(), data.known.copy()
    present = absent = 0
    for part, pos, neg in _closed(data, indexed):
        good = np.ones(pos.shape, bool)
        for component in indexed.components:
            columns = list(component.columns)
            bad = (pos[:, columns] & neg[:, columns]).any(1)
            good[np.ix_(bad, columns)] = False
        new = good & ~known[part]
        present += int((new & pos).sum())
        absent += int((new & neg).sum())
        values[part][new & pos] = 1
        known[part] |= new & (pos | neg)
    completed = replace(data, labels=labels, values=values, known=known)
    note = f"By {origin} {present + absent:,} cells are completed: {present:,} present, {absent:,} absent."
    return completed.with_notes(note, *contradiction_notes(completed))


def contradictions(data: Dataset) -> Iterator[Contradiction]:
    """The images with known labels that contradict the rules of the label set, in the order of the rows."""
    rules = data.labels.every_rule.over(data.labels.names)
    start = 0
    for _, pos, neg in _closed(data, rules):
        both = pos & neg
        for row in np.flatnonzero(both.any(1)).tolist():
            parts = [part for part in rules.components if both[row, list(part.columns)].any()]
            columns = tuple(sorted(j for part in parts for j in part.columns))
            yes, no = (cells[0] for cells in _hard(data, slice(start + row, start + row + 1)))
            reason = _reason(parts[0], yes, no, data.labels.names)
            yield Contradiction(start + row, columns, reason)
        start += len(pos)


def contradiction_notes(data: Dataset) -> list[str]:
    """A sentence that counts the images with labels that contradict the rules and names the first; none without any."""
    broken = list(contradictions(data)) if data.labels.rules else []
    if not broken:
        return []
    shown = "; ".join(f"{data.image_id(image.row)}: {image.reason}" for image in broken[:3])
    more = f"; and {len(broken) - 3:,} more" if len(broken) > 3 else ""
    images = "1 image contradicts" if len(broken) == 1 else f"{len(broken):,} images contradict"
    return [f"{images} the rules, and the labels that these rules connect are unchanged: {shown}{more}."]


def completion_notes(notes: Sequence[str]) -> list[str]:
    """The notes of a data set with the number of completed cells."""
    return [note for note in notes if note.startswith("By ") and " cells are completed: " in note]


def _hard(data: Dataset, part: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    known, values = data.known[part], data.values[part]
    return known & (values == 1), known & (values == 0)


def _closed(
    data: Dataset, rules: IndexedRules
) -> Iterator[tuple[slice, Bool[np.ndarray, "M L"], Bool[np.ndarray, "M L"]]]:
    """The closure of the known cells in blocks of rows, which avoids a copy of all cells."""
    for start in range(0, len(data), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(data)))
        yield part, *rules.closure(*_hard(data, part))


def _reason(rules: IndexedRules, yes: np.ndarray, no: np.ndarray, names: tuple[str, ...]) -> str:
    """One rule that an image breaks: a label without what it implies, two of a group, or none of it."""
    above = rules.above
    given = [j for j in rules.columns if yes[j]]
    for j in given:
        missing = sorted(k for k in above.get(j, ()) if no[k])
        if missing:
            return f"{names[j]} without {names[missing[0]]}"
    for group, exactly_one in rules.groups:
        members = set(group)
        implied_by = {k: j for j in reversed(given) for k in ({j} | above.get(j, set())) & members}
        if len(implied_by) > 1:
            first, second = sorted(implied_by)[:2]
            pair = dict.fromkeys((names[implied_by[first]], names[implied_by[second]]))
            return " with ".join(pair) if len(pair) > 1 else f"{names[implied_by[first]]} against itself"
        if exactly_one and all(no[k] or any(no[u] for u in above.get(k, ())) for k in group):
            return f"none of {', '.join(names[k] for k in group)}"
    return "labels that rule each other out: " + ", ".join(names[j] for j in given)
