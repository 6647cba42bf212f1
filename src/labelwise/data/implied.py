"""Cells that follow from the rules of a label set, and images whose labels contradict them."""

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
    """An image whose known labels cannot all be right.

    Args:
        row: its number in the data set.
        columns: of the labels that are tied by such rules, ascending.
        reason: one broken rule, for people.
    """

    row: int
    columns: tuple[int, ...]
    reason: str


def with_rules(data: Dataset, rules: Rules, origin: str = "the rules") -> Dataset:
    """The data set under further rules, with every cell known that follows from known ones.

    A present child makes its parents present, an absent parent its children absent; a present label of a group makes
    the others absent, and where all but one of `exactly_one` are absent, that one is present. No known cell changes.
    Shares between 0 and 1 are known, and nothing follows from them. Where an image's labels contradict the rules, the
    labels that those rules tie together stay as they are in it, and a note counts and names such images.

    Args:
        data: the rows.
        rules: beside those that its label set has; exclusive groups of the label set count too.
        origin: where the rules are from, for the note.

    Raises:
        LabelwiseError: a label that does not exist, or rules that cannot all be kept.
    """
    labels = LabelSet(data.labels.names, data.labels.groups, data.labels.rules.joined(rules))
    indexed = labels.every_rule.over(labels.names)
    values, known = data.values.copy(), data.known.copy()
    present = absent = 0
    for part, pos, neg in _closed(data, indexed):
        good = np.ones(pos.shape, bool)
        for some in indexed.components:
            columns = list(some.columns)
            bad = (pos[:, columns] & neg[:, columns]).any(1)
            good[np.ix_(bad, columns)] = False
        fresh = good & ~known[part]
        present += int((fresh & pos).sum())
        absent += int((fresh & neg).sum())
        values[part][fresh & pos] = 1
        known[part] |= fresh & (pos | neg)
    done = replace(data, labels=labels, values=values, known=known)
    note = f"By {origin} {present + absent:,} cells are completed: {present:,} present, {absent:,} absent."
    return done.with_notes(note, *contradiction_notes(done))


def contradictions(data: Dataset) -> Iterator[Contradiction]:
    """The images whose known labels contradict the rules of the label set, in the order of the rows."""
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
    """A sentence that counts the images whose labels contradict the rules and names the first; none without any."""
    found = list(contradictions(data)) if data.labels.rules else []
    if not found:
        return []
    shown = "; ".join(f"{data.image_id(one.row)}: {one.reason}" for one in found[:3])
    more = f"; and {len(found) - 3:,} more" if len(found) > 3 else ""
    images = "1 image contradicts" if len(found) == 1 else f"{len(found):,} images contradict"
    return [f"{images} the rules, and the labels that they tie stay as they are there: {shown}{more}."]


def completion_notes(notes: Sequence[str]) -> list[str]:
    """Those of a data set's notes that say how many cells were completed."""
    return [note for note in notes if note.startswith("By ") and " cells are completed: " in note]


def _hard(data: Dataset, part: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    known, values = data.known[part], data.values[part]
    return known & (values == 1), known & (values == 0)


def _closed(
    data: Dataset, rules: IndexedRules
) -> Iterator[tuple[slice, Bool[np.ndarray, "M L"], Bool[np.ndarray, "M L"]]]:
    """Blocks of rows with all that follows; blocks, so that copies of all cells are never made."""
    for start in range(0, len(data), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(data)))
        yield part, *rules.closure(*_hard(data, part))


def _reason(rules: IndexedRules, yes: np.ndarray, no: np.ndarray, names: tuple[str, ...]) -> str:
    """One rule that an image breaks: a label without what it implies, two of a group, or none of it."""
    above = rules.above
    given = [j for j in rules.columns if yes[j]]
    for j in given:
        lacking = sorted(k for k in above.get(j, ()) if no[k])
        if lacking:
            return f"{names[j]} without {names[lacking[0]]}"
    for group, needed in rules.groups:
        members = set(group)
        brought = {k: j for j in reversed(given) for k in ({j} | above.get(j, set())) & members}
        if len(brought) > 1:
            first, second = sorted(brought)[:2]
            pair = dict.fromkeys((names[brought[first]], names[brought[second]]))
            return " with ".join(pair) if len(pair) > 1 else f"{names[brought[first]]} against itself"
        if needed and all(no[k] or any(no[u] for u in above.get(k, ())) for k in group):
            return f"none of {', '.join(names[k] for k in group)}"
    return "labels that rule each other out: " + ", ".join(names[j] for j in given)
