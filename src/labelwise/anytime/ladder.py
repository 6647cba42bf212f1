"""Train the stages of a plan in sequence; each is a complete run, and validation selects one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwise.anytime.plan import REPORT, SIZES, TUNED_FROM, Plan, Stage, make_plan
from labelwise.anytime.speed import Speed
from labelwise.anytime.within import PLAN
from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.evaluation.evaluate import evaluate
from labelwise.evaluation.figures import decimals
from labelwise.evaluation.scores import StoredScores
from labelwise.evaluation.tune import tune_run
from labelwise.metrics import bootstrap, functional
from labelwise.runs.config import Config, make_config
from labelwise.runs.files import read_json, write_json
from labelwise.runs.run import CHOSEN, STAGES, Run
from labelwise.runs.test_time import SCALES, resolved
from labelwise.training.assigning import put
from labelwise.training.course import train_opened
from labelwise.training.journal import logged_seconds
from labelwise.training.loaders import decoding_processes
from labelwise.training.opening import TrainingData
from labelwise.training.progress import ProgressBar
from labelwise.training.sizes import fitted, sides_of
from labelwise.training.stopping import StopRequest

CHANCE = 0.1
"""Accepted chance that any later stage replaces a simpler one that is as good; all stages of the plan share it."""
EVEN = 0.5
"""The same for two heads with a feature per label, neither of which is simpler."""


@dataclass
class _Ladder:
    """The state of a training in stages.

    Args:
        out: the run's folder.
        config: settings, which each stage overrides with its own.
        plan: the stages.
        rows: a record per stage that is finished or left out.
    """

    out: Path
    config: Config
    plan: Plan
    rows: list[dict[str, Any]]

    def save(self) -> None:
        """Point the folder at the chosen stage, so that it is usable first, and write the plan and its records."""
        settings = self.config.model_dump(mode="json")
        if self.chosen is not None:
            write_json(self.out / CHOSEN, {"stage": self.chosen})
        write_json(self.out / PLAN, {**self.plan.to_json(), "settings": settings, "ladder": self.rows})

    @property
    def chosen(self) -> str | None:
        """Name of the chosen stage; `None` before the first one."""
        return next((row["stage"] for row in reversed(self.rows) if row.get("chosen")), None)

    @property
    def chosen_settings(self) -> Mapping[str, Any]:
        """The settings of the stage that was chosen last; empty without one."""
        return next((row["settings"] for row in reversed(self.rows) if row.get("chosen")), {})

    @property
    def judging(self) -> float:
        """Estimated seconds of the evaluation on the test split with the chosen stage."""
        return next((stage.judging for stage in self.plan.stages if stage.name == self.chosen), 0.0)

    @property
    def spent(self) -> float:
        """Seconds spent on the finished stages, and on the epochs of one that was stopped."""
        finished = {row["stage"] for row in self.rows}
        next_stage = next((stage for stage in self.plan.stages if stage.name not in finished), None)
        stopped = self.trained(next_stage) if next_stage else 0.0
        return stopped + sum(row.get("seconds", 0.0) for row in self.rows)

    def trained(self, stage: Stage) -> float:
        """Seconds of the epochs that a stopped stage has in its log; views train nothing, their log is a copy."""
        return 0.0 if "test_time" in stage.settings else logged_seconds(self.out / STAGES / stage.name)


def train_stages(
    opened: TrainingData,
    config: Config,
    seconds: float,
    out: Path,
    given: frozenset[str],
    resume: bool,
    quiet: bool,
    stop: StopRequest | None,
    began: float,
) -> Run:
    """Train the stages in sequence, see `train_within`; `began` is its start on `time.perf_counter`."""
    watch, dataset = ProgressBar(quiet), opened.dataset
    for message in opened.messages:
        watch.say(message)
    train_and_val = TrainingData(dataset.split("train+val"), opened.overlaps, ())
    ladder = _resume_or_plan(out, config, dataset, seconds, given, resume, watch.say)
    for line in ladder.plan.lines():
        watch.say(line)
    earlier_seconds = ladder.spent
    for number, stage in enumerate(ladder.plan.stages):
        if any(row["stage"] == stage.name for row in ladder.rows):
            continue
        judging = max(stage.judging, ladder.judging) + REPORT
        remaining = seconds - earlier_seconds - (time.perf_counter() - began) - judging
        if number and stage.seconds > remaining:
            ladder.rows.append(
                {
                    "stage": stage.name,
                    "left_out": f"needs about {stage.seconds:.0f} s, {max(0, remaining):.0f} s are left",
                }
            )
            watch.say(f"{stage.name} is left out: {ladder.rows[-1]['left_out']}")
        else:
            ladder.rows.append(_train_stage(ladder, stage, train_and_val, resume, quiet, stop, watch))
        ladder.save()
    chosen = Run.open(out)
    _evaluate_test(chosen, dataset, opened.overlaps.get("test", {}), watch)
    watch.say(f"chosen: {ladder.chosen}, after {earlier_seconds + time.perf_counter() - began:.0f} s")
    return chosen


def _resume_or_plan(
    out: Path,
    config: Config,
    dataset: Dataset,
    seconds: float,
    given: frozenset[str],
    resume: bool,
    say: Callable[[str], None],
) -> _Ladder:
    """Read the plan of the folder when resuming, else measure the machine and make one."""
    rows = dataset.split("val")
    if len(functional.without_average_precision(rows.positive, rows.known)) == len(rows.labels):
        raise LabelwiseError(
            f"training in stages, and {len(rows):,} val images in which no label has both a known positive and a "
            "known negative",
            "at least one such label, to choose a stage by",
            "write 0 where a label is absent from a val image, give val more images, or train once, unjudged: "
            "--epochs 10 --set data.unjudged_validation=true",
        )
    file = out / PLAN
    if resume and file.is_file():
        stored = read_json(file)
        ladder = _Ladder(out, config, Plan.from_json(stored), stored["ladder"])
        ladder.save()
        return ladder
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if "image_size" in given:
        fitted(config, say)  # raises now if the backbone does not accept it
    workers, sides = decoding_processes(config.workers), sides_of(config, SIZES)
    tuning: tuple[str, ...] = () if seconds < TUNED_FROM else (config.precision,)
    if tuning and device.type == "cpu" and "precision" not in given:
        tuning = ("fp32", "bf16")  # some processors have fast units for it, others emulate it
    speed = Speed.measured(config, dataset, device, workers, say, sides, tuning)
    ladder = _Ladder(out, config, make_plan(config, dataset, seconds, speed, given), [])
    out.mkdir(parents=True, exist_ok=True)
    ladder.save()
    return ladder


def _train_stage(
    ladder: _Ladder,
    stage: Stage,
    train_and_val: TrainingData,
    resume: bool,
    quiet: bool,
    stop: StopRequest | None,
    watch: ProgressBar,
) -> dict[str, Any]:
    """Train a stage, compare it with the chosen one and return its record."""
    folder = ladder.out / STAGES / stage.name
    began = time.perf_counter() - ladder.trained(stage)
    if "test_time" not in stage.settings:
        config = _with_changes(ladder.config, _with_start(ladder, stage.settings))
        if resume and folder.is_dir() and not (folder / "config.yaml").is_file():
            shutil.rmtree(folder)  # stopped before it saved a state
        run = train_opened(
            train_and_val, config, folder, resume and folder.is_dir(), quiet, stop or StopRequest()
        )
    else:
        run = _with_views(ladder, stage.settings["test_time"], folder, train_and_val)
    row: dict[str, Any] = {"stage": stage.name, "settings": dict(stage.settings)}
    row["val_mAP"] = read_json(run.path / "results.json")["splits"]["val"]["metrics"]["mAP"]
    row["chosen"], reason = True, "the first"
    if ladder.chosen is not None:
        scores = [ladder.out / STAGES / name / "scores" / "val.npz" for name in (stage.name, ladder.chosen)]
        row |= {"against": ladder.chosen, **compared(*map(StoredScores.read, scores))}
        row["needed"] = needed_share(stage.settings, ladder.chosen_settings, len(ladder.plan.stages) - 1)
        row["chosen"] = row["better_in"] >= row["needed"]
        reason = (
            f"{100 * row['gain']:+.1f} points [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] to {ladder.chosen}, "
            f"better in {row['better_in']:.0%} of samples, {row['needed']:.0%} needed"
        )
    row["seconds"] = round(time.perf_counter() - began, 1)
    watch.say(
        f"{stage.name}: val mAP {decimals(row['val_mAP'])}, {row['seconds']:.0f} s; "
        f"{'chosen' if row['chosen'] else 'not chosen'}, {reason}"
    )
    return row


def needed_share(ours: Mapping[str, Any], theirs: Mapping[str, Any], stages: int) -> float:
    """The share of paired bootstrap samples in which a stage must be better than the chosen one to replace it.

    Args:
        ours, theirs: settings of the stage and of the chosen one.
        stages: number of stages that may replace a simpler one; the share rises with it (Bonferroni).
    """
    methods = [settings.get("method", "baseline-") for settings in (ours, theirs)]
    return 1 - CHANCE / stages if any(method.startswith("baseline-") for method in methods) else EVEN


def _with_start(ladder: _Ladder, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of a stage; without a method, those of the chosen stage, to go on from its weights."""
    if "method" in settings:
        return settings
    assert ladder.chosen is not None
    start = {"init_from": str(ladder.out / STAGES / ladder.chosen)}
    optim = {"optim.name": ladder.config.optim.name}  # a linear probe's own solves a frozen classifier only
    return {**ladder.chosen_settings, **optim, **start, **settings}


