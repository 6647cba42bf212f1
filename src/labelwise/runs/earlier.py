"""Settings in the form of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelwise.errors import LabelwiseError


def of_this_version(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the options of parts that became controls.

    `graph=isolated` is the control `no-edges`, with the same weights. `attention=uniform` had other weights.

    Raises:
        LabelwiseError: `extractor.attention` is `uniform`.

    >>> of_this_version({"relation": {"graph": "isolated", "steps": 1}})
    {'relation': {'steps': 1}, 'controls': ['no-edges']}
    """
    current = dict(settings)
    for section, name in (("extractor", "attention"), ("relation", "graph"), ("classifier", "graph")):
        options = current.get(section)
        value = options.get(name) if isinstance(options, Mapping) else None
        if (name, value) == ("attention", "uniform"):
            raise LabelwiseError(
                "extractor.attention=uniform",
                "controls=uniform-attention, which replaced it",
                "write --set controls=uniform-attention; a run trained with the former opens in its own version",
            )
        if value in ("learned", "cooccurrence", "isolated"):
            current[section] = {k: v for k, v in options.items() if k != name}  # type: ignore[union-attr]
        if value == "isolated":
            given = current.get("controls", [])
            current["controls"] = [*([given] if isinstance(given, str) else given), "no-edges"]
    return current
