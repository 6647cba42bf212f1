"""The training loop."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor

from labelwise.data.dataset import Dataset
from labelwise.data.loading import TrainLoader
from labelwise.errors import LabelwiseError, first_line
from labelwise.evaluation.scores import collect
from labelwise.methods import Method
from labelwise.metrics import functional as F
from labelwise.model import LabelModel
from labelwise.training.checkpoint import STATE, Progress, load_state, save_state
from labelwise.training.journal import Journal
from labelwise.training.mixup import mix
from labelwise.training.optim import build_optimizer, rate_factor, set_rate
from labelwise.training.progress import Watch
from labelwise.training.run import Run
from labelwise.types import Batch


class Trainer:
    """Trains a method and keeps the best weights by validation mAP.

    Everything that a step does follows from (settings, data, step): order and augmentation are keyed by epoch and row,
    dropout by step, the rate is a function of the step. So a run that was stopped goes on as if it never had been.

    Args:
        run: where to write, and the settings.
        method: what is trained.
        train: loader of the training rows.
        dataset: those rows.
        validate: loader and rows to choose by; `None` keeps the last epoch.
        accelerator: device, precision and processes.
        examples: gives this process's share of the training rows, each once and not augmented, for what a method
            refreshes between epochs.
    """

    def __init__(
        self,
        run: Run,
        method: Method,
        train: TrainLoader,
        dataset: Dataset,
        validate: tuple[Any, Dataset] | None,
        accelerator: Accelerator,
        examples: Callable[[], Iterable[Batch]],
    ) -> None:
        self.run, self.config, self.method, self.accelerator = run, run.config, method, accelerator
        self.loader, self.dataset, self.validate, self.examples = train, dataset, validate, examples
        c = self.config
        method.to(accelerator.device)
        optimizer = build_optimizer(method, method.model.backbone, c.optim, c.backbone.lr_factor)
        self.ema = ModelEmaV3(method.model, decay=c.ema, use_warmup=True) if c.ema else None
        stepper = torch.compile(method) if c.compile else method
        self.stepper, self.optimizer = accelerator.prepare(stepper, optimizer)
        self.steps_per_epoch = max(1, train.steps_per_epoch // c.optim.accumulate)
        self.steps = self.steps_per_epoch * c.epochs
        self.progress = Progress()
        self.journal = Journal(run.path, dataset, c, accelerator.is_main_process)

    @property
    def state_path(self) -> Path:
        """The file that `resume` reads."""
        return self.run.path / STATE

    @property
    def weights(self) -> LabelModel:
        """The weights that are judged and saved: averaged, unless averaging is off."""
        return self.ema.module if self.ema is not None else self.method.model

    def resume(self) -> None:
        """Go on from the saved state, or from the start where none was saved."""
        if not self.state_path.is_file():
            return
        self.progress, state = load_state(self.state_path)
        try:
            self.method.load_state_dict(state["method"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.ema is not None:
                self.ema.module.load_state_dict(state["ema"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = first_line(error)
            raise LabelwiseError(
                f"{self.state_path} ({reason})", "a state of these settings", "use another --out"
            ) from None

    def fit(self, watch: Watch) -> Progress:
        """Train to the last epoch, or until patience ends."""
        self.journal.rewind(self.progress)
        started = time.perf_counter() - self.progress.seconds
        while self.progress.epoch < self.config.epochs and not self._out_of_patience():
            self._epoch(watch, started)
            self._finish_epoch(watch, started)
        return self.progress

    def _epoch(self, watch: Watch, started: float) -> None:
        p, c = self.progress, self.config
        self.method.model.backbone.hold(p.epoch < c.backbone.warm_epochs)  # type: ignore[operator]
        self.method.clock = p.epoch, c.epochs
        if not p.step_in_epoch:
            torch.manual_seed(_key(c.seed, p.step, -1))
            self.method.start_epoch(self.examples)
        self.stepper.train()
        first = p.step_in_epoch
        batches = self.loader.epoch(p.epoch, first * c.optim.accumulate)
        losses = torch.zeros((), device=self.accelerator.device)
        since, images = time.perf_counter(), 0
        while p.step_in_epoch < self.steps_per_epoch:
            terms, count = self._step(batches)
            losses += terms["loss"]
            images += count
            p.step += 1
            p.step_in_epoch += 1
            save = p.step % c.save_every == 0 and p.step_in_epoch < self.steps_per_epoch
            log = p.step % c.log_every == 0
            if log or save:
                # The only places where the host waits for the device.
                now = time.perf_counter()
                rate = images / (now - since)
                p.loss_sum += self._finite(losses)
                losses.zero_()
                p.seconds = now - started
            if log:
                terms = self.accelerator.reduce(terms, "mean")
                self.journal.step(p, {k: float(v) for k, v in terms.items()}, self._rate(), rate)
                watch.step(p.step, rate)
            if save:
                self._save()
        p.loss_sum += self._finite(losses)
        self._rate_of_epoch = images / (time.perf_counter() - since)

    def _step(self, batches: Iterator[Batch]) -> tuple[dict[str, Tensor], int]:
        p, c, accelerator = self.progress, self.config, self.accelerator
        torch.manual_seed(_key(c.seed, p.step, accelerator.process_index))
        set_rate(self.optimizer, rate_factor(p.step, self.steps, c.optim))
        images = 0
        sums: dict[str, Tensor] = {}
        parts = c.optim.accumulate
        for i, batch in enumerate(islice(batches, parts)):
            self.journal.unreadable(batch)
            images += len(batch.index) * accelerator.num_processes
            batch = batch.to(accelerator.device)
            if c.mixup:
                batch = mix(batch, c.mixup)
            quiet = accelerator.no_sync(self.stepper) if i < parts - 1 else nullcontext()
            with quiet:
                with accelerator.autocast():
                    terms = self.stepper(batch)
                accelerator.backward(terms["loss"] / parts)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / parts
        if c.optim.clip_norm:
            accelerator.clip_grad_norm_(self.method.parameters(), c.optim.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.method.model, step=p.step)
        return sums, images

    def _finish_epoch(self, watch: Watch, started: float) -> None:
        p = self.progress
        p.losses.append(p.loss_sum / self.steps_per_epoch)
        p.epoch, p.step_in_epoch, p.loss_sum = p.epoch + 1, 0, 0.0
        found = self._validate()
        best = found is None or found > p.best
        if best:
            p.best_epoch, p.best = p.epoch, -1.0 if found is None else found
        p.seconds = time.perf_counter() - started
        if self.accelerator.is_main_process:
            if best:
                self.run.save_weights(self.weights)
            self.journal.epoch(p, found, best)
            self._save()
        self.accelerator.wait_for_everyone()
        shown = "" if found is None else f"  val mAP {found:.4f}{'  best' if best else ''}"
        watch.say(
            f"epoch {p.epoch}/{self.config.epochs}  loss {p.losses[-1]:.4f}{shown}  "
            f"{self._rate_of_epoch:.0f} images/s  {p.seconds:.0f} s"
        )

    def _validate(self) -> float | None:
        if self.validate is None:
            return None
        loader, rows = self.validate
        model = self.weights
        scores = collect(model, loader, rows, self.accelerator.device)
        found = float(F.mean_average_precision(scores.logits, scores.hard, scores.known))
        return found if math.isfinite(found) else None

    def _out_of_patience(self) -> bool:
        p = self.progress
        return bool(self.config.patience) and p.epoch - p.best_epoch >= self.config.patience

    def _finite(self, losses: Tensor) -> float:
        """The mean over processes of a sum of losses; all of them stop where it is not finite."""
        value = float(self.accelerator.reduce(losses, "mean"))
        if not math.isfinite(value):
            raise LabelwiseError(
                f"a loss that is not finite at or just before step {self.progress.step}",
                "finite numbers",
                "lower --lr or optim.clip_norm; the last saved state is intact",
            )
        return value

    def _rate(self) -> float:
        return max(group["lr"] for group in self.optimizer.param_groups)

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        save_state(
            self.state_path,
            self.progress,
            method=self.method.state_dict(),
            optimizer=self.optimizer.state_dict(),
            ema=self.ema.module.state_dict() if self.ema is not None else None,
            scaler=scaler.state_dict() if scaler is not None else None,
        )


def _key(*numbers: int) -> int:
    digest = hashlib.blake2b(json.dumps(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
