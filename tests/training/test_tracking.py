"""Trackers hold the numbers that metrics.jsonl holds, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelwise.errors import LabelwiseError
from labelwise.runs.config import make_config
from labelwise.runs.files import read_json
from labelwise.training import tracking
from labelwise.training.fit import train
from tiny_runs import settings


@pytest.fixture(scope="module")
def tracked(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that wrote to all three trackers, with no place named in the environment."""
    base = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_SILENT", "true")
        options = settings(f"parquet:{table}", tensorboard=True, mlflow=True, wandb=True)
        train(make_config(options), base / "mine", quiet=True)
    return base / "mine"


def steps(run: Path) -> dict[int, float]:
    """The loss of every logged step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "step"}


def test_tensorboard_holds_the_same_losses(tracked: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tracked / "tensorboard"))
    events.Reload()
    logged = {e.step: e.value for e in events.Scalars("train/loss")}
    assert logged == pytest.approx(steps(tracked))
    final = read_json(tracked / "results.json")["splits"]["test"]["metrics"]["mAP"]
    assert events.Scalars("final/test/mAP")[-1].value == pytest.approx(final)


def test_mlflow_holds_the_same_losses_and_the_settings(tracked: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tracked.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("labelwise")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "mine"
    assert run.info.status == "FINISHED"
    assert run.data.params["backbone.name"] == "test_vit"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {m.step: m.value for m in history} == pytest.approx(steps(tracked))
    final = read_json(tracked / "results.json")["splits"]["test"]["metrics"]["mAP"]
    assert run.data.metrics["final/test/mAP"] == pytest.approx(final)


def test_wandb_writes_under_the_run_and_sends_nothing(tracked: Path) -> None:
    (offline,) = (tracked / "wandb").glob("offline-run-*")
    (log,) = offline.glob("run-*.wandb")
    held = log.read_bytes()
    assert b"train/loss" in held
    assert b"final/test/mAP" in held


def test_tracking_changes_no_weight(tracked: Path, run_folder: Path) -> None:
    assert (run_folder / "model.safetensors").read_bytes() == (tracked / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", tracking.TRACKERS)
def test_a_missing_package_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    config = make_config(settings("digits:", **{name: True}))
    with pytest.raises(LabelwiseError, match=rf"pip install 'labelwise\[{name}\]'"):
        tracking.Tracking(tmp_path, config)
