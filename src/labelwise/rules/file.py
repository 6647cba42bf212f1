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

    A hierarchy speaks of far more labels than a data set has: of those it lacks nothing is said, and what stands above
    them is implied directly. Every other file may name the given labels alone.

    Args:
        file: `.json`, or else YAML.
        names: of the labels.

    Raises:
        LabelwiseError: no such file, another form, a label that does not exist, a cycle, or rules that cannot all be
            kept, each by the name of the file.
    """
    try:
        text = Path(file).read_text("utf-8-sig")
        found = _json(text) if Path(file).suffix.lower() == ".json" else _yaml(text)
    except OSError as error:
        raise LabelwiseError(f"{file}: {error.strerror}", "a file of rules", "check the path") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise LabelwiseError(f"{file}: {first_line(error)}", "YAML or JSON", "correct the file") from None
    try:
        if isinstance(found, Mapping) and "LabelName" in found:
            return _hierarchy(found, names)
        return _rules(found, names)
    except LabelwiseError as error:
        raise LabelwiseError(f"{file}: {error.given}", error.expected, error.todo) from None


def ancestors_of(tree: Mapping[str, Any]) -> dict[str, list[str]]:
    """All labels above each label of a hierarchy of Open Images, without its root, which every image would have.

    Raises:
        KeyError, TypeError, AttributeError: for a tree of another form; RecursionError for one that is too deep.
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


def _rules(found: Any, names: Sequence[str]) -> Rules:
    if not isinstance(found, Mapping) or not found:
        raise LabelwiseError("no rules", f"a mapping with {', '.join(KINDS)}", "see docs/rules.md")
    for key in found:
        if key not in KINDS:
            raise LabelwiseError(f"rules of kind {key!r}", f"some of {', '.join(KINDS)}", "correct the file")
    rules = Rules.from_json(found)
    if not rules:
        raise LabelwiseError("no rules", f"entries of {', '.join(KINDS)}", "correct the file")
    rules.check(names)
    return rules


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} twice")
        found[key] = value
    return found


def _yaml(text: str) -> Any:
    """Every scalar as its text: a label may be called `no` or `1`."""

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
