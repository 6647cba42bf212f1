"""Settings by their dotted names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from labelwise.errors import LabelwiseError


def override(settings: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Settings overridden by dotted assignments `a.b=c`; values are read as YAML.

    >>> override({}, ["extractor.position=sine", "optim.lr=3e-4"])
    {'extractor': {'position': 'sine'}, 'optim': {'lr': 0.0003}}
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise LabelwiseError(
                f"--set {assignment}", "--set NAME=VALUE", "write for example --set optim.lr=1e-3"
            )
        put(settings, name, _parsed_value(text))
    return settings


def put(settings: dict[str, Any], name: str, value: Any) -> None:
    """Set the value of a dotted name.

    Raises:
        LabelwiseError: the name passes through a setting that holds a plain value.
    """
    *path, last = name.split(".")
    section = settings
    for part in path:
        inner = section.setdefault(part, {})
        if not isinstance(inner, dict):
            raise LabelwiseError(
                f"{name} where {part} = {inner!r}", f"{part} to hold settings", "correct the dotted name"
            )
        section = inner
    section[last] = value


def _parsed_value(text: str) -> Any:
    """A value as YAML reads it, and numbers such as `3e-4`, which YAML takes for text."""
    try:
        return float(text) if "e" in text.lower() and text[:1] in "0123456789.+-" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text
