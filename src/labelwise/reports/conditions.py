"""The report's section of all metrics with the conditions of their measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelwise.reports.record import RunRecord, finite_number, flatten


def conditions(run: RunRecord) -> dict[str, Any]:
    """All metrics by split, and the conditions of their measurement."""
    splits = list(run.splits)
    metrics = {split: dict(_metric_rows(run.splits[split].get("metrics", {}))) for split in splits}
    names = list(dict.fromkeys(name for split in splits for name in metrics[split]))
    lists = [*_by_content(run, "protocol"), *_by_content(run, "conditions")]
    lists.append(("Training", flatten(run.training)))
    lists.append(("Settings", flatten(run.config)))
    return {
        "splits": splits,
        "metrics": [(name, [metrics[split].get(name) for split in splits]) for name in names],
        "lists": [(title, rows) for title, rows in lists if rows],
    }


def _by_content(run: RunRecord, part: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """A titled list for every distinct content, so that splits with equal conditions are listed once."""
    lists: list[tuple[list[str], list[tuple[str, str]]]] = []
    for split, result in run.splits.items():
        rows = flatten(result.get(part) or {})
        equal_splits = next((splits for splits, content in lists if content == rows), None)
        if equal_splits is None:
            lists.append(([split], rows))
        else:
            equal_splits.append(split)
    return [(f"{part.capitalize()}, {' and '.join(splits)}", rows) for splits, rows in lists]


def _metric_rows(metrics: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float | None]]:
    rows: list[tuple[str, float | None]] = []
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            rows += _metric_rows(value, f"{prefix}{name} ")
        else:
            rows += [] if isinstance(value, str) else [(prefix + name, finite_number(value))]
    return rows
