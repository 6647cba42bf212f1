"""Training in stages: each leaves a run, validation selects one, and a stopped training resumes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import labelwise as lw
from labelwise.anytime import ladder, settings_of_plan, train_within
from labelwise.anytime.ladder import compared
from labelwise.anytime.plan import TUNED, Plan, Stage
from labelwise.errors import LabelwiseError, Stopped
from labelwise.evaluation.scores import StoredScores
from labelwise.inference.folders import fingerprint_model
from labelwise.metrics import functional as F
from labelwise.runs.config import Config, make_config
from labelwise.runs.run import Run
from labelwise.training import resuming
from labelwise.training.loop import Trainer
from labelwise.training.stopping import StopRequest


def _stage(name: str, **settings: Any) -> Stage:
    return Stage(name, {"backbone.freeze": True, "image_size": 32, **settings}, 1.0, "a reason")


STAGES = (
    _stage("1-probe", method="baseline-gap", **{"optim.name": "exact"}),
    _stage("2-csra", method="csra", epochs=2),
    _stage("3-gmp", method="baseline-gmp", **{"optim.name": "exact"}),
)


@pytest.fixture(autouse=True)
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same plan on every machine."""
    monkeypatch.setattr(
        ladder, "make_plan", lambda config, data, seconds, speed, given: Plan(seconds, STAGES)
    )


