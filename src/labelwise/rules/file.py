"""Rule files: YAML or JSON with `implies`, `exactly_one` and `at_most_one`, or the hierarchy of Open Images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from labelwise.errors import LabelwiseError, first_line
from labelwise.rules.rules import KINDS, Rules

DEEPEST = 4
"""Levels of a rule file."""


def read_rules(file: Path, names: Sequence[str]) -> Rules:
    """The rules of a file for these labels.

    A hierarchy may have more labels than the data set: the others are removed, and their ancestors are implied
    directly. In every other file only the given labels are allowed.

    Args:
        file: `.json`, or else YAML.
        names: of the labels.

    Raises:
        LabelwiseError: no such file, another format, an unknown label, a cycle, or contradictory rules, each with the
            name of the file.
    """
    try:
        text = Path(file).read_text("utf-8-sig")
        data = _json(text) if Path(file).suffix.lower() == ".json" else _yaml(text)
    except OSError as error:
        raise LabelwiseError(f"{file}: {error.strerror}", "a file of rules", "check the path") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise LabelwiseError(f"{file}: {first_line(error)}", "YAML or JSON", "correct the file") from None
    try:
        if isinstance(data, Mapping) and "LabelName" in data:
            return _hierarchy(data, names)
        return _rules(data, names)
    except LabelwiseError as error:
        raise LabelwiseError(f"{file}: {error.given}", error.expected, error.todo) from None


def ancestors_of(tree: Mapping[str, Any]) -> dict[str, list[str]]:
    """All ancestors of each label in a hierarchy of Open Images, without the root, which every image would have.

    Raises:
        KeyError, TypeError, AttributeError: a tree of another format.
        RecursionError: a tree that is too deep.
    """
    above: dict[str, set[str]] = {}

    def collect(node: Mapping[str, Any], path: tuple[str, ...]) -> None:
        name = str(node["LabelName"])
        above.setdefault(name, set()).update(path)
        for child in node.get("Subcategory", ()):
            collect(child, (*path, name))

    collect(tree, ())
    root = str(tree["LabelName"])
    return {name: sorted(upper - {root, name}) for name, upper in above.items() if name != root}


def _hierarchy(tree: Mapping[str, Any], names: Sequence[str]) -> Rules:
    try:
        above = ancestors_of(tree)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LabelwiseError(
            f"{type(error).__name__} ({first_line(error)})",
            "a tree of LabelName and Subcategory, such as bbox_labels_600_hierarchy.json",
            "check the file",
        ) from None
    rules = Rules(tuple((child, parent) for child, parents in above.items() for parent in parents))
    rules = rules.among(names)
    if not rules:
        few = ", ".join(list(above)[:3])
        raise LabelwiseError(
            f"a hierarchy of {few or 'no labels'}", "one with two labels of the data", "check the file"
        )
    return rules


def _rules(data: Any, names: Sequence[str]) -> Rules:
    if not isinstance(data, Mapping) or not data:
        raise LabelwiseError("no rules", f"a mapping with {', '.join(KINDS)}", "see docs/rules.md")
    for key in data:
        if key not in KINDS:
            raise LabelwiseError(f"rules of kind {key!r}", f"some of {', '.join(KINDS)}", "correct the file")
    rules = Rules.from_json(data)
    if not rules:
        raise LabelwiseError("no rules", f"entries of {', '.join(KINDS)}", "correct the file")
    rules.check(names)
    return rules


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"{key!r} twice")
        mapping[key] = value
    return mapping


def _yaml(text: str) -> Any:
    """YAML with every scalar as text, since a label may be named `no` or `1`."""

    def plain(node: yaml.Node, depth: int) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return node.value
        if depth > DEEPEST:
            raise ValueError(f"lists within each other, line {node.start_mark.line + 1}")
        if isinstance(node, yaml.SequenceNode):
            return [plain(part, depth + 1) for part in node.value]
        return _once((str(plain(key, DEEPEST + 1)), plain(value, depth + 1)) for key, value in node.value)

    root = yaml.compose(text, yaml.SafeLoader)
    return None if root is None else plain(root, 1)
