"""The report's rows of the mAP by label frequency in training."""

from __future__ import annotations

from typing import Any

from labelwise.reports.record import RunRecord
from labelwise.reports.sections import format_count, percent


def frequency(run: RunRecord) -> dict[str, Any]:
    """A row for each group of the shown split: name, range of training images, labels, mAP, labels without an AP.

    Empty `rows` for a run that stored no frequencies.
    """
    groups = run.splits[run.shown_split].get("metrics", {}).get("frequency") or {}
    low, high = run.config.get("frequency_bounds") or (20, 100)
    ranges = {"head": f"over {high}", "medium": f"{low} to {high}", "tail": f"under {low}"}
    rows = []
    for name, row in groups.items():
        without_ap = ", ".join(row.get("labels_without_AP") or {})
        labels, mean = format_count(row.get("labels")), percent(row.get("mAP"))
        rows.append((name, ranges.get(name, ""), labels, mean, without_ap))
    return {"rows": rows, "left_out": any(row[-1] for row in rows)}
