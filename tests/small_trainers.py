"""A trainer over batches in memory, shared by the tests of what a step does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor, nn

import partial_batches
import tiny_runs
from labelwise.composition import Method
from labelwise.data.dataset import Dataset
from labelwise.data.loading import TrainLoader
from labelwise.runs.config import make_config
from labelwise.runs.run import Run
from labelwise.training.loop import Trainer
from labelwise.training.processes import make_accelerator
from labelwise.training.stopping import StopRequest
from labelwise.types import Batch, LabelSet


class Listed(TrainLoader):
    """A loader of the same batches in every epoch."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches, self.steps_per_epoch = batches, len(batches)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches from a step on."""
        assert 0 <= start_step <= self.steps_per_epoch
        return iter(self.batches[start_step:])


def rows(labels: LabelSet, number: int = 64) -> Dataset:
    """Training rows of which nothing but the names is asked."""
    shape = number, len(labels)
    images = pa.array([f"{i}.jpg" for i in range(number)])
    return Dataset(labels, images, None, np.zeros(shape, np.uint8), np.ones(shape, bool))


def a_trainer(
    folder: Path,
    batches: list[Batch],
    method: Method | None = None,
    stop: StopRequest | None = None,
    **changes: Any,
) -> Trainer:
    """A trainer of a small method, by default that of `partial_batches`, over batches of which nobody reads a file."""
    method = method or partial_batches.build()
    method.model.backbone.hold = lambda held: None  # type: ignore[assignment]
    config = make_config(tiny_runs.settings("", **changes))
    labels = LabelSet(tuple(f"label {i}" for i in range(partial_batches.LABELS)))
    folder.mkdir(parents=True, exist_ok=True)
    run, accelerator = Run(folder, config, labels), make_accelerator(config)
    return Trainer(run, method, Listed(batches), rows(labels), None, accelerator, lambda: batches, stop)


def everything(trainer: Trainer) -> dict[str, Any]:
    """Copies of all that a step moves, by name: weights, buffers, optimiser state, averages."""
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    names = {id(p): name for name, p in trainer.method.named_parameters()}
    moments = {
        f"{names[id(p)]} {key}": value
        for p, state in optimizer.state.items()
        for key, value in state.items()
        if value is not None
    }
    ema = {} if trainer.ema is None else trainer.ema.module.state_dict()
    whole = {**trainer.method.state_dict(), **moments, **{f"ema {k}": v for k, v in ema.items()}}
    return {name: value.detach().clone() for name, value in whole.items()}


class Normed(nn.Module):
    """A backbone with batch statistics, over images that are maps already."""

    out_channels, stride = partial_batches.CHANNELS, 1

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(partial_batches.CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)
