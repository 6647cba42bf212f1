"""The report of a run with its model and photographs."""

from __future__ import annotations

import shutil
from pathlib import Path

from labelwise.data import read
from labelwise.data.splits import ensure_splits
from labelwise.errors import LabelwiseError
from labelwise.evaluation.labels import same_labels
from labelwise.inference.predictor import Predictor
from labelwise.reports.report import write_report
from labelwise.runs.run import Run


def finish_report(path: Path) -> Path:
    """Writes RUN/report.html; without the data, photographs with evidence are left out and the report says so.

    Args:
        path: folder of a run, or of stages, which receive a copy of the report of the chosen stage.

    Raises:
        LabelwiseError: not a run, or a run that is not finished.
    """
    run = Run.open(path)
    written = _write(run)
    return written if run.path == path else Path(shutil.copy(written, path / written.name))


def _write(run: Run) -> Path:
    try:
        data = ensure_splits(read(run.config.data.source), seed=run.config.seed)
        dataset = same_labels(data, run.labels.names)  # boxes refer to their label by its column
    except LabelwiseError:
        return write_report(run.path)
    split = "test" if dataset.splits().get("test") else "val"
    rows = dataset.split(split) if dataset.splits().get(split) else None
    return write_report(run.path, predictor=Predictor(run), dataset=rows)
