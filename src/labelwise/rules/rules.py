"""Rules by label name: implications, and groups of mutually exclusive labels."""

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
    """Rules on labels that hold for every image.

    Args:
        implies: (child, parent); if the child is present, so is the parent.
        exactly_one: groups of which exactly one label is present.
        at_most_one: groups of which at most one label is present.

    Raises:
        LabelwiseError: implications in a cycle, a group with fewer than two labels, or a repeated label in a group.

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
            # The sorter lists parents first; the message lists children first.
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
        """Every label of a rule, once."""
        entries = (*self.implies, *self.exactly_one, *self.at_most_one)
        return tuple(dict.fromkeys(name for entry in entries for name in entry))

    def check(self, names: Sequence[str]) -> None:
        """Refuse rules that do not fit these labels or contradict each other.

        Raises:
            LabelwiseError: an unknown label, a label that could never be present, or no set of labels that satisfies
                every rule.
        """
        known = set(names)
        for name in self.names:
            if name not in known:
                few = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
                raise LabelwiseError(f"a rule on the label {name!r}", f"one of: {few}", "correct the rules")
        self.over(names).check(names)

    def over(self, names: Sequence[str]) -> IndexedRules:
        """The rules by column of these labels, which must include all labels of the rules."""
        column = {name: j for j, name in enumerate(names)}

        def columns(entries: Iterable[Sequence[str]]) -> tuple[tuple[int, ...], ...]:
            return tuple(tuple(column[name] for name in entry) for entry in entries)

        pairs = tuple((child, parent) for child, parent in columns(self.implies))
        return IndexedRules(len(names), pairs, columns(self.exactly_one), columns(self.at_most_one))

    def among(self, names: Iterable[str]) -> Rules:
        """The rules restricted to some of the labels.

        A child implies the ancestors of a removed parent; a group with removed labels becomes an at-most-one group.
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
        """The union of both rules."""
        return Rules(*((*getattr(self, kind), *getattr(other, kind)) for kind in KINDS))

    def _parents(self) -> dict[str, list[str]]:
        parents: dict[str, list[str]] = {}
        for child, parent in self.implies:
            parents.setdefault(child, []).append(parent)
        return parents

    def to_json(self) -> dict[str, Any]:
        """Plain data in the format of a rule file, without empty kinds."""
        groups = {kind: [list(group) for group in getattr(self, kind)] for kind in KINDS[1:]}
        return {kind: rules for kind, rules in {"implies": self._parents(), **groups}.items() if rules}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rules:
        """The rules in a mapping with `implies`, `exactly_one` and `at_most_one`; other keys are ignored.

        Args:
            data: `implies` maps a label to one label or a list; the others are lists of lists of labels.

        Raises:
            LabelwiseError: data of another format, or invalid rules.
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


def _sequence(kind: str, data: Any) -> Sequence[Any]:
    if not isinstance(data, list | tuple):
        raise _form(kind, "lists of labels")
    return data


def _names(kind: str, data: Any) -> Sequence[str]:
    for name in _sequence(kind, data):
        if not isinstance(name, str) or not name:
            raise _form(kind, "labels by name")
    return data


def _form(kind: str, expected: str) -> LabelwiseError:
    return LabelwiseError(f"rules with {kind} in another form", expected, "see docs/rules.md")
