"""A training step never waits for the device: nothing in it turns a number of the device into one of the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import partial_batches
from labelwise.data.loading import eval_loader
from labelwise.data.readers import read
from labelwise.data.transforms import TransformConfig, build_transform
from labelwise.methods import create_method
from labelwise.training.moving import Move
from labelwise.training.optim import build_optimizer
from labelwise.types import Batch
from small_trainers import a_trainer

WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::unique2"}
METHODS = ("dlfl", "baseline-mlp", "csra", "ssgrl", "query2label", "ml-decoder")


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a device, on the processor as well, where it would cost nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func._schema.name
        by_mask = name in ("aten::index", "aten::index_put_") and any(
            isinstance(i, torch.Tensor) and i.dtype == torch.bool for i in args[1]
        )
        assert name not in WAITS, f"{name} waits for the device"
        assert not by_mask, f"{name} by a mask waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def batch(table: Any) -> Batch:
    """Eight scenes, some of their cells unknown."""
    rows = read(f"parquet:{table}").split("train")
    loader = eval_loader(
        rows, build_transform(TransformConfig(image_size=32), train=False), batch_size=8, workers=0
    )
    found = next(iter(loader))
    found.targets.known[0, ::2] = False
    return found


@pytest.mark.parametrize("loss", ["asl", "bce"])
@pytest.mark.parametrize("name", METHODS)
def test_a_step_does_not_wait(batch: Batch, name: str, loss: str) -> None:
    labels = [str(d) for d in range(10)]
    method = create_method(
        name, labels, "test_convnext", weights="none", image_size=32, loss={"name": loss}
    ).train()
    with NoWaiting():
        terms = method(batch)
        terms["loss"].backward()
        total = torch.zeros(())
        total += terms["loss"].detach()
    assert torch.isfinite(total)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_end_of_a_step_and_the_count_of_its_cells_do_not_wait(tmp_path: Path, name: str) -> None:
    """As with CUDA: whether the step is kept is told to a fused optimiser, and read by nobody."""
    parts = [partial_batches.a_batch(seed=seed) for seed in range(2)]
    trainer = a_trainer(tmp_path, parts, optim={"name": name}, ema=0.5)
    method = trainer.method
    optimizer = build_optimizer(method, method.model.backbone, trainer.config.optim, 1.0, fused=True)
    move = Move(method, optimizer, trainer.ema, blind=True)
    for step in range(2):
        method(parts[step])["loss"].backward()
        with NoWaiting():
            method.divisor(parts)
            move.begin()
            kept, _ = trainer.guard.step(step + 1, {"loss": torch.ones(())}, [])
            move.end(kept, step)
    assert trainer.guard.skipped() == []


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.__setitem__(x > 0, torch.zeros(4)),
    ],
)
def test_what_waits_is_seen(wait: Any) -> None:
    with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
        wait(torch.ones(4))
