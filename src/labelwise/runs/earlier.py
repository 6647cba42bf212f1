"""Settings in the form of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelwise.errors import LabelwiseError

_SWITCHES = (
    ("extractor", "attention", "learned", "uniform"),
    ("relation", "graph", "cooccurrence", "isolated"),
    ("classifier", "graph", "cooccurrence", "isolated"),
)
"""Options of parts that controls replaced: section, name, the value of the plain method, and that of the control."""


def of_this_version(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the options of earlier versions that mean the same without them.

    `graph: isolated` becomes the control `no-edges`, with the same weights. `attention: uniform` had other weights.

    Raises:
        LabelwiseError: `extractor.attention` is `uniform`.

    >>> of_this_version({"relation": {"graph": "isolated", "steps": 1}})
    {'relation': {'steps': 1}, 'controls': ['no-edges']}
    """
    current = dict(settings)
    for section, name, plain, control in _SWITCHES:
        options = current.get(section)
        value = options.get(name) if isinstance(options, Mapping) else None
        if value == control == "uniform":
            raise LabelwiseError(
                "extractor.attention=uniform",
                "the setting that replaced it, controls=[uniform-attention]",
                "write --set controls=[uniform-attention]; a run trained with the former opens in its own version",
            )
        if value in (plain, control) and isinstance(options, Mapping):
            current[section] = {k: v for k, v in options.items() if k != name}
            if value == control:
                current["controls"] = [*current.get("controls", []), "no-edges"]
    return current
