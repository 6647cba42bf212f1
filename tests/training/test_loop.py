"""The loop: stopping and going on, accumulation, averaging, choosing, and a loss that runs away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.runs import Run
from labelwise.runs.config import make_config
from labelwise.runs.run import WEIGHTS
from labelwise.training import loop
from labelwise.training.checkpoint import PREVIOUS, STATE, load_state
from labelwise.training.fit import train


class _Stop(Exception):  # noqa: N818 - it stands for a power failure
    """What ends a run in the middle."""


def _run(table: Path, out: Path, *, resume: bool = False, **changes: Any) -> Run:
    config = make_config(tiny_runs.settings(f"parquet:{table}", **changes))
    return train(config, out, quiet=True, resume=resume)


def _stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    honest, done = loop.Trainer._step, [0]

    def step(self: loop.Trainer, batches: Any) -> Any:
        if done[0] == steps:
            raise _Stop
        done[0] += 1
        return honest(self, batches)

    monkeypatch.setattr(loop.Trainer, "_step", step)


def _lines(out: Path) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in e.items() if k not in ("seconds", "images_per_second")} for e in entries]


@pytest.mark.parametrize(
    ("backbone", "changes"),
    [
        ("test_vit", {"save_every": 1}),
        ("test_resnet", {"save_every": 2, "ema": 0.0, "optim": {"name": "sgd", "accumulate": 2}}),
        ("test_convnext", {"save_every": 4, "precision": "bf16", "patience": 1, "epochs": 3}),
    ],
)
def test_a_run_that_was_stopped_ends_as_if_it_never_had_been(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, changes: dict[str, Any]
) -> None:
    changes = {
        "epochs": 2,
        **changes,
        "backbone": {"name": backbone, "weights": "none", "stage": 1, "drop_path": 0.1},
    }
    _run(table, tmp_path / "whole", **changes)
    out, resume = tmp_path / "stopped", False
    for steps in (0, 5, 7):
        with monkeypatch.context() as patch:
            _stop_after(patch, steps)
            try:
                _run(table, out, resume=resume, **changes)
            except _Stop:
                resume = True
            else:
                assert resume, "the run was never stopped"
    _run(table, out, resume=True, **changes)
    assert (out / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert _lines(out) == _lines(tmp_path / "whole")
    splits = [json.loads((p / "results.json").read_text())["splits"] for p in (out, tmp_path / "whole")]
    assert splits[0] == splits[1]


PLAIN = {
    "augment": {"flip": 0.0, "multi_scale": []},
    "extractor": {"dim": 16, "ffn": 16, "dropout": 0.0, "map_dropout": 0.0},
}


@pytest.mark.usefixtures("unjudged")
def test_two_half_batches_to_a_step_are_one_whole_batch(tmp_path: Path, table: Path) -> None:
    _run(table, tmp_path / "whole", **PLAIN, batch_size=16, epochs=2, ema=0.0)
    _run(table, tmp_path / "parts", **PLAIN, batch_size=8, epochs=2, ema=0.0, optim={"accumulate": 2})
    whole, parts = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "parts"))
    assert load_state(tmp_path / "parts" / STATE)[0].step == 6
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=2e-4, rtol=0)


@pytest.mark.usefixtures("unjudged")
def test_the_kept_weights_are_the_average_of_what_was_trained(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    honest = loop.Trainer._step

    def step(self: loop.Trainer, batches: Any) -> Any:
        outcome = honest(self, batches)
        seen.append({k: v.detach().clone() for k, v in self.method.model.named_parameters()})
        return outcome

    monkeypatch.setattr(loop.Trainer, "_step", step)
    _run(table, tmp_path / "run", epochs=1, ema=0.5)
    average = seen[0]
    for i, weights in enumerate(seen[1:], 1):
        # The decay rises from 0 to the largest one, so that the start is soon forgotten.
        decay = min(0.5, 1 - i ** -(2 / 3)) if i > 1 else 0.0
        average = {k: decay * average[k] + (1 - decay) * weights[k] for k in weights}
    kept = load_file(tmp_path / "run" / WEIGHTS)
    for name, tensor in average.items():
        torch.testing.assert_close(kept[name], tensor, atol=1e-6, rtol=1e-5)


@pytest.mark.usefixtures("unjudged")
def test_the_best_epoch_is_kept_and_patience_ends_the_run(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([0.2, 0.5, 0.5, 0.1, 0.9])
    kept: list[int] = []
    monkeypatch.setattr(loop.Trainer, "_validate", lambda self: next(figures))
    honest = Run.save_weights

    def save(self: Run, model: Any) -> None:
        kept.append(len(kept))
        honest(self, model)

    monkeypatch.setattr(Run, "save_weights", save)
    _run(table, tmp_path / "run", epochs=5, patience=2)
    progress, _ = load_state(tmp_path / "run" / STATE)
    assert (progress.epoch, progress.best_epoch, progress.best) == (4, 2, 0.5)
    assert len(kept) == 2
    assert [e["best"] for e in _lines(tmp_path / "run") if e["kind"] == "epoch"] == [True, True, False, False]


def test_a_loss_that_runs_away_stops_the_run_and_keeps_the_state(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = loop.Trainer._step

    def step(self: loop.Trainer, batches: Any) -> Any:
        if self.progress.step == 8:
            method = self.stepper
            self.stepper = lambda batch: {k: v * float("nan") for k, v in method(batch).items()}
            self.stepper.train = method.train
        return honest(self, batches)

    monkeypatch.setattr(loop.Trainer, "_step", step)
    message = "11 steps in a row that are not finite; step 19: the loss term classification is not finite, in the batch"
    with pytest.raises(LabelwiseError, match=message):
        _run(table, tmp_path / "run", epochs=5, log_every=50, save_every=100, ema=0.0)
    _, state = load_state(tmp_path / "run" / STATE)
    assert all(value.isfinite().all() for value in state["method"].values())


def test_a_state_that_is_not_finite_is_not_saved(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = loop.Trainer._step

    def step(self: loop.Trainer, batches: Any) -> Any:
        outcome = honest(self, batches)
        if self.progress.step == 2:
            with torch.no_grad():
                self.method.model.classifier.bias[0] = float("inf")
        return outcome

    monkeypatch.setattr(loop.Trainer, "_step", step)
    message = "model.classifier.bias is not finite at step 4, so the state is not saved; .* state is intact"
    with pytest.raises(LabelwiseError, match=message):
        _run(table, tmp_path / "run", save_every=2)
    assert load_state(tmp_path / "run" / STATE)[0].step == 2


@pytest.mark.usefixtures("unjudged")
def test_the_rate_of_each_step_follows_the_schedule(tmp_path: Path, table: Path) -> None:
    _run(table, tmp_path / "run", optim={"schedule": "constant", "warmup": 0.5, "lr": 0.007})
    rates = [e["lr"] for e in _lines(tmp_path / "run") if e["kind"] == "step"]
    assert rates == pytest.approx([0.007 * (s + 1) / 7 for s in range(6)] + [0.007] * 6)


@pytest.mark.usefixtures("unjudged")
def test_the_mean_loss_of_an_epoch_is_that_of_its_steps(tmp_path: Path, table: Path) -> None:
    _run(table, tmp_path / "run", save_every=4)
    lines = _lines(tmp_path / "run")
    for epoch in (1, 2):
        losses = [e["loss"] for e in lines if e["kind"] == "step" and e["epoch"] == epoch]
        (mean,) = (e["train_loss"] for e in lines if e["kind"] == "epoch" and e["epoch"] == epoch)
        assert len(losses) == 6
        assert mean == pytest.approx(sum(losses) / 6, rel=1e-5)


@pytest.mark.usefixtures("unjudged")
def test_what_a_part_of_a_network_learns_is_what_settings_say(tmp_path: Path, table: Path) -> None:
    backbone = {"name": "test_vit", "weights": "none", "unfrozen_groups": 2, "lr_factor": 0.5}
    _run(table, tmp_path / "run", epochs=1, ema=0.0, backbone=backbone)
    checkpointed = {**backbone, "gradient_checkpointing": True}
    _run(table, tmp_path / "less memory", epochs=1, ema=0.0, backbone=checkpointed)
    decayed = {**backbone, "layer_decay": 0.5}
    _run(table, tmp_path / "decayed", epochs=1, ema=0.0, backbone=decayed)
    run, less, slow = (load_file(tmp_path / name / WEIGHTS) for name in ("run", "less memory", "decayed"))
    torch.manual_seed(0)
    first = Run.open(tmp_path / "run").build().model.state_dict()
    assert all(torch.equal(less[name], tensor) for name, tensor in run.items())
    moved = {name for name, tensor in run.items() if not torch.equal(tensor, first[name])}
    below = {name for name in moved if name.startswith("backbone")}
    assert {name.split(".")[2] + name.split(".")[3] for name in below if "blocks" in name} == {
        "blocks4",
        "blocks5",
    }
    assert len(moved) > len(below) > 0

    def path(weights: dict[str, torch.Tensor], block: str) -> float:
        names = [name for name in below if block in name]
        return sum(float((weights[name] - first[name]).norm()) for name in names)

    assert path(slow, "blocks.4.") < 0.7 * path(run, "blocks.4.")
    assert path(slow, "blocks.5.") > 0.7 * path(run, "blocks.5.")


@pytest.mark.usefixtures("unjudged")
def test_a_damaged_or_foreign_state_is_refused(tmp_path: Path, table: Path) -> None:
    out = tmp_path / "run"
    _run(table, out, epochs=1)
    for name in (STATE, PREVIOUS):
        (out / name).write_bytes((out / STATE).read_bytes()[:500])
    with pytest.raises(LabelwiseError, match=r"previous.pt .*expected a state that this version wrote"):
        _run(table, out, epochs=1, resume=True)
    other = tmp_path / "other"
    _run(table, other, epochs=1, backbone={"name": "test_resnet", "weights": "none"})
    (out / STATE).write_bytes((other / STATE).read_bytes())
    with pytest.raises(
        LabelwiseError, match=r"--resume with another backbone.name \(test_vit after test_resnet\)"
    ):
        _run(table, out, epochs=1, resume=True)