def _with_views(ladder: _Ladder, views: str, folder: Path, train_and_val: TrainingData) -> Run:
    """Copy the chosen stage and tune its decisions and figures for more test-time views."""
    shutil.rmtree(folder, ignore_errors=True)  # an unfinished copy
    try:
        shutil.copytree(Run.open(ladder.out).path, folder)
    except shutil.Error as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise LabelwiseError(
            f"{folder} could not be written ({error.args[0][0][2]})",
            "a writable disk with free space",
            "free some space, then go on with --resume; the stages before it are intact",
        ) from None
    workers = decoding_processes(ladder.config.workers)
    tune_run(folder, train_and_val.dataset, test_time=views, workers=workers)
    return Run.open(folder)


def compared(ours: StoredScores, theirs: StoredScores) -> dict[str, float]:
    """Return the mAP gain over paired bootstrap samples: mean, 95 % interval and the share above 0.

    Raises:
        LabelwiseError: the two hold scores of different images.
    """
    if ours.ids.tolist() != theirs.ids.tolist():
        raise LabelwiseError(
            "stages with scores of different images", "the same validation images", "train again"
        )
    counts = bootstrap.bootstrap_counts(len(ours.ids), group=ours.group)
    gain = ours.resampled_map(counts) - theirs.resampled_map(counts)
    bounds = bootstrap.interval(gain)
    return {"gain": float(np.nanmean(gain)), **bounds, "better_in": float((gain > 0).mean())}


def _with_changes(config: Config, changes: Mapping[str, Any]) -> Config:
    """The settings of a stage: those of the run, with changes by dotted names."""
    settings = config.model_dump(mode="json")
    if config.test_time == resolved(SCALES, config.image_size):
        settings["test_time"] = SCALES  # its second size follows from the stage's own
    for name, value in changes.items():
        put(settings, name, value)
    return make_config(settings)


def _evaluate_test(run: Run, dataset: Dataset, overlap: Mapping[str, Any], watch: ProgressBar) -> None:
    """Evaluate the chosen stage on the test split, once."""
    file = run.path / "results.json"
    record = read_json(file)
    if not dataset.splits().get("test") or "test" in record["splits"]:
        return
    result = evaluate(run, dataset, "test", workers=decoding_processes(run.config.workers))
    result = replace(result, conditions={**result.conditions, **overlap})
    result.scores.save(run.path / "scores" / "test.npz", dataset.split("test"))
    record["splits"]["test"] = result.to_json()
    write_json(file, record)
    watch.say(f"test: mAP {decimals(result.metrics['mAP'])}  ({len(result.scores.rows):,} images)")
