"""Stages one after the other, each a whole run; the best by validation is what the folder answers as."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwise.anytime.plan import Plan, Stage, make_plan
from labelwise.anytime.speed import Speed
from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.evaluation.evaluate import evaluate
from labelwise.evaluation.figures import shown
from labelwise.evaluation.scores import StoredScores
from labelwise.metrics import bootstrap
from labelwise.training.assigning import put
from labelwise.training.config import Config, make_config
from labelwise.training.files import read_json, write_json
from labelwise.training.fit import train
from labelwise.training.loaders import decoding_processes
from labelwise.training.mistakes import warn_of_mistakes
from labelwise.training.progress import Watch
from labelwise.training.run import CHOSEN, STAGES, Run
from labelwise.training.splitting import with_splits
from labelwise.training.stopping import StopRequest

PLAN = "plan.json"
SURE = 0.9
"""Share of paired draws of the validation images in which a stage must be better than a simpler one."""


@dataclass
class _Ladder:
    """What is known of the stages so far.

    Args:
        out: the run's folder.
        config: settings that the stages' own are laid over.
        plan: the stages.
        rows: a record of each stage that ended or was left out.
    """

    out: Path
    config: Config
    plan: Plan
    rows: list[dict[str, Any]]

    def save(self) -> None:
        """Write the plan and what became of it; from then on the folder answers as the chosen stage."""
        settings = self.config.model_dump(mode="json")
        write_json(self.out / PLAN, {**self.plan.to_json(), "settings": settings, "ladder": self.rows})
        if self.chosen is not None:
            write_json(self.out / CHOSEN, {"stage": self.chosen})

    @property
    def chosen(self) -> str | None:
        """Name of the stage that was chosen last."""
        return next((row["stage"] for row in reversed(self.rows) if row.get("chosen")), None)

    @property
    def spent(self) -> float:
        """Seconds of the stages that ended."""
        return sum(row.get("seconds", 0.0) for row in self.rows)


def train_within(
    config: Config,
    seconds: float,
    out: Path,
    given: frozenset[str] = frozenset(),
    *,
    resume: bool = False,
    quiet: bool = False,
    stop: StopRequest | None = None,
) -> Run:
    """Train for a stated time.

    Each stage is trained into `out/stages/NAME` and judged on the validation split. A later stage is chosen where it is
    better than the chosen one in at least 90 % of paired draws of the validation images, else the simpler one stays.
    From the first stage on `out` is a run. The test split is judged once, by the stage that is chosen at the end.

    Args:
        config: settings; what is not in `given` is for the plan to choose.
        seconds: for all of it, with the measuring of the machine.
        out: the run's folder.
        given: dotted names of the settings that the person chose.
        resume: go on with the plan in `out`, whose settings are those that it began with, see `settings_of_plan`.
        quiet: print nothing.
        stop: a request to stop, as for `train`.

    Raises:
        LabelwiseError: no validation split to choose by, or a folder that holds another run.
        Stopped: after a request to stop; what has ended stays usable.
    """
    began = time.perf_counter()
    watch = Watch(quiet)
    _refuse(config, out, resume)
    dataset = with_splits(config, None)
    if not dataset.splits().get("val"):
        raise LabelwiseError(
            "--time for data without a val split", "validation images to choose by", "leave --time out"
        )
    overlaps = warn_of_mistakes(dataset, config, watch.say)
    learned = dataset.split("+".join(name for name in ("train", "val") if dataset.splits().get(name)))
    ladder = _opened(out, config, dataset, seconds, given, resume, watch.say)
    for line in ladder.plan.lines():
        watch.say(line)
    before = ladder.spent
    for place, stage in enumerate(ladder.plan.stages):
        if any(row["stage"] == stage.name for row in ladder.rows):
            continue
        left = seconds - before - (time.perf_counter() - began) - ladder.plan.judging
        if place and stage.seconds > left:
            ladder.rows.append(
                {"stage": stage.name, "left_out": f"{stage.seconds:.0f} s of {left:.0f} s left"}
            )
            watch.say(f"{stage.name}: left out, {ladder.rows[-1]['left_out']}")
        else:
            ladder.rows.append(_climb(ladder, stage, learned, resume, quiet, stop, watch))
        ladder.save()
    chosen = Run.open(out)
    _judge_test(chosen, dataset, overlaps.get("test", {}), watch)
    watch.say(f"chosen: {ladder.chosen}, after {before + time.perf_counter() - began:.0f} s")
    return chosen


def _refuse(config: Config, out: Path, resume: bool) -> None:
    """Raises `LabelwiseError` for what cannot be trained in stages."""
    if not resume and ((out / PLAN).exists() or (out / "config.yaml").exists()):
        raise LabelwiseError(f"{out} holds a run", "a new folder", "use --resume or another --out")
    if resume and not (out / PLAN).exists():
        raise LabelwiseError(
            f"{out} without {PLAN}", "a run that was begun with --time", "leave --time or --resume out"
        )
    wrong = {
        "--weights none": config.backbone.weights == "none",
        "--init-from": config.init_from,
        "--teacher": config.teacher.run,
        "several processes": int(os.environ.get("WORLD_SIZE", "1")) > 1,
    }
    for given in (name for name, there in wrong.items() if there):
        raise LabelwiseError(
            f"--time with {given}",
            "pretrained weights in one process, for the stages rest on a frozen backbone",
            "leave one of the two out",
        )


def _opened(
    out: Path,
    config: Config,
    dataset: Dataset,
    seconds: float,
    given: frozenset[str],
    resume: bool,
    say: Callable[[str], None],
) -> _Ladder:
    """The plan that is there, or a new one."""
    file = out / PLAN
    if resume and file.is_file():
        stored = read_json(file)
        ladder = _Ladder(out, config, Plan.from_json(stored), stored["ladder"])
        ladder.save()
        return ladder
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    speed = Speed.measured(config, dataset, device, decoding_processes(config.workers), say)
    ladder = _Ladder(out, config, make_plan(config, dataset, seconds, speed, given), [])
    out.mkdir(parents=True, exist_ok=True)
    ladder.save()
    return ladder


def _climb(
    ladder: _Ladder,
    stage: Stage,
    learned: Dataset,
    resume: bool,
    quiet: bool,
    stop: StopRequest | None,
    watch: Watch,
) -> dict[str, Any]:
    """Train a stage, and compare it with the chosen one; gives its record."""
    began = time.perf_counter()
    folder = ladder.out / STAGES / stage.name
    own = _settings(ladder.config, stage.settings)
    if resume and folder.is_dir() and not (folder / "config.yaml").is_file():
        shutil.rmtree(folder)  # stopped before anything was kept
    run = train(own, folder, learned, resume=resume and folder.is_dir(), quiet=quiet, stop=stop)
    row: dict[str, Any] = {"stage": stage.name, "settings": dict(stage.settings)}
    row["val_mAP"] = read_json(run.path / "results.json")["splits"]["val"]["metrics"]["mAP"]
    row["chosen"], reason = True, "the first"
    if ladder.chosen is not None:
        scores = [ladder.out / STAGES / name / "scores" / "val.npz" for name in (stage.name, ladder.chosen)]
        row |= {"against": ladder.chosen, **compared(*map(StoredScores.read, scores))}
        row["chosen"] = row["better_in"] >= SURE
        reason = (
            f"{100 * row['gain']:+.1f} points [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] to {ladder.chosen}, "
            f"better in {row['better_in']:.0%} of draws"
        )
    row["seconds"] = round(time.perf_counter() - began, 1)
    watch.say(
        f"{stage.name}: val mAP {shown(row['val_mAP'])}, {row['seconds']:.0f} s; "
        f"{'chosen' if row['chosen'] else 'not chosen'}, {reason}"
    )
    return row


def settings_of_plan(out: Path) -> tuple[Config, float] | None:
    """Settings and seconds that a run within a time began with; `None` for another folder."""
    if not (out / PLAN).is_file():
        return None
    stored = read_json(out / PLAN)
    return make_config(stored["settings"]), stored["seconds"]


def compared(ours: StoredScores, theirs: StoredScores) -> dict[str, float]:
    """Gain in mAP over paired draws of the same images: its value, its 95 % interval and the share above 0.

    Raises:
        LabelwiseError: scores of other images.
    """
    if ours.ids.tolist() != theirs.ids.tolist():
        raise LabelwiseError("stages judged on other images", "the same validation images", "train anew")
    counts = bootstrap.bootstrap_counts(len(ours.ids))
    gap = _drawn(ours, counts) - _drawn(theirs, counts)
    ends = bootstrap.interval(gap)
    return {"gain": float(np.nanmean(gap)), **ends, "better_in": float((gap > 0).mean())}


def _drawn(scores: StoredScores, counts: np.ndarray) -> np.ndarray:
    return bootstrap.bootstrap_map(scores.logits, scores.values, scores.known.astype(bool), counts)


def _settings(config: Config, over: Mapping[str, Any]) -> Config:
    settings = config.model_dump(mode="json")
    for name, value in over.items():
        put(settings, name, value)
    return make_config(settings)


def _judge_test(run: Run, dataset: Dataset, overlap: Mapping[str, Any], watch: Watch) -> None:
    """Judge the chosen stage on the test images, once."""
    file = run.path / "results.json"
    record = read_json(file)
    if not dataset.splits().get("test") or "test" in record["splits"]:
        return
    result = evaluate(run, dataset, "test", workers=decoding_processes(run.config.workers))
    result = replace(result, conditions={**result.conditions, **overlap})
    result.scores.save(run.path / "scores" / "test.npz", dataset.split("test"))
    record["splits"]["test"] = result.to_json()
    write_json(file, record)
    watch.say(f"test: mAP {shown(result.metrics['mAP'])}  ({len(result.scores.rows):,} images)")
