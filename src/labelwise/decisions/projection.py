"""The set of labels that satisfies the rules at the least expected cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np

from labelwise.errors import LabelwiseError
from labelwise.lazy import Bool, Float
from labelwise.rules.indexed import IndexedRules
from labelwise.rules.search import Search

MOST_SETS = 4096
"""Maximum number of sets of connected rules that are compared exhaustively."""
STEPS = 20_000
"""Maximum number of choices that the search for one set of labels tries."""
_CELLS = 1 << 22


@runtime_checkable
class RuleComponent(Protocol):
    """Chooses among the labels of one connected component of rules."""

    columns: tuple[int, ...]

    def choose(self, gain: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
        """A set for each image that satisfies the rules."""

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """The data that another program needs to make the same choice; labels by name."""


class Projection:
    """Sets of labels that satisfy the rules, chosen by the gain of each label.

    If a false positive of label l costs `t_l` and a false negative `1 - t_l`, selecting a label of probability `p_l`
    has the expected gain `g_l = p_l - t_l`. The set that satisfies the rules with the largest sum of `g_l` is chosen:

        argmax over sets S that satisfy the rules of the sum over l in S of (p_l - t_l)

    Without rules that is every label at or above its threshold. The rules are split into components without common
    labels. A component is solved exactly if it is one group (the largest `g_l`), a forest of implications (dynamic
    programming from the leaves up) or has at most 4,096 sets that satisfy it (all are compared). Otherwise a set is
    repaired: labels are decided in order of |g_l|, each by its threshold unless that contradicts earlier decisions.
    Ties between sets go to the one with more labels, then to the one with the first columns.

    Raises:
        LabelwiseError: rules that no set satisfies.
    """

    def __init__(self, rules: IndexedRules) -> None:
        self.rules = rules
        self.parts = tuple(_component(component) for component in rules.components)

    def __call__(self, gain: Float[np.ndarray, "N L"]) -> Bool[np.ndarray, "N L"]:
        """The chosen set of each image.

        Args:
            gain: `p - t` in [-1, 1]; a label with a far lower gain is chosen only if the rules force it.
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
    """The projection of some rules, cached."""
    return Projection(rules)


def _component(rules: IndexedRules) -> RuleComponent:
    """The way to choose among the labels of one connected component of rules."""
    if not rules.implies and len(rules.groups) == 1:
        return OneGroup(*rules.groups[0])
    parent = _forest(rules)
    if parent is not None:
        return Forest(rules.columns, parent)
    search = Search(rules)
    solutions = list(islice(search.solutions(rules.columns, most=STEPS + MOST_SETS), MOST_SETS + 1))
    if not solutions:
        raise LabelwiseError(
            f"rules on the columns {', '.join(map(str, rules.columns[:8]))} that no image keeps",
            "rules that can all be kept",
            "remove one",
        )
    sets = np.array([[state[j] for j in rules.columns] for state in solutions], bool)
    if search.finished and len(solutions) <= MOST_SETS:
        return AllSets(rules.columns, sets)
    return Repair(rules, sets[0])


def _forest(rules: IndexedRules) -> dict[int, int] | None:
    """The parent of each child if the rules are implications that form trees, without those that follow from others."""
    if rules.groups:
        return None
    parents: dict[int, set[int]] = {}
    for child, parent in rules.implies:
        parents.setdefault(child, set()).add(parent)
    direct_parents = {}
    for child, upper in parents.items():
        direct = {p for p in upper if not any(p in rules.above[other] for other in upper if other != p)}
        if len(direct) > 1:
            return None
        direct_parents[child] = direct.pop()
    return direct_parents


class OneGroup:
    """One group of labels: the label of largest gain, or none if no gain is positive and none is required."""

    def __init__(self, columns: tuple[int, ...], needed: bool) -> None:
        self.columns, self.needed = columns, needed

    def choose(self, gain: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
        """See `RuleComponent`."""
        best = np.zeros(gain.shape, bool)
        best[np.arange(len(gain)), gain.argmax(1)] = True
        return best if self.needed else best & (gain >= 0)

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """See `RuleComponent`."""
        return {"group": [names[j] for j in self.columns], "needed": self.needed}


class Forest:
    """Trees of implications: a label's subtree is chosen if its labels have a positive gain together.

    `v_l = g_l + sum over children c of max(0, v_c)`; a label is chosen if its parent is and `v_l >= 0`.
    """

    def __init__(self, columns: tuple[int, ...], parent: dict[int, int]) -> None:
        self.columns = columns
        index = {j: i for i, j in enumerate(columns)}
        depth: dict[int, int] = {}
        for j in columns:
            path = [j]
            while path[-1] in parent and path[-1] not in depth:
                path.append(parent[path[-1]])
            start = depth.get(path[-1], 0)
            depth |= {k: start + i for i, k in enumerate(reversed(path))}
        top_down = sorted(columns, key=lambda j: depth[j])
        self._parent = {index[child]: index[upper] for child, upper in parent.items()}
        self._top_down = [index[j] for j in top_down]

    def choose(self, gain: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
        """See `RuleComponent`."""
        value = gain.copy()
        for i in reversed(self._top_down):
            if i in self._parent:
                value[:, self._parent[i]] += np.maximum(value[:, i], 0)
        chosen = value >= 0
        for i in self._top_down:
            if i in self._parent:
                chosen[:, i] &= chosen[:, self._parent[i]]
        return chosen

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """See `RuleComponent`."""
        name = [names[j] for j in self.columns]
        top_down = [[name[i], name[self._parent[i]] if i in self._parent else None] for i in self._top_down]
        return {"forest": top_down}


class AllSets:
    """All sets that satisfy the rules; the one of largest gain is chosen."""

    def __init__(self, columns: tuple[int, ...], sets: Bool[np.ndarray, "S C"]) -> None:
        order = np.lexsort((*(~sets.T[::-1]), -sets.sum(1)))
        self.columns, self._sets = columns, sets[order]

    def choose(self, gain: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
        """See `RuleComponent`."""
        weights = self._sets.T.astype(np.float64)
        step = max(1, _CELLS // len(self._sets))
        best = [(gain[i : i + step] @ weights).argmax(1) for i in range(0, len(gain), step)]
        return self._sets[np.concatenate(best)]

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """See `RuleComponent`."""
        return {
            "labels": [names[j] for j in self.columns],
            "sets": [np.flatnonzero(members).tolist() for members in self._sets],
        }


class Repair:
    """Rules with too many sets to compare: a set is built label by label, those of the largest |gain| first."""

    def __init__(self, rules: IndexedRules, fallback: Bool[np.ndarray, " C"]) -> None:
        self.columns, self._fallback = rules.columns, fallback
        self._search = Search(rules)

    def choose(self, gain: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
        """See `RuleComponent`; if the search runs out of steps, the same valid set for every image."""
        chosen = np.empty(gain.shape, bool)
        for row, gains in enumerate(gain):
            order = np.argsort(-np.abs(gains), kind="stable")
            preferred = [bool(gains[i] >= 0) for i in order]
            state = next(self._search.solutions([self.columns[i] for i in order], preferred, STEPS), None)
            chosen[row] = self._fallback if state is None else [state[j] for j in self.columns]
        return chosen

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """See `RuleComponent`; another program does not change the decisions of these labels."""
        return {"kept": [names[j] for j in self.columns]}
