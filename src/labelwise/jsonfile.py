"""Reading of JSON files of runs and exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labelwise.errors import LabelwiseError


def read_json(path: Path) -> Any:
    """JSON of a file.

    Raises:
        LabelwiseError: the file is absent or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelwiseError(
            f"{path}: {error.strerror}", "a file that a run wrote", "check the run's path"
        ) from None
    except (ValueError, RecursionError):
        raise LabelwiseError(f"{path} is damaged", "JSON", "train or evaluate again to rewrite it") from None
