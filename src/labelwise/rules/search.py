"""Backtracking search for sets of labels that satisfy the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labelwise.rules.indexed import IndexedRules


class Search:
    """Depth-first search over the labels of some rules.

    Each choice is propagated at once: to parents of present labels, children of absent labels, the other labels of a
    group with a present label, and the last label of a group that needs one.

    Args:
        rules: the rules; labels outside of them are not searched.

    After a search, `finished` is false if it stopped at its largest number of steps.
    """

    def __init__(self, rules: IndexedRules) -> None:
        self._parents: dict[int, list[int]] = {}
        self._children: dict[int, list[int]] = {}
        for child, parent in rules.implies:
            self._parents.setdefault(child, []).append(parent)
            self._children.setdefault(parent, []).append(child)
        self._groups = rules.groups
        self._groups_of: dict[int, list[int]] = {}
        for g, (members, _) in enumerate(self._groups):
            for j in members:
                self._groups_of.setdefault(j, []).append(g)
        self.finished = True
        self._clear()

    def _clear(self) -> None:
        self._state: dict[int, bool] = {}
        self._trail: list[int] = []
        self._yes = [0] * len(self._groups)
        self._no = [0] * len(self._groups)

    def possible(self, label: int) -> bool:
        """Whether a label can be present without a contradiction by propagation."""
        self._clear()
        return self._assign(label, True)

    def solutions(
        self, order: Sequence[int], wants: Sequence[bool] | None = None, most: int = 1 << 30
    ) -> Iterator[dict[int, bool]]:
        """Yield states of all labels that satisfy every rule, the preferred ones first.

        Args:
            order: columns in the order of the search.
            wants: for each column the state to try first; present by default.
            most: largest number of choices to try.
        """
        self._clear()
        wants = [True] * len(order) if wants is None else wants
        # Of each choice: length of the trail before it, its position in the order, whether it is the last try.
        choices: list[tuple[int, int, bool]] = []
        place, steps, self.finished = 0, 0, False
        while True:
            while place < len(order) and order[place] in self._state:
                place += 1
            if place < len(order):
                steps += 1
                mark = len(self._trail)
                if self._assign(order[place], wants[place]):
                    choices.append((mark, place, False))
                    continue
                if self._assign(order[place], not wants[place]):
                    choices.append((mark, place, True))
                    continue
            else:
                yield dict(self._state)
            while choices:
                mark, place, last = choices.pop()
                self._undo(mark)
                steps += 1
                if not last and self._assign(order[place], not wants[place]):
                    choices.append((mark, place, True))
                    break
            else:
                self.finished = True
                return
            if steps > most:
                return

    def _assign(self, label: int, value: bool) -> bool:
        """Set a label's state and propagate it; undone and `False` if there is a contradiction."""
        mark, queue = len(self._trail), [(label, value)]
        while queue:
            j, state = queue.pop()
            if j in self._state:
                if self._state[j] != state:
                    self._undo(mark)
                    return False
                continue
            self._state[j] = state
            self._trail.append(j)
            relatives = self._parents if state else self._children
            queue += [(k, state) for k in relatives.get(j, ())]
            groups = self._groups_of.get(j, ())
            for g in groups:
                (self._yes if state else self._no)[g] += 1
            for g in groups:
                members, needed = self._groups[g]
                if state:
                    queue += [(k, False) for k in members if k != j]
                elif needed and not self._yes[g] and self._no[g] >= len(members) - 1:
                    if self._no[g] == len(members):
                        self._undo(mark)
                        return False
                    queue += [(k, True) for k in members if k not in self._state]
        return True

    def _undo(self, mark: int) -> None:
        for j in self._trail[mark:]:
            state = self._state.pop(j)
            for g in self._groups_of.get(j, ()):
                (self._yes if state else self._no)[g] -= 1
        del self._trail[mark:]
