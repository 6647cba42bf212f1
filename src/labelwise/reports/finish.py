"""The report of a run with its model and photographs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.data.splits import ensure_splits
from labelwise.errors import LabelwiseError
from labelwise.evaluation.labels import same_labels
from labelwise.evaluation.parts import heights_of
from labelwise.evaluation.scores import StoredScores
from labelwise.inference.predictor import Predictor
from labelwise.reports.report import write_report
from labelwise.runs.run import Run


def finish_report(path: Path, by: Sequence[str] = ()) -> Path:
    """Writes RUN/report.html; without the data, photographs with evidence are left out and the report says so.

    Args:
        path: folder of a run, or of stages, which receive a copy of the report of the chosen stage.
        by: ways to divide the images for the section on where the run fails, see `parts_of`.

    Raises:
        LabelwiseError: not a run, or a run that is not finished.
    """
    run = Run.open(path)
    report = _write_report(run, by)
    return report if run.path == path else Path(shutil.copy(report, path / report.name))


def _write_report(run: Run, by: Sequence[str]) -> Path:
    try:
        data = ensure_splits(read(run.config.data.source), seed=run.config.seed)
        dataset = same_labels(data, run.labels.names)  # boxes refer to their label by its column
    except LabelwiseError:
        return write_report(run.path, by=by)
    split = "test" if dataset.splits().get("test") else "val"
    rows = dataset.split(split) if dataset.splits().get(split) else None
    heights = None if rows is None else partial(_heights, run, rows, split)
    return write_report(run.path, predictor=Predictor(run), dataset=rows, by=by, heights=heights)


def _heights(run: Run, rows: Dataset, split: str) -> np.ndarray:
    """Of the images with stored scores, which lack those that could not be read."""
    row_of = {name: i for i, name in enumerate(rows.image_ids(np.arange(len(rows))))}
    ids = StoredScores.read(run.path / "scores" / f"{split}.npz").ids
    return heights_of(rows.take([row_of[str(name)] for name in ids]))
