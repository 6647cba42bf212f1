"""The labels of a model: their order, groups and rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from labelwise.errors import LabelwiseError
from labelwise.rules.rules import Rules


@dataclass(frozen=True)
class Group:
    """A named set of labels; in an exclusive group an image has at most one of them.

    Args:
        labels: names of labels of the label set.
        exclusive: whether the labels exclude each other.
    """

    labels: tuple[str, ...]
    exclusive: bool = False


@dataclass(frozen=True)
class LabelSet:
    """The labels in a fixed order, which is part of every artefact.

    Args:
        names: distinct, non-empty label names; position is the column in every `[.., L]` array.
        groups: optional named groups of labels.
        rules: constraints on the labels of every image; exclusive groups also count as `at_most_one`.

    Raises:
        LabelwiseError: no names, empty or repeated names, a group or rule with an unknown label, or contradictory
            rules.

    >>> labels = LabelSet(("cat", "dog"))
    >>> labels.index("dog"), len(labels)
    (1, 2)
    """

    names: tuple[str, ...]
    groups: Mapping[str, Group] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not self.names:
            raise LabelwiseError(
                "a label set without labels", "at least one label", "check the label columns"
            )
        seen: set[str] = set()
        for name in self.names:
            if not isinstance(name, str) or not name.strip():
                raise LabelwiseError(f"label name {name!r}", "a non-empty text", "name every label")
            if not is_text(name):
                raise LabelwiseError(f"label name {name!r}", "a name in UTF-8", "rename it")
            if name in seen:
                raise LabelwiseError(
                    f"label {name!r} twice", "distinct label names", "rename or merge one of them"
                )
            seen.add(name)
        for group, members in self.groups.items():
            for name in members.labels:
                if name not in seen:
                    raise LabelwiseError(
                        f"group {group!r} names {name!r}", "labels of this label set", "correct the group"
                    )
        if self.rules:
            self.every_rule.check(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def index(self, name: str) -> int:
        """Column of a label; raises `LabelwiseError` with the known names for an unknown one."""
        try:
            return self.names.index(name)
        except ValueError:
            known = ", ".join(self.names[:8]) + (", ..." if len(self.names) > 8 else "")
            raise LabelwiseError(f"label {name!r}", f"one of: {known}", "correct the name") from None

    @property
    def every_rule(self) -> Rules:
        """The rules, including those of exclusive groups."""
        groups = (tuple(dict.fromkeys(g.labels)) for g in self.groups.values() if g.exclusive)
        exclusive = tuple(labels for labels in groups if len(labels) > 1)
        return self.rules.joined(Rules(at_most_one=exclusive)) if exclusive else self.rules

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        groups = {g: {"labels": list(m.labels), "exclusive": m.exclusive} for g, m in self.groups.items()}
        return {"names": list(self.names), "groups": groups, **self.rules.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelSet:
        """The label set from the data of `to_json`; raises `LabelwiseError` for other data."""
        try:
            if not isinstance(data["names"], list | tuple):
                raise TypeError("names that are no list")
            groups = {
                g: Group(tuple(m["labels"]), bool(m["exclusive"])) for g, m in data.get("groups", {}).items()
            }
            return cls(tuple(data["names"]), groups, Rules.from_json(data))
        except (KeyError, TypeError, AttributeError) as error:
            raise LabelwiseError(
                f"labels in another form ({type(error).__name__}: {error})",
                '{"names": [...], "groups": {...}}',
                "write them again",
            ) from None


def is_text(name: str) -> bool:
    """Whether a name can be written to a file; strings from JSON may hold lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def lacking_and_extra(names: Collection[str], expected: Collection[str]) -> str:
    """The first five labels that are lacking, and those that are not expected, for a message.

    >>> lacking_and_extra(["a", "c"], ["a", "b"]), lacking_and_extra(["b", "a"], ["a", "b"])
    ('lacking: b; extra: c', '')
    """
    present, allowed = set(names), set(expected)
    parts = {
        "lacking": [n for n in expected if n not in present],
        "extra": [n for n in names if n not in allowed],
    }
    return "; ".join(f"{kind}: {', '.join(labels[:5])}" for kind, labels in parts.items() if labels)
