"""The section that says where a run fails, and for whom: figures of parts of the images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from labelwise.errors import LabelwiseError
from labelwise.evaluation.parts import ALL, excluded, part_figures, parts_of
from labelwise.evaluation.scores import StoredScores
from labelwise.reports.record import RunRecord, finite_number
from labelwise.reports.sections import NONE, percent
from labelwise.types import LabelSet

SHOWN = (("mAP", "mAP"), ("mA", "mA"), ("F1", "F1 over images"))


def failures(
    run: RunRecord, by: Sequence[str], heights: Callable[[], np.ndarray] | None = None
) -> list[dict[str, Any]]:
    """A table for each way to divide the images of the shown split, the part with the lowest recall first.

    Args:
        by: as in `parts_of`.
        heights: of the images, for `height`.

    Raises:
        LabelwiseError: no stored scores, or as `parts_of`.
    """
    if not by:
        return []
    split = run.shown_split
    if split not in run.scores:
        raise LabelwiseError(
            f"--by {by[0]} for a run without scores", f"scores of {split}", "evaluate the run again"
        )
    labels = LabelSet.from_json(json.loads((run.path / "labels.json").read_text(encoding="utf-8")))
    stored, scores = StoredScores.read(run.path / "scores" / f"{split}.npz"), run.scores[split]
    ids, positives = [str(name) for name in stored.ids], scores.known & scores.true
    tables = []
    for way in by:
        parts = parts_of(way, ids, labels, positives, scores.known, heights)
        p = scores.probabilities.astype(np.float64)
        figures = part_figures(stored, p, scores.selected, labels, parts, excluded(way, labels))
        overall = figures.pop(ALL)
        rows = [
            _row(name, row) for name, row in sorted(figures.items(), key=lambda item: _recall_key(item[1]))
        ]
        tables.append(
            {
                "by": way,
                "unit": "images" if stored.group is None else "persons or other groups",
                "rows": [*rows, _row("all images", overall)],
                "sentences": [_sentence(name, row) for name, row in figures.items() if _differs(row)],
            }
        )
    return tables


def _recall_key(row: dict[str, Any]) -> tuple[bool, float]:
    """Sorts parts by rising recall, those without one last."""
    return row["label_recall"] is None, row["label_recall"] or 0.0


def _differs(row: dict[str, Any]) -> bool:
    """Whether the interval of the gap leaves out 0."""
    interval = row.get("recall_intervals", {}).get("gap") or {}
    low, high = finite_number(interval.get("low")), finite_number(interval.get("high"))
    return low is not None and high is not None and not low <= 0 <= high


def _row(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """A part's line of the table."""
    intervals = {**row["intervals"], **row.get("recall_intervals", {})}
    return {
        "name": name,
        "images": row["images"],
        "units": row["units"],
        "figures": [_figure_text(row[key], intervals.get(key)) for key, _ in SHOWN],
        "recall": _figure_text(row["label_recall"], intervals.get("label_recall")),
        "gap": _figure_text(row["gap"], intervals.get("gap")),
        "ECE": percent(row["ECE"]),
    }


def _sentence(name: str, row: dict[str, Any]) -> str:
    """How far the recall of a part is from that of the others."""
    interval, widest = row["recall_intervals"]["gap"], row["widest"]
    side = "below" if row["gap"] < 0 else "above"
    low, high = percent(interval["low"]), percent(interval["high"])
    return (
        f"{name}: the recall of a label is {percent(abs(row['gap']))} points {side} that in the other parts "
        f"(95 % interval {low} to {high}), mean over {row['judged']:.0f} labels; "
        f"widest for {widest['label']}, {percent(widest['recall'])} against {percent(widest['rest'])}."
    )


def _figure_text(value: Any, interval: dict[str, Any] | None) -> str:
    """Percent with the interval, where both are known."""
    low, high = (finite_number((interval or {}).get(end)) for end in ("low", "high"))
    if finite_number(value) is None or low is None or high is None:
        return percent(value) if finite_number(value) is not None else NONE
    return f"{percent(value)} ({percent(low)} to {percent(high)})"
