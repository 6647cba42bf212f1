"""Training in stages: each leaves a run, the better one by validation is kept, and nothing is lost where it stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from typer.testing import CliRunner

import labelwise as lw
import tiny_runs
from labelwise.anytime import ladder as room
from labelwise.anytime.ladder import compared, settings_of_plan, train_within
from labelwise.anytime.plan import Plan, Stage
from labelwise.cli import app
from labelwise.errors import LabelwiseError, Stopped
from labelwise.evaluation.scores import StoredScores
from labelwise.metrics import functional as F
from labelwise.serving.collection import fingerprint
from labelwise.training.config import Config, make_config
from labelwise.training.run import Run
from labelwise.training.stopping import StopRequest


def _stage(name: str, **settings: Any) -> Stage:
    return Stage(name, {"backbone.freeze": True, "image_size": 32, **settings}, 1.0, "a reason")


STAGES = (
    _stage("1-probe", method="baseline-gap", **{"optim.name": "exact"}),
    _stage("2-csra", method="csra", epochs=2),
    _stage("3-gmp", method="baseline-gmp", **{"optim.name": "exact"}),
)


@pytest.fixture
def config(table: Path, tmp_path: Path) -> Config:
    """Settings with weights in a file, as pretrained ones are."""
    weights = tmp_path / "weights.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(timm.create_model("test_vit", num_classes=0, img_size=32).state_dict(), weights)
    backbone = {"name": "test_vit", "weights": str(weights), "stage": 1}
    settings = tiny_runs.settings(f"parquet:{table}", backbone=backbone)
    settings.pop("extractor")
    return make_config(settings)


@pytest.fixture(autouse=True)
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same plan on every machine."""
    monkeypatch.setattr(
        room, "make_plan", lambda config, data, seconds, speed, given: Plan(seconds, STAGES, 1.0)
    )


def files(out: Path) -> dict[str, bytes]:
    """Weights, labels, scores and figures of all stages, without times."""
    found = {}
    for file in sorted(out.rglob("*")):
        if file.suffix in (".safetensors", ".npz") or file.name in ("labels.json", "chosen.json"):
            found[str(file.relative_to(out))] = file.read_bytes()
        if file.name == "results.json":
            splits = json.loads(file.read_text())["splits"]
            found[str(file.relative_to(out))] = json.dumps(splits).encode()
    return found


