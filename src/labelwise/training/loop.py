"""The training loop."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor

from labelwise.composition import Method
from labelwise.data.dataset import Dataset
from labelwise.data.loading import TrainLoader
from labelwise.errors import Stopped
from labelwise.evaluation.scores import collect
from labelwise.metrics import functional as F
from labelwise.model import LabelModel
from labelwise.runs.disk import refuse_failing_disk
from labelwise.runs.run import Run
from labelwise.training.checkpoint import STATE, Progress, load_parts, save_state, states_of
from labelwise.training.guard import Guard
from labelwise.training.journal import Journal
from labelwise.training.mixup import mixed
from labelwise.training.moving import Move
from labelwise.training.optim import build_optimizer, is_fused, set_rate
from labelwise.training.processes import matrix_products, rewrapped, synchronise, wrapped
from labelwise.training.progress import ProgressBar
from labelwise.training.schedules import RateSchedule
from labelwise.training.sharding import Shares, WholePart
from labelwise.training.stopping import Agreement, StopRequest
from labelwise.types import Batch


class Trainer:
    """Trains a method and keeps the best weights by validation mAP.

    A step is a function of (settings, data, step): order and augmentation are keyed by epoch and row, dropout by step,
    and the learning rate depends on the step and on earlier validation figures. So a resumed run gives the same
    weights as one that was never stopped.

    Args:
        run: where to write, and the settings.
        method: the method to train.
        train: loader of the training rows.
        dataset: those rows.
        validate: loader and rows of validation; `None` keeps the last epoch.
        accelerator: device, precision and processes.
        examples: returns this process's share of the training rows, each once and not augmented, for what a method
            refreshes between epochs.
        stop: a request to stop at the next step; `None` for a run that keeps neither weights nor state.
        record: plain data that every state carries, see `checkpoint.recorded`.
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
        stop: StopRequest | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.run, self.config, self.method, self.accelerator = run, run.config, method, accelerator
        self.loader, self.dataset, self.validate, self.examples = train, dataset, validate, examples
        c = self.config
        if c.backbone.statistics == "synchronised":
            synchronise(method)
        method.to(accelerator.device)
        scaler = accelerator.scaler
        self.ema = ModelEmaV3(method.model, decay=c.ema, use_warmup=True) if c.ema else None
        sharded = c.sharding == "full" and accelerator.num_processes > 1
        self._shares = Shares(method, self.ema, c, accelerator) if sharded else None
        fused = is_fused(c.optim, accelerator.device, scaler is not None or c.sharding == "full")
        # A gradient scaler waits for the device in every step anyway.
        blind = fused and accelerator.device.type == "cuda" and scaler is None
        optimizer = build_optimizer(
            method, method.model.backbone, c.optim, c.backbone.lr_factor, fused, c.backbone.layer_decay
        )
        if c.compile:
            method.compile_parts()
        warms = c.backbone.warm_epochs > 0 and not c.backbone.freeze
        self.stepper = method if sharded else wrapped(accelerator, method, warms)
        self.optimizer = accelerator.prepare(optimizer)
        self.steps_per_epoch = -(-train.steps_per_epoch // c.optim.accumulate)
        self.steps = self.steps_per_epoch * c.epochs
        self.schedule = RateSchedule(c.optim, c.epochs, self.steps_per_epoch)
        self.progress = Progress()
        self.journal = Journal(run.path, dataset, c, accelerator.is_main_process)
        self.guard = Guard(method, dataset, c.optim.clip_norm, scaler is not None, self._process_mean)
        self.move = Move(method, self.optimizer, self.ema, scaler, blind)
        self.stop, self.record, self._keeps = stop or StopRequest(), dict(record or {}), stop is not None
        self._agreement = Agreement(self.stop, accelerator.num_processes)
        averages = None if self.ema is None else self.ema.module
        parts = {"method": method, "optimizer": self.optimizer, "ema": averages}
        if sharded:
            parts = {name: None if part is None else WholePart(part) for name, part in parts.items()}
        self._parts: dict[str, Any] = {**parts, "scaler": scaler, "schedule": self.schedule}

    @property
    def state_path(self) -> Path:
        """The file that `resume` reads."""
        return self.run.path / STATE

    @property
    def weights(self) -> LabelModel:
        """The model to evaluate and save: averaged, unless averaging is off; all processes must call this."""
        model = self.method.model if self.ema is None else self.ema.module
        return model if self._shares is None else self._shares.whole(model)

    def resume(self) -> None:
        """Load the saved state; without one, training starts from the first step."""
        if not self.state_path.is_file():
            return
        self.progress = load_parts(self.state_path, self._parts)

    def fit(self, watch: ProgressBar) -> Progress:
        """Train to the last epoch, or until early stopping by `patience`.

        Raises:
            Stopped: at the step after a request to stop; the state is saved.
        """
        self.journal.rewind(self.progress)
        batches, accumulate = self.loader.steps_per_epoch, self.config.optim.accumulate
        if accumulate > batches:
            watch.say(
                f"warning: optim.accumulate={accumulate} but {batches} batches an epoch: each epoch is one step"
            )
        started = time.perf_counter() - self.progress.seconds
        with self.stop.noting():
            while self.progress.epoch < self.config.epochs and not self._out_of_patience():
                self._epoch(watch, started)
                self._finish_epoch(watch, started)
            self._agreement.close()
        return self.progress

    def _epoch(self, watch: ProgressBar, started: float) -> None:
        """The steps of one epoch that are left, with logs and saved states between them."""
        p, c = self.progress, self.config
        warms = p.epoch < c.backbone.warm_epochs
        self.method.model.backbone.hold(warms)  # type: ignore[operator]
        self.stepper = rewrapped(self.accelerator, self.stepper, warms and not c.backbone.freeze)
        self.method.clock = p.epoch, c.epochs
        if not p.step_in_epoch:
            torch.manual_seed(_random_seed(c.seed, p.step, -1))
            self.method.start_epoch(lambda: self.stop.watching(self.examples()))
        self.stepper.train()
        done = min(p.step_in_epoch * c.optim.accumulate, self.loader.steps_per_epoch)
        batches = self.loader.epoch(p.epoch, done)
        losses = torch.zeros((), device=self.accelerator.device)
        log_start, images = time.perf_counter(), 0
        while p.step_in_epoch < self.steps_per_epoch:
            terms, counted, count = self._step(batches)
            losses += counted
            images += count
            p.step += 1
            p.step_in_epoch += 1
            stop = self._agreement.reached()
            save = stop or (p.step % c.save_every == 0 and p.step_in_epoch < self.steps_per_epoch)
            log = p.step % c.log_every == 0
            if log or save:
                # Only here does the host wait for the device.
                now = time.perf_counter()
                rate = images / (now - log_start)
                self._settle(losses, watch)
                p.seconds = now - started
            if log:
                means = {k: float(v) for k, v in self.accelerator.reduce(terms, "mean").items()}
                finite = {k: v for k, v in means.items() if math.isfinite(v)}
                self.journal.step(p, finite, max(group["lr"] for group in self.optimizer.param_groups), rate)
                watch.step(p.step, rate)
            if save:
                self._save()
            if stop:
                raise self._stopped()
        self._settle(losses, watch)
        self._rate_of_epoch = images / (time.perf_counter() - log_start)

    def _step(self, batches: Iterator[Batch]) -> tuple[dict[str, Tensor], Tensor, int]:
        """Terms of the loss, the loss (0 if the step is skipped), and the number of images."""
        p, c, accelerator = self.progress, self.config, self.accelerator
        torch.manual_seed(_random_seed(c.seed, p.step, accelerator.process_index))
        set_rate(self.optimizer, self.schedule.factor(p.step))
        sums: dict[str, Tensor] = {}
        step_batches = [self._prepared(batch) for batch in islice(batches, c.optim.accumulate)]
        if len(step_batches) > 1:
            self.method.set_divisors(step_batches)
        self.move.begin()
        for i, batch in enumerate(step_batches, 1):
            sync_block = accelerator.no_sync(self.stepper) if i < len(step_batches) else nullcontext()
            with sync_block, matrix_products(c.tf32):
                with accelerator.autocast():
                    terms = self.stepper(batch)
                accelerator.backward(terms["loss"] / len(step_batches))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(step_batches)
        accelerator.unscale_gradients()
        kept, counts = self.guard.step(p.step + 1, sums, [batch.index.numpy() for batch in step_batches])
        self.move.end(kept, p.step)
        images = sum(len(batch.index) for batch in step_batches) * accelerator.num_processes
        return sums, torch.where(counts, sums["loss"], 0.0), images

    def _prepared(self, batch: Batch) -> Batch:
        self.journal.unreadable(batch)
        c, batch = self.config, batch.to(self.accelerator.device)
        return mixed(batch, c.mixup, c.mixup_per, c.cutmix)

    def _finish_epoch(self, watch: ProgressBar, started: float) -> None:
        """Validate, keep the best weights, and save the state after the last step of an epoch."""
        p = self.progress
        self.guard.refuse_broken(p.step)
        try:
            score = self._validate()
        except (Exception, Stopped):
            if not self.stop.by or self._shares is not None:  # one process alone cannot gather the shards
                raise
            self._save()  # all steps of the epoch are done; only the validation is repeated
            raise self._stopped() from None
        self.schedule.judged(score)
        p.losses.append(p.loss_sum / max(1, self.steps_per_epoch - p.skipped_in_epoch))
        p.epoch, p.step_in_epoch, p.loss_sum, p.skipped_in_epoch = p.epoch + 1, 0, 0.0, 0
        best = score is None or score > p.best
        if best:
            p.best_epoch, p.best = p.epoch, -1.0 if score is None else score
        p.seconds = time.perf_counter() - started
        weights = self.weights if best and self._keeps else None
        if self.accelerator.is_main_process:
            if weights is not None:
                self.run.save_weights(weights)
            learned = {n: v.item() for n, v in self.method.terms.named_parameters() if v.ndim == 0}
            self.journal.epoch(p, score, best, learned)
        self._save()
        self.accelerator.wait_for_everyone()
        figure = "" if score is None else f"  val mAP {score:.4f}{'  best' if best else ''}"
        watch.say(
            f"epoch {p.epoch}/{self.config.epochs}  loss {p.losses[-1]:.4f}{figure}  "
            f"{self._rate_of_epoch:.0f} images/s  {p.seconds:.0f} s"
        )

    def _validate(self) -> float | None:
        """Validation mAP of the weights; `None` without a validation split or a defined mAP."""
        if self.validate is None:
            return None
        loader, rows = self.validate
        model = self.weights
        scores = collect(model, self.stop.watching(loader), rows, self.accelerator.device)
        refuse_failing_disk(scores.unreadable)
        score = float(F.mean_average_precision(scores.logits, scores.hard, scores.known))
        return score if math.isfinite(score) else None

    def _out_of_patience(self) -> bool:
        p = self.progress
        return bool(self.config.patience) and p.epoch - p.best_epoch >= self.config.patience

    def _settle(self, losses: Tensor, watch: ProgressBar) -> None:
        """Add the mean of a sum of losses over processes to the epoch's loss, and warn of skipped steps."""
        p = self.progress
        skipped = self.guard.skipped()
        p.skipped += len(skipped)
        p.skipped_in_epoch += len(skipped)
        self.journal.skipped(p, skipped)
        for step in skipped:
            watch.say(f"warning: {step}; the step is skipped")
        p.loss_sum += float(self._process_mean(losses))
        losses.zero_()

    def _process_mean(self, values: Tensor) -> Tensor:
        return self.accelerator.reduce(values, "mean")

    def _stopped(self) -> Stopped:
        by = self.stop.by or "a signal to another process"
        return Stopped(
            f"stopped by {by} at step {self.progress.step} of {self.steps}, saved in {self.run.path}"
        )

    def _save(self) -> None:
        if not self._keeps or (self._shares is None and not self.accelerator.is_main_process):
            return
        self.guard.refuse_broken(self.progress.step)
        states = states_of(self._parts)
        if self.accelerator.is_main_process:
            self.journal.settle()
            save_state(self.state_path, self.progress, **states, record=self.record)


def _random_seed(*numbers: int) -> int:
    """A random seed in [0, 2^63) that depends on each of the numbers."""
    digest = hashlib.blake2b(json.dumps(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
