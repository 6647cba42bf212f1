"""The features that a dataset card, `README.md` of a repository on the Hugging Face Hub, lists in its header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_HEADER = re.compile(r"\A\s*---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)


def header_of(folder: Path) -> dict[str, Any]:
    """The YAML header of a folder's `README.md`; empty if there is none."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        match = _HEADER.match(text)
        header = yaml.safe_load(match[1]) if match else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return header if isinstance(header, dict) else {}


def features_of_card(header: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """The features of a configuration as `names_of_classes` reads them; of the only one if none has its name.

    Args:
        header: of the card.
        configuration: its folder; `data` belongs to the configuration `default`.
    """
    info = header.get("dataset_info")
    entries = [entry for entry in (info if isinstance(info, list) else [info]) if entry]
    entries = [entry for entry in entries if isinstance(entry, dict)]
    name = "default" if configuration == "data" else configuration
    matching = [entry for entry in entries if entry.get("config_name", "default") == name]
    chosen = matching[0] if matching else entries[0] if len(entries) == 1 else {}
    columns = chosen.get("features")
    if not isinstance(columns, list):
        return {}
    named = [column for column in columns if isinstance(column, dict) and "name" in column]
    return {column["name"]: _feature(column) for column in named}


def _feature(column: Mapping[str, Any]) -> Any:
    """One feature, from `dtype: {class_label: {names: {'0': cat}}}` or `sequence:` or `list:` of that."""
    for form in ("sequence", "list", "large_list", "struct"):
        value = column.get(form)
        if isinstance(value, list):
            fields = {c["name"]: _feature(c) for c in value if isinstance(c, dict) and "name" in c}
            return fields if form == "struct" else [fields]
        if value is not None:
            is_feature = isinstance(value, dict) and value.keys() & {"dtype", "sequence", "list", "struct"}
            return [_feature(value if is_feature else {"dtype": value})]
    dtype = column.get("dtype")
    if dtype == "image":
        return {"_type": "Image"}
    if not isinstance(dtype, dict) or not isinstance(label := dtype.get("class_label"), dict):
        return None
    names = label.get("names")
    if isinstance(names, dict):
        try:
            names = [names[key] for key in sorted(names, key=int)]
        except (TypeError, ValueError):
            return None
    return {"_type": "ClassLabel", "names": [str(name) for name in names]} if names else None
