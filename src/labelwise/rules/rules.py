"""Rules by label name: what follows from a label, and which labels rule each other out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from labelwise.errors import LabelwiseError
from labelwise.rules.indexed import IndexedRules

KINDS = ("implies", "exactly_one", "at_most_one")
Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Rules:
    """Rules over labels, all of which hold for every image.

    Args:
        implies: (child, parent); where the child is present, so is the parent.
        exactly_one: groups of which one label is present, and no other.
        at_most_one: groups of which no two labels are present together.

    Raises:
        LabelwiseError: implications in a cycle, a group with fewer than two labels, or a label twice in a group.

    >>> Rules(implies=(("dog", "animal"), ("animal", "dog")))
    Traceback (most recent call last):
    ...
    labelwise.errors.LabelwiseError: rules in a cycle: dog, animal, dog; expected implications that end; remove one
    >>> bool(Rules()), bool(Rules(at_most_one=(("cat", "dog"),)))
    (False, True)
    """

    implies: tuple[tuple[str, str], ...] = ()
    exactly_one: Groups = ()
    at_most_one: Groups = ()

    def __post_init__(self) -> None:
        for kind in KINDS:
            entries = dict.fromkeys(tuple(entry) for entry in getattr(self, kind))
            object.__setattr__(self, kind, tuple(entries))
        sorter: TopologicalSorter[str] = TopologicalSorter()
        for child, parent in self.implies:
            sorter.add(child, parent)
        try:
            sorter.prepare()
        except CycleError as error:
            # The sorter goes from parent to child; people read from child to parent.
            around = ", ".join(reversed(error.args[1]))
            raise LabelwiseError(
                f"rules in a cycle: {around}", "implications that end", "remove one"
            ) from None
        for kind in KINDS[1:]:
            for group in getattr(self, kind):
                if len(set(group)) < max(2, len(group)):
                    raise LabelwiseError(
                        f"{kind} of {', '.join(group) or 'no label'}",
                        "two or more distinct labels",
                        "correct the rule",
                    )

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self.implies or self.exactly_one or self.at_most_one)

    @property
    def names(self) -> tuple[str, ...]:
        """Every label that a rule names, once."""
        entries = (*self.implies, *self.exactly_one, *self.at_most_one)
        return tuple(dict.fromkeys(name for entry in entries for name in entry))

    def check(self, names: Sequence[str]) -> None:
        """Refuse rules that these labels cannot keep.

        Raises:
            LabelwiseError: a label that is none of them, one that could never be present, or no set of labels that
                keeps every rule.
        """
        known = set(names)
        for name in self.names:
            if name not in known:
                few = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
                raise LabelwiseError(f"a rule on the label {name!r}", f"one of: {few}", "correct the rules")
        self.over(names).check(names)

    def over(self, names: Sequence[str]) -> IndexedRules:
        """The rules by column of these labels, each of which they name must be there."""
        column = {name: j for j, name in enumerate(names)}

        def columns(entries: Iterable[Sequence[str]]) -> tuple[tuple[int, ...], ...]:
            return tuple(tuple(column[name] for name in entry) for entry in entries)

        pairs = tuple((child, parent) for child, parent in columns(self.implies))
        return IndexedRules(len(names), pairs, columns(self.exactly_one), columns(self.at_most_one))

    def among(self, names: Iterable[str]) -> Rules:
        """What the rules say of some of the labels alone.

        A child implies what stands above a parent that is left out; of a group that lost labels at most one is present.
        """
        kept = set(names)
        parents = self._parents()

        def above(name: str, seen: set[str]) -> Iterable[str]:
            for parent in parents.get(name, ()):
                if parent not in seen:
                    seen.add(parent)
                    yield from (parent,) if parent in kept else above(parent, seen)

        pairs = tuple((child, parent) for child in parents if child in kept for parent in above(child, set()))
        exact = tuple(group for group in self.exactly_one if kept.issuperset(group))
        rest = [group for group in self.exactly_one if not kept.issuperset(group)]
        loose = [tuple(name for name in group if name in kept) for group in (*self.at_most_one, *rest)]
        return Rules(pairs, exact, tuple(group for group in loose if len(group) > 1))

    def joined(self, other: Rules) -> Rules:
        """The rules of both."""
        return Rules(*((*getattr(self, kind), *getattr(other, kind)) for kind in KINDS))

    def _parents(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for child, parent in self.implies:
            found.setdefault(child, []).append(parent)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data in the form of a rule file, without kinds that are empty."""
        groups = {kind: [list(group) for group in getattr(self, kind)] for kind in KINDS[1:]}
        return {kind: found for kind, found in {"implies": self._parents(), **groups}.items() if found}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rules:
        """The rules in a mapping with `implies`, `exactly_one` and `at_most_one`; other keys are left alone.

        Args:
            data: `implies` maps a label to one or to a list; the others are lists of lists of labels.

        Raises:
            LabelwiseError: data of another form, or rules that cannot be.
        """
        implies = data.get("implies") or {}
        if not isinstance(implies, Mapping):
            raise _form("implies", "a mapping of a label to what it implies")
        pairs = []
        for child, parents in implies.items():
            listed = [parents] if isinstance(parents, str) else parents
            pairs += [
                (child, parent) for parent in _names("implies", [child, *_sequence("implies", listed)])[1:]
            ]
        groups = {
            kind: tuple(tuple(_names(kind, group)) for group in _sequence(kind, data.get(kind) or []))
            for kind in KINDS[1:]
        }
        return cls(tuple(pairs), **groups)


def _sequence(kind: str, found: Any) -> Sequence[Any]:
    if not isinstance(found, list | tuple):
        raise _form(kind, "lists of labels")
    return found


def _names(kind: str, found: Any) -> Sequence[str]:
    for name in _sequence(kind, found):
        if not isinstance(name, str) or not name:
            raise _form(kind, "labels by name")
    return found


def _form(kind: str, expected: str) -> LabelwiseError:
    return LabelwiseError(f"rules with {kind} in another form", expected, "see docs/rules.md")
