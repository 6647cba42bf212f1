"""Rows of results; for the scripts of this folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def show(row: Mapping[str, Any]) -> None:
    """Prints a row at once."""
    print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)


def keep(path: str | Path | None, rows: Sequence[Mapping[str, Any]], fields: Iterable[str] = ()) -> None:
    """Writes a line per row, where a path is given; columns are `fields`, or the keys of all rows."""
    if path:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(fields) or list(dict.fromkeys(k for row in rows for k in row)))
            writer.writeheader()
            writer.writerows(rows)
