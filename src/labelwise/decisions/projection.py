"""The set of labels that keeps the rules at the least expected cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from labelwise.errors import LabelwiseError
from labelwise.rules import IndexedRules, Search

MOST_SETS = 4096
"""Sets of labels of tied rules that are compared one by one."""
STEPS = 20_000
"""Choices that the search for one set of labels tries."""
_CELLS = 1 << 22


@runtime_checkable
class Part(Protocol):
    """Chooses among the labels of rules that are tied together."""

    columns: tuple[int, ...]

    def choose(self, gain: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
        """A set for each image that keeps the rules."""

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """What another program needs to choose alike; labels by name."""


class Projection:
    """Sets of labels that keep the rules, chosen by what each label gains.

    With false positives of label l costing `t_l` and false negatives `1 - t_l`, to select a label of probability `p_l`
    is expected to save `g_l = p_l - t_l`. The set that keeps the rules with the largest sum of `g_l` is chosen:

        argmax over sets S that keep the rules of the sum over l in S of (p_l - t_l)

    Without rules that is every label at or over its threshold. Rules that share no label are parted, and each part is
    solved exactly where it is one group (the largest `g_l`), a forest of implications (dynamic programming from the
    leaves up) or has at most 4,096 sets that keep it (all are compared). Else a set is repaired: labels are taken in
    order of |g_l|, each as its threshold has it unless that contradicts what is taken already. Sets at equal sums: the
    one with more labels, then the one with the first columns.

    Args:
        rules: of the columns.

    Raises:
        LabelwiseError: rules that no set keeps.
    """

    def __init__(self, rules: IndexedRules) -> None:
        self.rules = rules
        self.parts = tuple(_part(part) for part in rules.components)

    def __call__(self, gain: Float[np.ndarray, "N L"]) -> Bool[np.ndarray, "N L"]:
        """The chosen set of each image.

        Args:
            gain: `p - t` in [-1, 1]; a label far below is chosen only where the rules force it.
        """
        chosen = gain >= 0
        for part, rules in zip(self.parts, self.rules.components, strict=True):
            rows = np.flatnonzero(~rules.kept(chosen))
            if len(rows):
                cells = np.ix_(rows, np.array(part.columns))
                chosen[cells] = part.choose(gain[cells])
        return chosen


@lru_cache(maxsize=16)
def projection(rules: IndexedRules) -> Projection:
    """The projection of some rules; the same ones are not worked out twice."""
    return Projection(rules)


def _part(rules: IndexedRules) -> Part:
    if not rules.implies and len(rules.groups) == 1:
        return OneGroup(*rules.groups[0])
    parent = _forest(rules)
    if parent is not None:
        return Forest(rules.columns, parent)
    search = Search(rules)
    found = list(islice(search.solutions(rules.columns, most=STEPS + MOST_SETS), MOST_SETS + 1))
    if not found:
        raise LabelwiseError(
            f"rules on the columns {', '.join(map(str, rules.columns[:8]))} that no image keeps",
            "rules that can all be kept",
            "remove one",
        )
    sets = np.array([[state[j] for j in rules.columns] for state in found], bool)
    if search.finished and len(found) <= MOST_SETS:
        return AllSets(rules.columns, sets)
    return Repair(rules, sets[0])


def _forest(rules: IndexedRules) -> dict[int, int] | None:
    """The parent of each child where implications alone make trees; those that follow from others are left out."""
    if rules.groups:
        return None
    parents: dict[int, set[int]] = {}
    for child, parent in rules.implies:
        parents.setdefault(child, set()).add(parent)
    found = {}
    for child, upper in parents.items():
        direct = {p for p in upper if not any(p in rules.above[other] for other in upper if other != p)}
        if len(direct) > 1:
            return None
        found[child] = direct.pop()
    return found


class OneGroup:
    """One group of labels: the one of largest gain, or none where none gains and none is needed."""

    def __init__(self, columns: tuple[int, ...], needed: bool) -> None:
        self.columns, self._needed = columns, needed

    def choose(self, gain: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
        """See `Part`."""
        best = np.zeros(gain.shape, bool)
        best[np.arange(len(gain)), gain.argmax(1)] = True
        return best if self._needed else best & (gain >= 0)

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """See `Part`."""
        return {"group": [names[j] for j in self.columns], "needed": self._needed}


class Forest:
    """Trees of implications: a label's subtree is taken where its labels gain together.

    `v_l = g_l + sum over children c of max(0, v_c)`; a label is chosen where its parent is and `v_l >= 0`.
    """

    def __init__(self, columns: tuple[int, ...], parent: dict[int, int]) -> None:
        self.columns = columns
        place = {j: i for i, j in enumerate(columns)}
        depth: dict[int, int] = {}
        for j in columns:
            path = [j]
            while path[-1] in parent and path[-1] not in depth:
                path.append(parent[path[-1]])
            start = depth.get(path[-1], 0)
            depth |= {k: start + i for i, k in enumerate(reversed(path))}
        down = sorted(columns, key=lambda j: depth[j])
        self._parent = {place[child]: place[upper] for child, upper in parent.items()}
        self._down = [place[j] for j in down]

    def choose(self, gain: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
        """See `Part`."""
        value = gain.copy()
        for i in reversed(self._down):
            if i in self._parent:
                value[:, self._parent[i]] += np.maximum(value[:, i], 0)
        chosen = value >= 0
        for i in self._down:
            if i in self._parent:
                chosen[:, i] &= chosen[:, self._parent[i]]
        return chosen

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """See `Part`."""
        name = [names[j] for j in self.columns]
        down = [[name[i], name[self._parent[i]] if i in self._parent else None] for i in self._down]
        return {"forest": down}


class AllSets:
    """Every set that keeps the rules, of which the one of largest gain is chosen."""

    def __init__(self, columns: tuple[int, ...], sets: Bool[np.ndarray, "S C"]) -> None:
        order = np.lexsort((*(~sets.T[::-1]), -sets.sum(1)))
        self.columns, self._sets = columns, sets[order]

    def choose(self, gain: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
        """See `Part`."""
        weights = self._sets.T.astype(np.float64)
        step = max(1, _CELLS // len(self._sets))
        best = [(gain[i : i + step] @ weights).argmax(1) for i in range(0, len(gain), step)]
        return self._sets[np.concatenate(best)]

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """See `Part`."""
        return {
            "labels": [names[j] for j in self.columns],
            "sets": [np.flatnonzero(one).tolist() for one in self._sets],
        }


class Repair:
    """Rules with too many sets to compare: a set is made label by label, those of the largest |gain| first."""

    def __init__(self, rules: IndexedRules, some: Bool[np.ndarray, " C"]) -> None:
        self.columns, self._some = rules.columns, some
        self._search = Search(rules)

    def choose(self, gain: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
        """See `Part`; where the search is given up, one set that keeps the rules, the same for every image."""
        chosen = np.empty(gain.shape, bool)
        for row, one in enumerate(gain):
            order = np.argsort(-np.abs(one), kind="stable")
            wants = [bool(one[i] >= 0) for i in order]
            state = next(self._search.solutions([self.columns[i] for i in order], wants, STEPS), None)
            chosen[row] = self._some if state is None else [state[j] for j in self.columns]
        return chosen

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """See `Part`; another program leaves these labels as they were decided."""
        return {"kept": [names[j] for j in self.columns]}
