"""A step that is skipped moves nothing: weights, buffers, optimiser state and averages keep their bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import partial_batches
import tiny_runs
from labelwise.runs.run import WEIGHTS
from labelwise.runs.sections import OptimSettings
from labelwise.training.checkpoint import STATE
from labelwise.training.loop import Trainer
from labelwise.training.moving import Move
from labelwise.training.optim import build_optimizer, load_optimizer
from labelwise.training.progress import ProgressBar
from labelwise.training.stopping import StopRequest
from small_trainers import Normed, a_trainer, everything

OPTIMISERS = [
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"name": "adam", "weight_decay": 0.1},
    {"name": "adamw", "weight_decay": 0.1},
]


def _batches(number: int = 6) -> list[Any]:
    return [partial_batches.a_batch(seed=seed) for seed in range(number)]


def _normed(folder: Path, **changes: Any) -> Trainer:
    method = partial_batches.build()
    method.model.backbone = Normed()
    return a_trainer(folder, _batches(), method.train(), **changes)


def _look_away(trainer: Trainer) -> None:
    """As with CUDA, on the processor: a fused optimiser, and nobody looks at whether a step is kept."""
    c, method = trainer.config, trainer.method
    optimizer = build_optimizer(method, method.model.backbone, c.optim, 1.0, fused=True)
    trainer.optimizer = trainer.accelerator.prepare(optimizer)
    trainer.move = Move(method, trainer.optimizer, trainer.ema, None, blind=True)


def _spoil(trainer: Trainer, how: str) -> Callable[[], None]:
    """Make losses or gradients infinite until the returned function is called."""
    honest = trainer.stepper

    def broken(batch: Any) -> dict[str, Tensor]:
        terms = honest(batch)
        if how == "loss":  # infinite, and every gradient as it was
            terms["loss"] = terms["loss"] + torch.tensor(float("inf"))
        elif how == "gradient":  # of one parameter, under a finite loss
            terms["loss"] = terms["loss"] + _Burst.apply(next(trainer.method.parameters()))
        return terms

    trainer.stepper = broken

    def mend() -> None:
        trainer.stepper = honest

    return mend


class _Burst(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor) -> Tensor:
        ctx.shape = p.shape
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.full(ctx.shape, float("inf"))


def _step(trainer: Trainer, batches: Any) -> float:
    _, counted, _ = trainer._step(batches)
    trainer.progress.step += 1
    return float(counted)


def _assert_same(now: dict[str, Tensor], before: dict[str, Tensor]) -> None:
    assert now.keys() == before.keys()
    moved = [name for name in now if now[name].numpy().tobytes() != before[name].numpy().tobytes()]
    assert moved == []


@pytest.mark.parametrize("blind", [False, True], ids=["looks", "blind"])
@pytest.mark.parametrize("how", ["loss", "gradient"])
@pytest.mark.parametrize("optim", OPTIMISERS, ids=lambda optim: optim["name"])
def test_a_skipped_step_moves_nothing(tmp_path: Path, optim: dict[str, Any], how: str, blind: bool) -> None:
    trainer = _normed(tmp_path, optim=optim, ema=0.5)
    if blind:
        _look_away(trainer)
    batches = iter(_batches())
    for _ in range(2):
        assert _step(trainer, batches) > 0
    before = everything(trainer)
    mend = _spoil(trainer, how)
    assert _step(trainer, batches) == 0
    _assert_same(everything(trainer), before)
    assert len(trainer.guard.skipped()) == 1
    mend()
    _step(trainer, batches)
    after = everything(trainer)
    assert all((after[name] != before[name]).any() for name in before if name.startswith("ema model"))
    assert (after["model.classifier.bias"] != before["model.classifier.bias"]).any()
    assert trainer.guard.skipped() == []


@pytest.mark.parametrize("optim", OPTIMISERS, ids=lambda optim: optim["name"])
@pytest.mark.parametrize("first", [False, True], ids=["later", "first"])
def test_steps_that_nobody_looks_at_are_those_that_are_looked_at(
    tmp_path: Path, optim: dict[str, Any], first: bool
) -> None:
    states = []
    for blind in (False, True):
        trainer = _normed(tmp_path / str(blind), optim=optim, ema=0.5)
        if blind:
            _look_away(trainer)
        batches = iter(_batches())
        for number in range(4):
            mend = _spoil(trainer, "loss" if number == (0 if first else 2) else "")
            _step(trainer, batches)
            mend()
        states.append(everything(trainer))
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=1e-5, rtol=1e-5)


def test_statistics_of_a_batch_that_is_not_finite_are_taken_back(tmp_path: Path) -> None:
    trainer = _normed(tmp_path, ema=0.5)
    batches = _batches()
    batches[1].images[0, 0, 0, 0] = float("nan")
    stream = iter(batches)
    _step(trainer, stream)
    before = everything(trainer)
    assert _step(trainer, stream) == 0
    _assert_same(everything(trainer), before)
    trainer.guard.refuse_broken(2)


def test_a_state_goes_on_under_another_way_of_stepping() -> None:
    method = partial_batches.build()
    for name in ("sgd", "adamw"):
        settings = OptimSettings(name=name)
        for fused in (False, True):
            one, other = (
                build_optimizer(method, method.model.backbone, settings, 1.0, way)
                for way in (fused, not fused)
            )
            for p in method.parameters():
                p.grad = torch.ones_like(p)
            one.step()
            load_optimizer(other, one.state_dict())
            other.step()
            assert all(group["fused"] is (None if fused else True) for group in other.param_groups)


def _disagree(folder: str) -> None:
    """Of two processes one has an infinite loss; gradients are finite in both."""
    trainer = a_trainer(Path(folder), _batches(), optim=OPTIMISERS[0], ema=0.5)
    batches = iter(_batches())
    _step(trainer, batches)
    before = everything(trainer)
    mend = _spoil(trainer, "loss" if trainer.accelerator.process_index else "")
    counted = _step(trainer, batches)
    assert counted == 0
    _assert_same(everything(trainer), before)
    assert len(trainer.guard.skipped()) == 1
    mend()
    assert _step(trainer, batches) > 0
    torch.distributed.destroy_process_group()


def test_a_step_is_skipped_in_all_processes_or_in_none(tmp_path: Path) -> None:
    tiny_runs.together(2, _disagree, str(tmp_path))


def test_a_run_that_cannot_be_stopped_keeps_neither_weights_nor_state(tmp_path: Path) -> None:
    for folder, stop in ((tmp_path / "fold", None), (tmp_path / "run", StopRequest())):
        trainer = a_trainer(folder, _batches(2), stop=stop, epochs=1)
        trainer.fit(ProgressBar(quiet=True))
        assert trainer.progress.epoch == 1
        for name in (WEIGHTS, STATE):
            assert (folder / name).exists() == (stop is not None)
