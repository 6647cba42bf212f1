"""Cells that follow from the rules of a label set, and images with labels that contradict the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from labelwise.data.balance import blocks
from labelwise.data.dataset import Dataset
from labelwise.rules import IndexedRules, Rules
from labelwise.types import LabelSet


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
    for block, is_present, is_absent in _closures(data, indexed):
        consistent = np.ones(is_present.shape, bool)
        for component in indexed.components:
            columns = list(component.columns)
            contradictory = (is_present[:, columns] & is_absent[:, columns]).any(1)
            consistent[np.ix_(contradictory, columns)] = False
        filled = consistent & ~known[block]
        present += int((filled & is_present).sum())
        absent += int((filled & is_absent).sum())
        values[block][filled & is_present] = 1
        known[block] |= filled & (is_present | is_absent)
    completed = replace(data, labels=labels, values=values, known=known)
    note = f"By {origin} {present + absent:,} cells are completed: {present:,} present, {absent:,} absent."
    return completed.with_notes(note, *contradiction_notes(completed))


def contradictions(data: Dataset) -> Iterator[Contradiction]:
    """The images with known labels that contradict the rules of the label set, in the order of the rows."""
    rules = data.labels.every_rule.over(data.labels.names)
    for block, is_present, is_absent in _closures(data, rules):
        start, conflicts = block.start, is_present & is_absent
        for row in np.flatnonzero(conflicts.any(1)).tolist():
            broken = [part for part in rules.components if conflicts[row, list(part.columns)].any()]
            columns = tuple(sorted(j for part in broken for j in part.columns))
            present, absent = (cells[0] for cells in _known_states(data, slice(start + row, start + row + 1)))
            reason = _reason(broken[0], present, absent, data.labels.names)
            yield Contradiction(start + row, columns, reason)


def contradiction_notes(data: Dataset) -> list[str]:
    """A sentence that counts the images with labels that contradict the rules and names the first; none without any."""
    contradicting = list(contradictions(data)) if data.labels.rules else []
    if not contradicting:
        return []
    examples = "; ".join(f"{data.image_id(image.row)}: {image.reason}" for image in contradicting[:3])
    others = f"; and {len(contradicting) - 3:,} more" if len(contradicting) > 3 else ""
    images = "1 image contradicts" if len(contradicting) == 1 else f"{len(contradicting):,} images contradict"
    return [f"{images} the rules, and the labels that these rules connect are unchanged: {examples}{others}."]


def completion_notes(notes: Sequence[str]) -> list[str]:
    """The notes of a data set with the number of completed cells."""
    return [note for note in notes if note.startswith("By ") and " cells are completed: " in note]


def _known_states(data: Dataset, rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the cells that are known and present, and known and absent."""
    known, values = data.known[rows], data.values[rows]
    return known & (values == 1), known & (values == 0)


def _closures(
    data: Dataset, rules: IndexedRules
) -> Iterator[tuple[slice, Bool[np.ndarray, "M L"], Bool[np.ndarray, "M L"]]]:
    """The closure of the known cells in blocks of rows, which avoids a copy of all cells."""
    for block in blocks(data):
        yield block, *rules.closure(*_known_states(data, block))


def _reason(rules: IndexedRules, present: np.ndarray, absent: np.ndarray, names: tuple[str, ...]) -> str:
    """One rule that an image breaks: a label without what it implies, two of a group, or none of it."""
    ancestors = rules.above
    positive = [j for j in rules.columns if present[j]]
    for j in positive:
        missing = sorted(k for k in ancestors.get(j, ()) if absent[k])
        if missing:
            return f"{names[j]} without {names[missing[0]]}"
    for group, exactly_one in rules.groups:
        members = set(group)
        implied_by = {k: j for j in reversed(positive) for k in ({j} | ancestors.get(j, set())) & members}
        if len(implied_by) > 1:
            first, second = sorted(implied_by)[:2]
            pair = dict.fromkeys((names[implied_by[first]], names[implied_by[second]]))
            return " with ".join(pair) if len(pair) > 1 else f"{names[implied_by[first]]} against itself"
        if exactly_one and all(absent[k] or any(absent[u] for u in ancestors.get(k, ())) for k in group):
            return f"none of {', '.join(names[k] for k in group)}"
    return "labels that rule each other out: " + ", ".join(names[j] for j in positive)