@pytest.fixture(scope="module")
def whole(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training in stages; tests must not change it."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder, "make_plan", lambda *_: Plan(600, STAGES))
        patch.setenv("LABELWISE_CACHE", str(out.parent / "cache"))
        train_within(config, 600, out, quiet=True)
    return out


@pytest.mark.parametrize(
    ("ours", "theirs", "share"),
    [
        ("baseline-mlp", "baseline-gap", 0.9),
        ("csra", "baseline-mlp", 0.9),
        ("ssgrl", "csra", 0.5),
        (None, "csra", 0.9),  # more views of each image make predictions slower
        ("dlfl", None, 0.9),
    ],
)
def test_a_simpler_stage_is_replaced_by_one_that_is_better_beyond_noise(
    ours: str | None, theirs: str | None, share: float
) -> None:
    settings = [{"method": name} if name else {"test_time": "flip"} for name in (ours, theirs)]
    assert ladder.needed_share(*settings, 1) == share
    assert ladder.needed_share(*settings, 4) == (
        0.975 if share == 0.9 else share
    )  # four chances to win by luck


def files(out: Path) -> dict[str, bytes]:
    """Return weights, labels, scores and figures of all stages, without times."""
    contents = {}
    for file in sorted(out.rglob("*")):
        if file.suffix in (".safetensors", ".npz") or file.name in ("labels.json", "chosen.json"):
            contents[str(file.relative_to(out))] = file.read_bytes()
        if file.name == "results.json":
            splits = json.loads(file.read_text())["splits"]
            for split in splits.values():
                split["conditions"].pop("labelwise_commit")  # may change between two runs
            contents[str(file.relative_to(out))] = json.dumps(splits).encode()
    return contents


def test_stages_leave_runs_and_the_best_is_chosen(config: Config, whole: Path, tmp_path: Path) -> None:
    out = whole
    stored = json.loads((out / "plan.json").read_text())
    rows = {row["stage"]: row for row in stored["ladder"]}
    assert list(rows) == [stage.name for stage in STAGES]
    kept = "1-probe"
    for name in list(rows)[1:]:
        assert rows[name]["against"] == kept
        share = ladder.needed_share(rows[name]["settings"], rows[kept]["settings"], len(STAGES) - 1)
        assert rows[name]["chosen"] == (rows[name]["better_in"] >= share)
        kept = name if rows[name]["chosen"] else kept
    assert Run.open(out).path == out / "stages" / kept
    for name in rows:
        results = json.loads((out / "stages" / name / "results.json").read_text())
        assert results["splits"]["val"]["metrics"]["mAP"] == rows[name]["val_mAP"]
        assert ("test" in results["splits"]) == (name == kept)  # judged once
    again = lw.evaluate(out, lw.read(config.data.source))
    assert results_of(out)["test"]["metrics"]["mAP"] == pytest.approx(again.metrics["mAP"], abs=1e-6)
    assert fingerprint_model(out) == fingerprint_model(Run.open(out).path)
    assert settings_of_plan(out) == (config, 600)
    assert settings_of_plan(tmp_path) is None


def test_fine_tuning_goes_on_from_the_chosen_stage(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the chosen stage's settings and weights, a backbone that learns, and can be resumed and moved."""
    tuned = Stage("3-tuned", {**TUNED, "epochs": 1}, 1.0, "a reason")
    monkeypatch.setattr(ladder, "make_plan", lambda *_: Plan(3600, (*STAGES[:2], tuned)))
    monkeypatch.setattr(ladder, "CHANCE", 100.0)  # each is chosen
    out = tmp_path / "run"
    run = train_within(config, 3600, out, quiet=True)
    before = Run.open(out / "stages" / "2-csra")
    assert run.path.name == "3-tuned"
    assert (run.config.method, run.config.image_size) == ("csra", 32)
    assert run.config.init_from == str(before.path)
    assert not run.config.backbone.freeze
    assert run.config.epochs == 1
    ours, theirs = ({**r.model().state_dict()} for r in (run, before))
    moved = {key: float((ours[key] - theirs[key]).abs().max()) for key in ours}
    assert 0 < max(move for key, move in moved.items() if key.startswith("backbone")) < 0.01
    assert max(move for key, move in moved.items() if not key.startswith("backbone")) < 0.1
    first = files(out)
    shutil.rmtree(run.path)
    stored = json.loads((out / "plan.json").read_text())
    stored["ladder"].pop()
    (out / "plan.json").write_text(json.dumps(stored))
    train_within(config, 3600, out, resume=True, quiet=True)
    assert files(out) == first
    moved_to = out.rename(tmp_path / "moved")
    assert Run.open(moved_to).path == moved_to / "stages" / "3-tuned"
    lw.evaluate(moved_to, lw.read(config.data.source))


def test_a_stage_resumes_in_a_folder_that_was_moved(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fine-tuning has the path of the stage that it starts from among its settings."""
    tuned = Stage("3-tuned", {**TUNED, "epochs": 2}, 1.0, "a reason")
    monkeypatch.setattr(ladder, "make_plan", lambda *_: Plan(3600, (STAGES[1], tuned)))
    whole, out, saves, save = tmp_path / "whole", tmp_path / "run", [], Trainer._save

    def interrupted_save(self: Trainer) -> None:
        saves.append(self.run.path.name)
        if len(saves) == 4:
            raise KeyboardInterrupt
        save(self)

    train_within(config, 3600, whole, quiet=True)
    monkeypatch.setattr(Trainer, "_save", interrupted_save)
    with pytest.raises(KeyboardInterrupt):
        train_within(config, 3600, out, quiet=True)
    assert saves == ["2-csra", "2-csra", "3-tuned", "3-tuned"]
    monkeypatch.setattr(Trainer, "_save", save)
    out.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    train_within(config, 3600, Path("moved"), resume=True, quiet=True)
    assert files(tmp_path / "moved") == files(whole)


@pytest.mark.parametrize(
    ("stage", "begun", "now", "same"),
    [
        ("run/stages/3-tuned", "old/run/stages/2-csra", "run/stages/2-csra", True),
        ("run/stages/3-tuned", "run/stages/2-csra", "run/stages/1-probe", False),
        ("run/stages/3-tuned", "old/run/stages/2-csra", "other/stages/2-csra", False),
        ("runs/grown", "old/runs/base", "runs/base", False),  # two runs may have one name
        ("run/stages/2-csra", "", "", False),
    ],
)
def test_the_stage_to_start_from_is_known_by_its_place(stage: str, begun: str, now: str, same: bool) -> None:
    assert resuming._is_same_stage(Path(stage), begun, now) == same


def test_views_are_a_stage_of_the_chosen_run(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the chosen stage's weights, its own decisions and figures, and is compared like any other stage."""
    stages = (*STAGES[:2], Stage("3-flip", {"test_time": "flip"}, 1.0, "a reason"))
    monkeypatch.setattr(ladder, "make_plan", lambda *_: Plan(3600, stages))
    monkeypatch.setattr(ladder, "CHANCE", 100.0)  # each is chosen
    out = tmp_path / "run"
    run = train_within(config, 3600, out, quiet=True)
    assert (run.path.name, run.config.test_time) == ("3-flip", "flip")
    before = out / "stages" / "2-csra"
    assert (run.path / "model.safetensors").read_bytes() == (before / "model.safetensors").read_bytes()
    row = json.loads((out / "plan.json").read_text())["ladder"][-1]
    results = json.loads((run.path / "results.json").read_text())["splits"]
    assert results["val"]["metrics"]["mAP"] == row["val_mAP"]
    assert results["test"]["conditions"]["test_time_augmentation"] == "flip"
    assert "test" not in json.loads((before / "results.json").read_text())["splits"]
    again = lw.evaluate(out, lw.read(config.data.source), "val")
    assert again.metrics["mAP"] == pytest.approx(row["val_mAP"], abs=1e-9)
    plain = json.loads((before / "results.json").read_text())["splits"]["val"]["metrics"]
    assert plain["mAP"] != row["val_mAP"]
    stopped = tmp_path / "stopped"
    shutil.copytree(out, stopped)
    stored = json.loads((out / "plan.json").read_text())
    (stopped / "plan.json").write_text(json.dumps({**stored, "ladder": stored["ladder"][:2]}))
    (stopped / "stages" / "3-flip" / "config.yaml").unlink()  # a copy that was not finished
    train_within(config, 3600, stopped, resume=True, quiet=True)
    assert files(stopped) == files(out)


def results_of(out: Path) -> dict[str, Any]:
    return json.loads((Run.open(out).path / "results.json").read_text())["splits"]


class StopAfter(StopRequest):
    """A stop request that becomes active after `checks` checks."""

    def __init__(self, checks: int) -> None:
        self.checks = checks
        super().__init__()

    @property
    def by(self) -> str:
        self.checks -= 1
        return "SIGTERM" if self.checks < 0 else ""

    @by.setter
    def by(self, value: str) -> None:
        pass


def test_a_stopped_training_ends_like_an_uninterrupted_one(
    config: Config, whole: Path, tmp_path: Path
) -> None:
    expected = files(whole)
    stops = 0
    for checks in (1, 6, 12, 17):
        out = tmp_path / f"stopped{checks}"
        try:
            train_within(config, 600, out, quiet=True, stop=StopAfter(checks))
        except Stopped:
            stops += 1
            if (out / "chosen.json").is_file():  # usable from the first stage on
                assert lw.load(out).labels.names == lw.load(whole).labels.names
            begun = settings_of_plan(out)
            assert begun is not None
            train_within(*begun, out, resume=True, quiet=True)
        assert files(out) == expected, checks
    assert stops > 2


def test_the_seconds_of_a_stopped_stage_count(config: Config, tmp_path: Path) -> None:
    """The time that was asked holds over all processes: earlier epochs of a stage are in its record."""
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        train_within(config, 600, out, quiet=True, stop=StopAfter(12))
    (log,) = [file for file in out.glob("stages/2-*/metrics.jsonl") if "epoch" in file.read_text()]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "epoch":
            line["seconds"] += 100.0
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    begun = settings_of_plan(out)
    assert begun is not None
    train_within(*begun, out, resume=True, quiet=True)
    row = json.loads((out / "plan.json").read_text())["ladder"][1]
    assert 100 < row["seconds"] < 200


def test_a_finished_stage_without_a_record_is_compared_again(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, save, calls = tmp_path / "run", ladder._Ladder.save, []

    def interrupted_save(self: Any) -> None:
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save(self)

    monkeypatch.setattr(ladder._Ladder, "save", interrupted_save)
    with pytest.raises(KeyboardInterrupt):
        train_within(config, 600, out, quiet=True)
    monkeypatch.setattr(ladder._Ladder, "save", save)
    assert Run.open(out).path.name == "1-probe"
    train_within(config, 600, out, resume=True, quiet=True)
    assert files(out) == files(whole)


def test_the_folder_names_the_chosen_stage_before_the_plan_does(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the two files leaves a usable run."""
    out, writes = tmp_path / "run", []
    write_json = ladder.write_json

    def record(path: Path, data: Any) -> None:
        write_json(path, data)
        if path.name == "plan.json" and any(row.get("chosen") for row in data["ladder"]):
            writes.append(Run.open(out).path.name)

    monkeypatch.setattr(ladder, "write_json", record)
    train_within(config, 600, out, quiet=True)
    assert writes[0] == STAGES[0].name
    assert len(writes) == len(STAGES)


def test_a_full_disk_under_a_copied_stage_is_one_line(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    stored = json.loads((out / "plan.json").read_text())
    stored["stages"].append({"name": "4-flip", "settings": {"test_time": "flip"}, "seconds": 1.0, "why": ""})
    (out / "plan.json").write_text(json.dumps(stored))

    def full(source: Path, target: Path) -> None:
        target.mkdir()
        raise shutil.Error([(str(source), str(target), "[Errno 28] No space left on device")])

    monkeypatch.setattr(ladder.shutil, "copytree", full)
    with pytest.raises(LabelwiseError, match=r"4-flip could not be written \(\[Errno 28\] No space") as error:
        train_within(config, 600, out, resume=True, quiet=True)
    assert "--resume" in str(error.value)
    assert not (out / "stages" / "4-flip").exists()
    assert Run.open(out).path.name == Run.open(whole).path.name
    monkeypatch.undo()


def test_a_stage_without_enough_time_is_left_out(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = (STAGES[0], Stage("2-long", STAGES[1].settings, 1e6, "long"), STAGES[2])
    monkeypatch.setattr(ladder, "make_plan", lambda config, data, seconds, speed, given: Plan(seconds, long))
    train_within(config, 600, tmp_path / "run", quiet=True)
    rows = json.loads((tmp_path / "run" / "plan.json").read_text())["ladder"]
    assert [("left_out" in row) for row in rows] == [False, True, False]
    assert not (tmp_path / "run" / "stages" / "2-long").exists()


def test_the_comparison_is_a_paired_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ladder.bootstrap, "bootstrap_counts", partial(ladder.bootstrap.bootstrap_counts, number=200)
    )
    rng = np.random.default_rng(0)
    values = (rng.random((40, 3)) < 0.4).astype(np.float32)
    known = rng.random((40, 3)) < 0.9
    ids = np.arange(40).astype(str)
    one, other = (
        StoredScores(ids, (values * s + rng.normal(size=values.shape)).astype(np.float32), values, known)
        for s in (1.5, 0.7)
    )
    comparison = compared(one, other)
    sampler = np.random.default_rng(0)
    gaps = []
    for _ in range(200):
        rows = sampler.integers(0, 40, 40)
        gap = [slow_map(s.logits[rows], s.values[rows], s.known[rows]) for s in (one, other)]
        gaps.append(gap[0] - gap[1])
    assert comparison["gain"] == pytest.approx(np.mean(gaps), abs=1e-6)
    assert comparison["better_in"] == pytest.approx(np.mean(np.array(gaps) > 0))
    assert comparison["low"] == pytest.approx(np.quantile(gaps, 0.025), abs=1e-6)
    assert compared(one, one)["better_in"] == 0
    with pytest.raises(LabelwiseError, match="the same validation images"):
        compared(one, StoredScores(ids[::-1], one.logits, values, known))


def slow_map(logits: np.ndarray, values: np.ndarray, known: np.ndarray) -> float:
    figures = F.average_precision(*(torch.from_numpy(np.asarray(part)) for part in (logits, values, known)))
    return float(np.nanmean(np.asarray(figures)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": {"name": "test_vit", "weights": "none"}}, "--time or --preset with --weights none"),
        ({"init_from": "somewhere"}, "--time or --preset with --init-from"),
        ({"teacher": {"run": "somewhere"}}, "--time or --preset with --teacher"),
    ],
)
def test_settings_that_rule_out_stages_are_refused(
    config: Config, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    settings = {**config.model_dump(mode="json"), **changes}
    with pytest.raises(LabelwiseError, match=message):
        train_within(make_config(settings), 600, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_folders_of_other_kinds_are_refused(
    config: Config, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LabelwiseError, match="holds a run; expected a new folder"):
        train_within(config, 600, run_folder, quiet=True)
    with pytest.raises(LabelwiseError, match=r"without plan\.json"):
        train_within(config, 600, run_folder, resume=True, quiet=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LabelwiseError, match="with several processes"):
        train_within(config, 600, tmp_path / "run", quiet=True)


def test_a_resumed_training_without_a_plan_begins(config: Config, whole: Path, tmp_path: Path) -> None:
    """It may have been killed before it had one, and a scheduler repeats its command."""
    train_within(config, 600, tmp_path / "run", resume=True, quiet=True)
    assert files(tmp_path / "run") == files(whole)


@pytest.mark.parametrize("unjudged", [False, True])
def test_validation_that_cannot_judge_is_refused(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unjudged: bool
) -> None:
    data = lw.read(config.data.source)
    values = data.values.copy()
    values[data.rows_of("val")] = 0
    monkeypatch.setattr(
        "labelwise.training.opening.with_splits", lambda config, _: replace(data, values=values)
    )
    settings = config.data.model_copy(update={"unjudged_validation": unjudged})
    with pytest.raises(LabelwiseError, match="16 val images in which no label has both") as error:
        train_within(config.model_copy(update={"data": settings}), 600, tmp_path / "run", quiet=True)
    assert "--epochs 10 --set data.unjudged_validation=true" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_data_without_validation_are_refused(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing val split is made, so it is missing only if there are too few rows."""
    data = lw.read(config.data.source)
    kept = data.split("train+test")
    monkeypatch.setattr("labelwise.training.opening.with_splits", lambda config, data: kept)
    with pytest.raises(LabelwiseError, match="validation images to choose by"):
        train_within(config, 600, tmp_path / "run", quiet=True)


def test_views_given_follow_the_size_of_each_stage(config: Config) -> None:
    settings = {**config.model_dump(mode="json"), "image_size": 224, "test_time": "multi-scale"}
    made = make_config(settings)
    assert made.test_time == "multi-scale=288"
    assert ladder._with_changes(made, {"image_size": 448}).test_time == "multi-scale=576"
    own = make_config({**settings, "test_time": "multi-scale=500"})
    assert ladder._with_changes(own, {"image_size": 448}).test_time == "multi-scale=500"
