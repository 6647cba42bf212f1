"""YAML files of settings, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from labelwise.errors import LabelwiseError, first_line


class _Plain(yaml.SafeLoader):
    """Refuses references: ten of them, each naming the one before ten times, expand to ten billion values."""

    def fetch_alias(self) -> None:
        raise yaml.YAMLError("a reference (*name)")

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level > 50:  # the time per bracket grows with the number of open ones
            raise yaml.YAMLError("more than 50 brackets within each other")
        super().fetch_flow_collection_start(token)


def read_yaml(path: Path) -> dict[str, Any]:
    """Settings of a YAML file.

    Raises:
        LabelwiseError: no such file, not YAML, or not a mapping.
    """
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _Plain)
    except OSError as error:
        raise LabelwiseError(f"{path}: {error.strerror}", "a YAML file", "check the path") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = first_line(error)
        raise LabelwiseError(
            f"{path} is not YAML ({line})", "NAME: VALUE lines", "correct the file"
        ) from None
    if not isinstance(settings, dict):
        raise LabelwiseError(
            f"{path} holds {type(settings).__name__}", "a mapping of settings", "correct the file"
        )
    return settings
