"""The report of a run, with its model and photographs at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

from labelwise.data import read
from labelwise.data.splits import ensure_splits
from labelwise.errors import LabelwiseError
from labelwise.evaluation.labels import same_labels
from labelwise.reports.report import write_report
from labelwise.serving.predictor import Predictor
from labelwise.training.run import Run


def finish_report(path: Path) -> Path:
    """Write RUN/report.html; photographs with evidence are left out, saying why, where the data are gone.

    Args:
        path: of a run, or of stages: the report of the chosen one is copied there.

    Raises:
        LabelwiseError: not a run, or one that is not finished.
    """
    run = Run.open(path)
    written = _write(run)
    return written if run.path == path else Path(shutil.copy(written, path / written.name))


def _write(run: Run) -> Path:
    try:
        found = ensure_splits(read(run.config.data.source), seed=run.config.seed)
        dataset = same_labels(found, run.labels.names)  # boxes name their label by its column
    except LabelwiseError:
        return write_report(run.path)
    split = "test" if dataset.splits().get("test") else "val"
    rows = dataset.split(split) if dataset.splits().get(split) else None
    return write_report(run.path, predictor=Predictor(run), dataset=rows)
