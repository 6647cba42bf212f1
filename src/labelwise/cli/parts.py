"""The option `evaluate --by`: metrics of parts of a split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

from labelwise.cli.tables import table_of
from labelwise.data.dataset import Dataset
from labelwise.evaluation import Result
from labelwise.evaluation.figures import decimals
from labelwise.evaluation.parts import excluded, heights_of, part_figures, parts_of
from labelwise.evaluation.protocols import protocol as protocol_of
from labelwise.evaluation.refit import fit_of
from labelwise.runs.run import Run


def figures_by(
    run: Run, result: Result, data: Dataset, split: str, by: Sequence[str], protocol: str | None = None
) -> dict[str, Any]:
    """Figures of each part of the scored images for every way to divide them, as plain data.

    Images that the run's decisions were fitted on are decided without their folds.
    """
    scores, labels, decisions = result.scores, run.labels, run.decisions()
    split_data = (
        protocol_of(protocol).rows(run.config.data.source, data, split) if protocol else data.split(split)
    )
    scored = split_data.take(scores.rows)
    fit = fit_of(decisions, labels, run.config.init_from, scores, split)
    probabilities = decisions.probabilities(scores.logits) if fit is None else fit.probabilities
    selected = decisions.select(probabilities) if fit is None else fit.selected

    ids = scored.image_ids(np.arange(len(scored)))
    positive = scores.known & (scores.values >= 0.5)
    return {
        way: part_figures(
            scores,
            probabilities,
            selected,
            labels,
            parts_of(way, ids, labels, positive, scores.known, partial(heights_of, scored)),
            excluded(way, labels),
        )
        for way in by
    }


def print_parts(way: str, parts: dict[str, dict[str, Any]]) -> None:
    """Print the figures of each part, in two tables: recognition, and recall against the rest of the images."""
    console = Console()
    names = ("mAP", "mA", "accuracy", "precision", "recall", "F1", "F1_instance")
    table = table_of(["part"], ["images", "units", *names], f"by {way}")
    for part, row in parts.items():
        cells = [_figure_text(row, name, row["intervals"]) for name in names]
        table.add_row(part, f"{row['images']:,.0f}", f"{row['units']:,.0f}", *cells)
    console.print(table)
    table = table_of(["part"], ["labels", "label recall", "gap to the rest", "ECE"])
    table.add_column("widest gap")
    for part, row in parts.items():
        intervals, widest = row.get("recall_intervals", {}), row["widest"]
        cells = [_figure_text(row, name, intervals) for name in ("label_recall", "gap")]
        widest_text = (
            f"{widest['label']} {decimals(widest['recall'], 3)} vs {decimals(widest['rest'], 3)}"
            if widest
            else "-"
        )
        table.add_row(part, f"{row['judged']:.0f}", *cells, decimals(row["ECE"], 3), widest_text)
    console.print(table)


def _figure_text(row: dict[str, Any], name: str, intervals: dict[str, Any]) -> str:
    """A figure to three decimals, with its interval if it has one."""
    interval = intervals.get(name)
    if row[name] is None or interval is None:
        return decimals(row[name], 3)
    return f"{decimals(row[name], 3)} [{decimals(interval['low'], 3)}, {decimals(interval['high'], 3)}]"
