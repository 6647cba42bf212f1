"""Rules by column: tests of label sets, and inference from known cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from labelwise.errors import LabelwiseError
from labelwise.lazy import Bool
from labelwise.rules.search import Search

STEPS = 100_000
"""Largest number of decisions in the search for one set of labels."""


@dataclass(frozen=True)
class IndexedRules:
    """Rules on the columns of a label table; built by `Rules.over`.

    Args:
        size: L.
        implies: (child, parent) columns, without a cycle.
        exactly_one: columns of each group.
        at_most_one: likewise.
    """

    size: int
    implies: tuple[tuple[int, int], ...] = ()
    exactly_one: tuple[tuple[int, ...], ...] = ()
    at_most_one: tuple[tuple[int, ...], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self.implies or self.exactly_one or self.at_most_one)

    @property
    def groups(self) -> tuple[tuple[tuple[int, ...], bool], ...]:
        """Columns of each group, and whether one of them must be present."""
        exact, loose = ((group, True) for group in self.exactly_one), ((g, False) for g in self.at_most_one)
        return (*exact, *loose)

    @cached_property
    def components(self) -> tuple[IndexedRules, ...]:
        """The rules split into parts without common labels; columns are those of the whole table."""
        root = list(range(self.size))

        def find(j: int) -> int:
            while root[j] != j:
                root[j] = root[root[j]]
                j = root[j]
            return j

        entries = (*self.implies, *self.exactly_one, *self.at_most_one)
        for entry in entries:
            for j in entry[1:]:
                root[find(j)] = find(entry[0])
        parts: dict[int, tuple[list, list, list]] = {}
        for kind, rules in enumerate((self.implies, self.exactly_one, self.at_most_one)):
            for entry in rules:
                if len(entry) > 1 or kind == 1:
                    parts.setdefault(find(entry[0]), ([], [], []))[kind].append(entry)
        return tuple(IndexedRules(self.size, *map(tuple, part)) for part in parts.values())

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """Columns that occur in a rule, ascending."""
        entries = (*self.implies, *self.exactly_one, *self.at_most_one)
        return tuple(sorted({j for entry in entries for j in entry}))

    @cached_property
    def ordered(self) -> tuple[tuple[int, int], ...]:
        """The implications, sorted so that those of a label come before those of its ancestors."""
        parents: dict[int, list[int]] = {}
        for child, parent in self.implies:
            parents.setdefault(child, []).append(parent)
        height: dict[int, int] = {}
        stack = list(parents)
        while stack:
            j = stack[-1]
            waiting = [k for k in parents.get(j, ()) if k not in height]
            if waiting:
                stack += waiting
                continue
            height[j] = max((height[k] + 1 for k in parents.get(j, ())), default=0)
            stack.pop()
        return tuple(sorted(self.implies, key=lambda pair: -height[pair[0]]))

    @cached_property
    def above(self) -> dict[int, set[int]]:
        """For each label of an implication, all labels that it implies."""
        ancestors: dict[int, set[int]] = {}
        for child, parent in reversed(self.ordered):
            ancestors.setdefault(parent, set())
            ancestors.setdefault(child, set()).update({parent}, ancestors[parent])
        return ancestors

    def kept(self, sets: Bool[np.ndarray, "N L"]) -> Bool[np.ndarray, " N"]:
        """Whether each set of labels satisfies every rule."""
        good = np.ones(len(sets), bool)
        for child, parent in self.implies:
            good &= sets[:, parent] | ~sets[:, child]
        for group, needed in self.groups:
            count = sets[:, list(group)].sum(1)
            good &= (count == 1) if needed else (count <= 1)
        return good

    def check(self, names: Sequence[str]) -> None:
        """Refuse rules under which a label could never be present, or that no set of labels satisfies.

        Raises:
            LabelwiseError: with the label, or the labels of such rules.
        """
        for part in self.components:
            search = Search(part)
            for j in part.columns:
                if not search.possible(j):
                    raise LabelwiseError(
                        f"rules under which {names[j]!r} can never be present",
                        "rules that can all be kept",
                        "remove one on that label, or on those that it implies",
                    )
            if not next(search.solutions(part.columns, most=STEPS), None):
                few = ", ".join(names[j] for j in part.columns[:8])
                raise LabelwiseError(
                    f"rules on {few} that no image keeps{'' if search.finished else ', as far as was searched'}",
                    "rules that can all be kept",
                    "remove one",
                )

    def closure(
        self, present: Bool[np.ndarray, "N L"], absent: Bool[np.ndarray, "N L"]
    ) -> tuple[Bool[np.ndarray, "N L"], Bool[np.ndarray, "N L"]]:
        """Present and absent cells that follow from known cells; rules are applied until nothing changes.

        In a row that contradicts the rules, some cell of the contradiction is both present and absent.
        """
        pos, neg, before = present.copy(), absent.copy(), -1
        while before != (before := int(pos.sum()) + int(neg.sum())):
            for child, parent in self.ordered:
                pos[:, parent] |= pos[:, child]
            for child, parent in reversed(self.ordered):
                neg[:, child] |= neg[:, parent]
            for group, needed in self.groups:
                columns = list(group)
                yes, no = pos[:, columns], neg[:, columns]
                count = yes.sum(1)[:, None]
                neg[:, columns] = no | ((count == 1) & ~yes) | (count > 1)
                if needed:
                    left = len(columns) - no.sum(1)[:, None]
                    pos[:, columns] = yes | ((left == 1) & ~no) | (left == 0)
        return pos, neg
