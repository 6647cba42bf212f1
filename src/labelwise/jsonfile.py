"""Reading of JSON files of runs, exports and streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labelwise.errors import LabelwiseError


def read_json(
    path: Path, expected: str = "a file that a run wrote", todo: str = "train or evaluate again"
) -> Any:
    """JSON of a file.

    Raises:
        LabelwiseError: the file is absent or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelwiseError(f"{path}: {error.strerror}", expected, "check the path") from None
    except (ValueError, RecursionError):
        raise LabelwiseError(f"{path} is damaged", "JSON", todo) from None
