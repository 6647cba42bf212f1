"""New decisions for a finished run, with its stored figures brought into line."""

from __future__ import annotations

from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.decisions import Tuning, tune
from labelwise.errors import LabelwiseError
from labelwise.evaluation.evaluate import Result, evaluate
from labelwise.evaluation.figures import figures
from labelwise.evaluation.scores import StoredScores
from labelwise.training.files import read_json, write_json
from labelwise.training.run import Run

NOT_FOR_TUNING = {
    "test": "what is fitted on test looks better there than it is, and nothing is left to judge by",
    "train": "a model is surer of the images that it was trained on than it will be of others",
}


def tune_run(
    run: Run | str | Path,
    data: Dataset,
    split: str = "val",
    objective: str = "f1",
    calibration: str = "platt",
    *,
    batch_size: int = 32,
    workers: int = 0,
) -> tuple[Tuning, Result]:
    """Fit decisions on a split, store them in the run, and judge its stored scores by them.

    Labels that training had no positive of stay unselected, whatever the split holds.

    Args:
        run: a run or its folder.
        data: a data set with the run's labels.
        split: where to fit; neither `train` nor `test`.
        objective: see `labelwise.decisions.tune`.
        calibration: likewise.
        batch_size: images at once.
        workers: decoding processes.

    Returns:
        What was fitted, and the split judged by fits without each image's fold.

    Raises:
        LabelwiseError: the split is train or test, there is none such, or another objective or calibration.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    for part in split.split("+"):
        if part in NOT_FOR_TUNING:
            raise LabelwiseError(
                f"--split {split}: {NOT_FOR_TUNING[part]}",
                "a split that neither trains nor judges",
                "take --split val; `labelwise data split` makes one",
            )
    result = evaluate(run, data, split, pointing=False, batch_size=batch_size, workers=workers)
    s, rows = result.scores, data.split(split)
    never, of = run.decisions().never, f"{split} of {data.source}"
    tuning = tune(s.logits, s.hard, s.known, run.labels, objective, calibration, of, never)
    run.save_decisions(tuning.decisions)
    _refresh(run, [rows.image_id(int(i)) for i in s.rows], tuning)
    return tuning, result.again(run, tuning)


def _refresh(run: Run, tuned_on: list[str], tuning: Tuning) -> None:
    """Judge each split's stored scores by the new decisions, which no score chooses."""
    if not (run.path / "results.json").is_file():
        return
    record = read_json(run.path / "results.json")
    for split, found in record["splits"].items():
        file = run.path / "scores" / f"{split}.npz"
        if not file.is_file():
            continue
        scores = StoredScores.read(file)
        held_out = tuning if scores.ids.tolist() == tuned_on else None
        metrics, per_label = figures(scores, run.labels.names, tuning.decisions, held_out)
        found["metrics"].update(metrics)
        for name, one in per_label.items():
            found["per_label"][name].update(one)
        found["conditions"]["decisions_from"] = tuning.decisions.source
    write_json(run.path / "results.json", record)