def test_stages_leave_runs_and_the_better_is_kept(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = train_within(config, 600, out, quiet=True)
    stored = json.loads((out / "plan.json").read_text())
    rows = {row["stage"]: row for row in stored["ladder"]}
    assert list(rows) == [stage.name for stage in STAGES]
    kept = "1-probe"
    for name in list(rows)[1:]:
        assert rows[name]["against"] == kept
        assert rows[name]["chosen"] == (rows[name]["better_in"] >= 0.9)
        kept = name if rows[name]["chosen"] else kept
    assert run.path == Run.open(out).path == out / "stages" / kept
    for name in rows:
        results = json.loads((out / "stages" / name / "results.json").read_text())
        assert results["splits"]["val"]["metrics"]["mAP"] == rows[name]["val_mAP"]
        assert ("test" in results["splits"]) == (name == kept)  # judged once
    again = lw.evaluate(out, lw.read(config.data.source))
    assert results_of(out)["test"]["metrics"]["mAP"] == pytest.approx(again.metrics["mAP"], abs=1e-6)
    assert fingerprint(out) == fingerprint(run.path)
    assert settings_of_plan(out) == (config, 600)
    assert settings_of_plan(tmp_path) is None


def results_of(out: Path) -> dict[str, Any]:
    return json.loads((Run.open(out).path / "results.json").read_text())["splits"]


class Asks(StopRequest):
    """Asks to stop when it was looked at so many times."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        super().__init__()

    @property
    def by(self) -> str:
        self.looks -= 1
        return "SIGTERM" if self.looks < 0 else ""

    @by.setter
    def by(self, value: str) -> None:
        pass


def test_stopped_anywhere_it_ends_as_if_it_never_had_been(config: Config, tmp_path: Path) -> None:
    train_within(config, 600, tmp_path / "whole", quiet=True)
    expected = files(tmp_path / "whole")
    stops = 0
    for looks in (1, 6, 12, 17):
        out = tmp_path / f"stopped{looks}"
        try:
            train_within(config, 600, out, quiet=True, stop=Asks(looks))
        except Stopped:
            stops += 1
            if (out / "chosen.json").is_file():  # from the first stage on it answers
                assert lw.load(out).labels.names == lw.load(tmp_path / "whole").labels.names
            begun = settings_of_plan(out)
            assert begun is not None
            train_within(*begun, out, resume=True, quiet=True)
        assert files(out) == expected, looks
    assert stops > 2


def test_a_stage_that_ended_unnoticed_is_compared_again(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_within(config, 600, tmp_path / "whole", quiet=True)
    out, save, calls = tmp_path / "run", room._Ladder.save, []

    def dies(self: Any) -> None:
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save(self)

    monkeypatch.setattr(room._Ladder, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        train_within(config, 600, out, quiet=True)
    monkeypatch.undo()
    assert Run.open(out).path.name == "1-probe"
    train_within(config, 600, out, resume=True, quiet=True)
    assert files(out) == files(tmp_path / "whole")


def test_a_stage_for_which_no_time_is_left_is_left_out(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = (STAGES[0], Stage("2-long", STAGES[1].settings, 1e6, "long"), STAGES[2])
    monkeypatch.setattr(
        room, "make_plan", lambda config, data, seconds, speed, given: Plan(seconds, long, 1.0)
    )
    train_within(config, 600, tmp_path / "run", quiet=True)
    rows = json.loads((tmp_path / "run" / "plan.json").read_text())["ladder"]
    assert [("left_out" in row) for row in rows] == [False, True, False]
    assert not (tmp_path / "run" / "stages" / "2-long").exists()


def test_the_comparison_is_that_of_redrawn_images() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random((40, 3)) < 0.4).astype(np.float32)
    known = rng.random((40, 3)) < 0.9
    ids = np.arange(40).astype(str)
    one, other = (
        StoredScores(ids, (values * s + rng.normal(size=values.shape)).astype(np.float32), values, known)
        for s in (1.5, 0.7)
    )
    found = compared(one, other)
    draws = np.random.default_rng(0)
    gaps = []
    for _ in range(1000):
        rows = draws.integers(0, 40, 40)
        gap = [slow_map(s.logits[rows], s.values[rows], s.known[rows]) for s in (one, other)]
        gaps.append(gap[0] - gap[1])
    assert found["gain"] == pytest.approx(np.mean(gaps), abs=1e-6)
    assert found["better_in"] == pytest.approx(np.mean(np.array(gaps) > 0))
    assert found["low"] == pytest.approx(np.quantile(gaps, 0.025), abs=1e-6)
    assert compared(one, one)["better_in"] == 0
    with pytest.raises(LabelwiseError, match="the same validation images"):
        compared(one, StoredScores(ids[::-1], one.logits, values, known))


def slow_map(logits: np.ndarray, values: np.ndarray, known: np.ndarray) -> float:
    figures = F.average_precision(*(torch.from_numpy(np.asarray(part)) for part in (logits, values, known)))
    return float(np.nanmean(np.asarray(figures)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": {"name": "test_vit", "weights": "none"}}, "--time with --weights none"),
        ({"init_from": "somewhere"}, "--time with --init-from"),
        ({"teacher": {"run": "somewhere"}}, "--time with --teacher"),
    ],
)
def test_what_has_no_stages_is_refused(
    config: Config, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    settings = {**config.model_dump(mode="json"), **changes}
    with pytest.raises(LabelwiseError, match=said):
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
    with pytest.raises(LabelwiseError, match="--time with several processes"):
        train_within(config, 600, tmp_path / "run", quiet=True)


def test_data_without_validation_are_refused(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splits are made where there is no val, so it lacks only where no row could be spared."""
    data = lw.read(config.data.source)
    kept = data.split("train+test")
    monkeypatch.setattr("labelwise.anytime.ladder.with_splits", lambda config, data: kept)
    with pytest.raises(LabelwiseError, match="validation images to choose by"):
        train_within(config, 600, tmp_path / "run", quiet=True)


def test_the_command(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "run"
    weights = ["--backbone", "test_vit", "--weights", config.backbone.weights, "--image-size", "32"]
    words = ["train", "--data", config.data.source, *weights, "--time", "10m", "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    page = (out / "report.html").read_text()
    assert ">Stages<" in page
    assert all(stage.name in page for stage in STAGES)
    assert f"<title>{out.name}" in page
    for command in (["evaluate", str(out)], ["report", str(out)], ["tune", str(out)]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["train", "--out", str(out), "--resume", "--no-report"])
    assert result.exit_code == 0, result.output
    assert isinstance(CliRunner().invoke(app, words).exception, LabelwiseError)


def test_settings_of_every_way_are_chosen_by_the_person(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[frozenset[str]] = []

    def noted(config: Config, data: Any, seconds: float, speed: Any, given: frozenset[str]) -> Plan:
        seen.append(given)
        return Plan(seconds, STAGES[:1], 1.0)

    monkeypatch.setattr(room, "make_plan", noted)
    (tmp_path / "more.yaml").write_text("method: mcar\n")
    words = [
        "train",
        "--data",
        config.data.source,
        "--weights",
        config.backbone.weights,
        "--backbone",
        "test_vit",
    ]
    words += [
        "--config",
        str(tmp_path / "more.yaml"),
        "--set",
        "image_size=32",
        "--epochs",
        "3",
        "--no-report",
    ]
    result = CliRunner().invoke(app, [*words, "--time", "10m", "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert {"method", "image_size", "epochs"} <= seen[0]
