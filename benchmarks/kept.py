"""Writes the results of a benchmark as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def keep(path: str | Path, rows: Sequence[Mapping[str, Any]], fields: Iterable[str] | None = None) -> None:
    """Writes one line per row; columns are in the order of `fields`, or of the first row's keys."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(fields or rows[0]))
        writer.writeheader()
        writer.writerows(rows)
