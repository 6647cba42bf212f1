"""New decisions for a finished run, and the update of its stored metrics."""

from __future__ import annotations

from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.decisions import Tuning, tune
from labelwise.decisions.tuning import CONFIDENCE
from labelwise.errors import LabelwiseError
from labelwise.evaluation.evaluate import Result, evaluate
from labelwise.evaluation.figures import decision_conditions, figures, replaced
from labelwise.evaluation.scores import StoredScores
from labelwise.runs.files import read_json, write_json
from labelwise.runs.run import Run
from labelwise.runs.test_time import NONE

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
    confidence: float = CONFIDENCE,
    test_time: str | None = None,
    batch_size: int = 32,
    workers: int = 0,
) -> tuple[Tuning, Result]:
    """Fits decisions on a split, stores them in the run, and recomputes the metrics of its stored scores.

    Labels without a positive in training are never selected, whatever the split holds.

    Args:
        run: a run or its folder.
        data: a data set with the run's labels.
        split: where to fit; neither `train` nor `test`.
        objective: see `labelwise.decisions.tune`.
        calibration: see `labelwise.decisions.tune`.
        confidence: see `labelwise.decisions.tune`.
        test_time: new test-time augmentation of the run, see `labelwise.runs.test_time`: decisions are fitted on
            the new scores, and every split with metrics is evaluated again; `None` leaves it unchanged.
        batch_size: images per batch.
        workers: decoding processes.

    Returns:
        The fit, and the result of the split in which each image is decided by the fit without its fold.

    Raises:
        LabelwiseError: the split is train or test or does not exist, or the objective or calibration is unknown;
            `test_time` is not supported by the network, or the data differ from what the run was evaluated on.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    run = Run.open(path, test_time) if test_time is not None or not isinstance(run, Run) else run
    for split_name in split.split("+"):
        if split_name in NOT_FOR_TUNING:
            raise LabelwiseError(
                f"--split {split}: {NOT_FOR_TUNING[split_name]}",
                "a split that neither trains nor judges",
                "take --split val; `labelwise data split` makes one",
            )
    other_splits = _splits_of_other_views(run)
    for name in other_splits:
        _refuse_other_rows(run, data, name)
    result = evaluate(
        run, data, split, pointing=False, cross_fit=False, batch_size=batch_size, workers=workers
    )
    scores, rows = result.scores, data.split(split)
    never, fitted_on = run.decisions().never, f"{split} of {data.source}"
    z, y, k = scores.logits, scores.hard, scores.known
    tuning = tune(z, y, k, run.labels, objective, calibration, fitted_on, never, confidence=confidence)
    run.save_decisions(tuning.decisions)
    if test_time is not None:
        run.save_settings()
    tuned_on = [rows.image_id(int(i)) for i in scores.rows]
    for name in other_splits:
        _evaluate_again(run, data, name, tuned_on, tuning, batch_size, workers)
    _update_metrics(run, tuned_on, tuning)
    return tuning, result.again(run, tuning)


def _splits_of_other_views(run: Run) -> list[str]:
    """Splits whose metrics were computed under another `test_time`."""
    if not (run.path / "results.json").is_file():
        return []
    splits = read_json(run.path / "results.json")["splits"]
    test_time, key = run.config.test_time, "test_time_augmentation"
    return [name for name, split in splits.items() if split["conditions"].get(key, NONE) != test_time]


def _refuse_other_rows(run: Run, data: Dataset, split: str) -> None:
    """Raise `LabelwiseError` if the data lack images of a split that is evaluated again."""
    file, ids = run.path / "scores" / f"{split}.npz", set[str]()
    if data.splits().get(split):
        rows = data.split(split)
        ids = {rows.image_id(i) for i in range(len(rows))}
    if not ids or (file.is_file() and not ids >= set(StoredScores.read(file).ids.tolist())):
        raise LabelwiseError(
            f"another test_time on data without the {split} images that the run was evaluated on",
            "the run's own data, since its metrics are computed again",
            "leave --data out",
        )


def _evaluate_again(
    run: Run, data: Dataset, split: str, tuned_on: list[str], tuning: Tuning, batch_size: int, workers: int
) -> None:
    """Replaces the scores and metrics of a split that were computed under another `test_time`."""
    rows = data.split(split)
    result = evaluate(run, data, split, cross_fit=False, batch_size=batch_size, workers=workers)
    if [rows.image_id(int(i)) for i in result.scores.rows] == tuned_on:
        result = result.again(run, tuning)
    record = read_json(run.path / "results.json")
    old_entry, entry = record["splits"][split], result.to_json()
    # On the split that decisions are fitted on, map metrics by decisions would be too optimistic.
    entry["metrics"] = {name: value for name, value in result.metrics.items() if name in old_entry["metrics"]}
    entry["conditions"] = replaced(old_entry["conditions"], entry["conditions"])
    record["splits"][split] = entry
    result.scores.save(run.path / "scores" / f"{split}.npz", rows)
    write_json(run.path / "results.json", record)


def _update_metrics(run: Run, tuned_on: list[str], tuning: Tuning) -> None:
    """Recomputes the metrics of each split's stored scores under the new decisions."""
    if not (run.path / "results.json").is_file():
        return
    record = read_json(run.path / "results.json")
    for split, entry in record["splits"].items():
        file = run.path / "scores" / f"{split}.npz"
        if not file.is_file():
            continue
        scores = StoredScores.read(file)
        held_out = tuning if scores.ids.tolist() == tuned_on else None
        metrics, per_label = figures(scores, run.labels.names, tuning.decisions, held_out)
        entry["metrics"].update(metrics)
        for name, changed in per_label.items():
            entry["per_label"][name] = replaced(entry["per_label"][name], changed)
        changed = decision_conditions(tuning.decisions, held_out is not None)
        entry["conditions"] = replaced(entry["conditions"], changed)
    write_json(run.path / "results.json", record)
