"""Losses and gradients that are not finite: the step moves nothing, and its cause is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_runs
from labelwise.data import read
from labelwise.errors import LabelwiseError
from labelwise.methods import create_method
from labelwise.runs.config import make_config
from labelwise.training import loop as room
from labelwise.training.checkpoint import STATE, load_state
from labelwise.training.fit import train
from labelwise.training.guard import LIMIT, Guard


def test_a_step_that_is_not_finite_is_skipped_and_told(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest, rows = room.Trainer._step, []

    def step(self: room.Trainer, batches: Any) -> Any:
        if self.progress.step != 7:
            return honest(self, batches)
        batch = next(batches)
        rows.extend(self.dataset.image_id(int(i)) for i in batch.index)
        batch.images = batch.images.float() / 255
        batch.images[1, 0, 0, 0] = float("nan")
        return honest(self, iter([batch]))

    monkeypatch.setattr(room.Trainer, "_step", step)
    out = tmp_path / "run"
    train(make_config(tiny_runs.settings(f"parquet:{table}", log_every=5)), out)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: step")]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "warning: step 8: the loss term classification is not finite, in the batch of row "
    )
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    (skipped,) = [line for line in lines if line["kind"] == "skipped"]
    assert (skipped["step"], skipped["epoch"], skipped["images"]) == (8, 2, rows)
    progress, state = load_state(out / STATE)
    assert progress.skipped == 1
    assert all(value.isfinite().all() for value in state["method"].values())
    assert all(0 < loss < 100 for loss in progress.losses)
    assert json.loads((out / "results.json").read_text())["training"]["skipped_steps"] == 1


@pytest.fixture
def guard(table: Path) -> Guard:
    method = create_method("baseline-mlp", [str(d) for d in range(10)], "test_resnet", weights="none")
    for p in method.parameters():
        p.grad = torch.ones_like(p)
    return Guard(method, read(f"parquet:{table}"), 1.0)


def _step(guard: Guard, number: int = 1, loss: float = 1.0) -> float:
    import numpy as np

    terms = {"loss": torch.tensor(loss), "classification": torch.tensor(loss)}
    kept, counts = guard.step(number, terms, [np.array([3, 5])])
    assert torch.equal(kept, counts)
    return float(kept)


def test_gradients_are_clipped_as_torch_clips_them(guard: Guard) -> None:
    p = next(iter(guard._parameters.values()))
    other = [torch.nn.Parameter(q.detach().clone()) for q in guard._parameters.values()]
    for q in other:
        q.grad = torch.ones_like(q)
    torch.nn.utils.clip_grad_norm_(other, 1.0)
    assert _step(guard) == 1
    assert p.grad is not None
    assert other[0].grad is not None
    assert torch.equal(p.grad, other[0].grad)
    assert guard.skipped() == []


def test_the_parameter_is_named_where_the_loss_is_finite(guard: Guard) -> None:
    names = list(guard._parameters)
    for name in names[: len(names) // 2]:  # what lies below the break is lost with it
        grad = guard._parameters[name].grad
        assert grad is not None
        grad.fill_(float("inf"))
    assert _step(guard, 4) == 0
    (skipped,) = guard.skipped()
    assert str(skipped) == (
        f"step 4: the gradient of {names[len(names) // 2 - 1]} is not finite, in the batch of row 3, row 5"
    )


def test_an_infinite_gradient_under_a_scaler_is_not_kept_but_counts(guard: Guard) -> None:
    guard._scaled = True
    p = next(iter(guard._parameters.values()))
    assert p.grad is not None
    p.grad.fill_(float("inf"))
    kept, counts = guard.step(1, {"loss": torch.tensor(1.0)}, [])
    assert (bool(kept), bool(counts)) == (False, True)
    assert guard.skipped() == []


def test_too_many_in_a_row_end_the_run(guard: Guard) -> None:
    for number in range(LIMIT):
        _step(guard, number, float("nan"))
    assert len(guard.skipped()) == LIMIT
    _step(guard, LIMIT)
    assert guard.skipped() == []
    assert guard.in_a_row == 0
    with torch.no_grad():
        p = next(iter(guard._parameters.values()))
        p[(0,) * p.ndim] = float("nan")
    for number in range(LIMIT + 1):
        _step(guard, number, float("nan"))
    first = next(iter(guard._parameters))
    with pytest.raises(
        LabelwiseError, match=f"11 steps in a row that are not finite; step 10: the weight {first} is"
    ):
        guard.skipped()
