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
from labelwise.training.test_time import NONE

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
    test_time: str | None = None,
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
        test_time: how the run answers from now on, see `labelwise.training.test_time`: decisions are fitted on its new
            scores, and every split that the run has figures of is judged again; `None` leaves it as it is.
        batch_size: images at once.
        workers: decoding processes.

    Returns:
        What was fitted, and the split judged by fits without each image's fold.

    Raises:
        LabelwiseError: the split is train or test, there is none such, or another objective or calibration; another
            `test_time` that the network cannot take, or on other data than the run was judged on.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    run = Run.open(path, test_time) if test_time is not None or not isinstance(run, Run) else run
    for part in split.split("+"):
        if part in NOT_FOR_TUNING:
            raise LabelwiseError(
                f"--split {split}: {NOT_FOR_TUNING[part]}",
                "a split that neither trains nor judges",
                "take --split val; `labelwise data split` makes one",
            )
    other = _of_other_views(run)
    for name in other:
        _refuse_other_rows(run, data, name)
    result = evaluate(run, data, split, pointing=split in other, batch_size=batch_size, workers=workers)
    s, rows = result.scores, data.split(split)
    never, of = run.decisions().never, f"{split} of {data.source}"
    tuning = tune(s.logits, s.hard, s.known, run.labels, objective, calibration, of, never)
    run.save_decisions(tuning.decisions)
    if test_time is not None:
        run.save_settings()
    tuned_on = [rows.image_id(int(i)) for i in s.rows]
    for name in other:
        judged = (
            result if name == split else evaluate(run, data, name, batch_size=batch_size, workers=workers)
        )
        _judge_again(run, data, name, judged, tuned_on, tuning)
    _refresh(run, tuned_on, tuning)
    return tuning, result.again(run, tuning)


def _of_other_views(run: Run) -> list[str]:
    """Splits that the run has figures of under another `test_time`."""
    if not (run.path / "results.json").is_file():
        return []
    splits = read_json(run.path / "results.json")["splits"]
    now, key = run.config.test_time, "test_time_augmentation"
    return [name for name, found in splits.items() if found["conditions"].get(key, NONE) != now]


def _refuse_other_rows(run: Run, data: Dataset, split: str) -> None:
    file, here = run.path / "scores" / f"{split}.npz", set[str]()
    if data.splits().get(split):
        rows = data.split(split)
        here = {rows.image_id(i) for i in range(len(rows))}
    if not here or (file.is_file() and not here >= set(StoredScores.read(file).ids.tolist())):
        raise LabelwiseError(
            f"another test_time on data without the {split} images that the run was judged on",
            "the run's own data, for its figures are taken again",
            "leave --data out",
        )


def _judge_again(
    run: Run, data: Dataset, split: str, result: Result, tuned_on: list[str], tuning: Tuning
) -> None:
    """New scores and figures of a split, in place of those of other views."""
    rows = data.split(split)
    if [rows.image_id(int(i)) for i in result.scores.rows] == tuned_on:
        result = result.again(run, tuning)
    record = read_json(run.path / "results.json")
    before, found = record["splits"][split], result.to_json()
    # The split that decisions are fitted on has no figures of the maps by decisions, which would flatter.
    found["metrics"] = {name: value for name, value in result.metrics.items() if name in before["metrics"]}
    found["conditions"] = {**before["conditions"], **found["conditions"]}
    record["splits"][split] = found
    result.scores.save(run.path / "scores" / f"{split}.npz", rows)
    write_json(run.path / "results.json", record)


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
