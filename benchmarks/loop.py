"""Overhead of the training loop (logging, EMA, progress) over the bare step, both on the same batches in memory.

The bare step is forward, loss, backward and the optimiser's step of the same method from the same weights. The loop
is the library's own with its default features: a line in metrics.jsonl every `--log-every` steps, averaged weights,
gradient clipping, progress. The end of an epoch (saving weights and state, once in hundreds of steps) is reported
separately. Rounds alternate; medians.

Run: python benchmarks/loop.py [--steps 20] [--rounds 3] [--csv results/loop.csv]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from labelwise.data import digits
from labelwise.data.loading import train_loader
from labelwise.data.transforms import build_transform
from labelwise.memory import keep_freed_memory
from labelwise.runs.config import Config, make_config
from labelwise.runs.run import Run
from labelwise.training.loop import Trainer
from labelwise.training.optim import build_optimizer
from labelwise.training.progress import ProgressBar
from labelwise.types import Batch
from measuring import keep, processor, show


class InMemory:
    """Batches that are already on the device, repeated."""

    def __init__(self, batches: list[Batch], steps: int) -> None:
        self.batches, self.steps_per_epoch = batches, steps

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, as from a training loader."""
        for step in range(start_step, self.steps_per_epoch):
            yield self.batches[step % len(self.batches)]


def bare(config: Config, run: Run, loader: InMemory, device: torch.device) -> Callable[[], None]:
    """An epoch of bare steps."""
    method = run.build("none").to(device)
    optimizer = build_optimizer(method, method.model.backbone, config.optim, config.backbone.lr_factor)
    method.train()

    def epoch() -> None:
        for batch in loader.epoch(0):
            method(batch)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()

    return epoch


class Looped:
    """The library's loop: its steps, and the end of an epoch."""

    def __init__(self, run: Run, loader: InMemory, rows: Any, accelerator: Accelerator) -> None:
        method = run.build("none")
        self._trainer = Trainer(run, method, loader, rows, None, accelerator, lambda: loader.batches)  # type: ignore[arg-type]
        self._watch = ProgressBar()

    def steps(self) -> None:
        """All steps of an epoch, as in `fit`."""
        self._trainer.progress.epoch = 0
        with self._watch.over(self._trainer.steps):
            self._trainer._epoch(self._watch, time.perf_counter())

    def end(self) -> None:
        """Writes weights, state and the epoch's log line."""
        self._trainer._finish_epoch(ProgressBar(quiet=True), time.perf_counter())


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """Time of an epoch; CPU time if one CPU thread does all the work."""
    on_cpu = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if on_cpu else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def main() -> None:
    """Measures both and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--method", default="dlfl")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    numbers = {"size": 224, "batch": 16, "steps": 20, "rounds": 3, "log-every": 10, "threads": 1}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    rows = digits.make_scenes(train=4 * args.batch, val=0, test=0).split("train")
    config = make_config({
        "data": {"source": "digits"}, "method": args.method, "image_size": args.size, "batch_size": args.batch,
        "backbone": {"name": args.backbone, "weights": "none", "warm_epochs": 0}, "epochs": 1,
        "log_every": args.log_every,
    })  # fmt: skip
    transform = build_transform(config.transform(), train=False)
    files = train_loader(rows, transform, batch_size=args.batch, seed=0, workers=0)
    held = [batch.to(accelerator.device) for batch in files.epoch(0)]
    loader = InMemory([replace(batch, unreadable=()) for batch in held], args.steps)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), config, rows.labels)
        run.save()
        loop = Looped(run, loader, rows, accelerator)
        forms = {
            "bare step": bare(config, run, loader, accelerator.device),
            "loop": loop.steps,
            "end": loop.end,
        }
        measured: dict[str, list[float]] = {name: [] for name in forms}
        for round_ in range(args.rounds + 1):
            for name, work in forms.items():
                taken = seconds(work, accelerator.device)
                measured[name] += [taken] if round_ else []
    times = {name: statistics.median(taken) for name, taken in measured.items()}
    images = args.steps * args.batch
    row = {"bare_images_per_second": round(images / times["bare step"], 2),
           "loop_images_per_second": round(images / times["loop"], 2),
           "ratio": round(times["bare step"] / times["loop"], 4),
           "end_of_epoch_seconds": round(times["end"], 3),
           **{k: v for k, v in vars(args).items() if k != "csv"},
           "device": accelerator.device.type, "torch": torch.__version__, "processor": processor()}  # fmt: skip
    show(row)
    keep(args.csv, [row])


if __name__ == "__main__":
    main()
