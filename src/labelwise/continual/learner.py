"""Learning a stream, step by step, from stored maps of a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from labelwise.composition import Method
from labelwise.composition.growth import carry_moments, grow
from labelwise.continual.judging import evaluate_tasks, scores_of
from labelwise.continual.memories import make_memory
from labelwise.continual.memory import Memory
from labelwise.continual.regularisers import ElasticWeights, FormerModel, head_state
from labelwise.continual.strategies import STRATEGIES
from labelwise.continual.streams import Stream
from labelwise.evaluation.figures import decimals
from labelwise.extractors.regions import regions_among
from labelwise.methods import create_method
from labelwise.runs.config import Config
from labelwise.training.checkpoint import STATE, Progress, load_state, save_state
from labelwise.training.guard import Guard
from labelwise.training.maps import MapSource
from labelwise.training.optim import build_optimizer
from labelwise.training.priors import count_priors
from labelwise.training.stopping import StopRequest
from labelwise.types import Batch, LabelPriors, LabelSet, Targets


class Learner:
    """Trains one strategy on one stream, with a constant learning rate.

    A step is a function of (settings, stream, step) and of the saved state, so that a resumed learner gives the same
    weights as one that was never stopped.

    Args:
        stream: tasks over one training and one test set.
        config: with `continual` settings; the backbone is frozen.
        backbone: only its name and width are used, since its maps are stored.
        train, test: stored maps of the stream's rows.
        out: folder of the state.
        stop: a request to stop at the next step; `None` for a run that cannot be stopped.
        record: plain data that every state carries, see `checkpoint.recorded`.
    """

    def __init__(
        self,
        stream: Stream,
        config: Config,
        backbone: nn.Module,
        train: MapSource,
        test: MapSource,
        out: Path,
        stop: StopRequest | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.stream, self.config, self.settings, self.backbone = stream, config, config.continual, backbone
        self.strategy = STRATEGIES[self.settings.strategy]
        self.train, self.test, self.path = train, test, out / STATE
        self.stop, self.record = stop or StopRequest(), dict(record or {})
        self.progress = Progress()  # `epoch` counts tasks
        self.history: list[dict[str, Any]] = []
        labels, s = len(stream.train.labels), self.settings
        self.memory: Memory | None = None
        if self.strategy.memory:
            self.memory = make_memory(self.strategy.memory, s.memory, labels, config.seed, s.power)
        self.weights = ElasticWeights(s.ewc_weight) if self.strategy.regulariser == "ewc" else None
        self.former: FormerModel | None = None
        self._plan: list[np.ndarray] = []
        self._planned = -1
        self._build(0)

    @property
    def tasks(self) -> int:
        """Number of tasks to train; one for joint training."""
        return 1 if self.strategy.joint else len(self.stream.tasks)

    def learn(self, say: Callable[[str], None], stop_after: int | None = None) -> list[dict[str, Any]]:
        """Train to the end, or until `stop_after` steps in total; returns the figures after each task.

        Args:
            say: prints a line to the user, once per task.

        Raises:
            Stopped: at the step after a request to stop; the state is saved.
        """
        with self.stop.noting():
            return self._learn(say, stop_after)

    def _learn(self, say: Callable[[str], None], stop_after: int | None) -> list[dict[str, Any]]:
        p = self.progress
        while p.epoch < self.tasks:
            steps = self._steps(p.epoch)
            self.method.train()
            while p.step_in_epoch < len(steps):
                if p.step == stop_after:
                    return self.history
                self._train_step(steps[p.step_in_epoch], say)
                p.step += 1
                p.step_in_epoch += 1
                if self.stop.by or p.step % self.config.save_every == 0:
                    self.save()
                if self.stop.by:
                    raise self.stop.stopped(f" at step {p.step}, saved in {self.path.parent.parent}")
            self._finish_task()
            pooled = self.history[-1]["pooled"]
            say(f"task {p.epoch}/{self.tasks}  " + "  ".join(f"{k} {decimals(v)}" for k, v in pooled.items()))
            self.save()
        return self.history

    def _steps(self, task: int) -> list[np.ndarray]:
        """Rows of each step of a task."""
        if self._planned != task:
            s, tasks = self.settings, self.stream.tasks
            if self.strategy.joint:
                rows = np.unique(np.concatenate([t.train for t in tasks]))
                steps = s.passes * sum(-(-len(t.train) // s.batch) for t in tasks)
                passes = -(-steps * (s.batch + s.replay) // len(rows))
                order = np.concatenate([self._shuffled(rows, task, n) for n in range(passes)])
                self._plan = [order[i * (s.batch + s.replay) :][: s.batch + s.replay] for i in range(steps)]
            else:
                orders = [self._shuffled(tasks[task].train, task, n) for n in range(s.passes)]
                self._plan = [o[i : i + s.batch] for o in orders for i in range(0, len(o), s.batch)]
            self._planned = task
        return self._plan

    def _shuffled(self, rows: np.ndarray, task: int, number: int) -> np.ndarray:
        """Rows in the random order of a pass over a task."""
        return np.random.default_rng([self.config.seed, task, number]).permutation(rows)

    def _train_step(self, rows: np.ndarray, say: Callable[[str], None]) -> None:
        """One step on new rows and replayed ones; in the first pass the new rows are offered to the memory."""
        progress, task = self.progress, self.progress.epoch
        torch.manual_seed(int(np.random.SeedSequence([self.config.seed, progress.step]).generate_state(1)[0]))
        tasks = np.full(len(rows), task)
        replayed = np.zeros(0, np.int64), np.zeros(0, np.int64)
        if self.memory is not None:
            replayed = self.memory.draw(self.settings.replay)
        batch = self._batch(np.concatenate([rows, replayed[0]]), np.concatenate([tasks, replayed[1]]))
        loss = self.method.loss(batch)["loss"]
        if self.weights is not None:
            loss = loss + self.weights.penalty(self.method.model)
        if self.former is not None:
            loss = loss + self.former.penalty(self.method.model, batch)
        self.optimizer.zero_grad()
        loss.backward()
        is_finite, _ = self.guard.step(progress.step + 1, {"loss": loss}, [batch.index.numpy()])
        for skipped in self.guard.skipped():
            progress.skipped += 1
            say(f"warning: {skipped}; the step is skipped")
        if is_finite:
            self.optimizer.step()
            if self.former is not None:
                self.former.restore_rows(self.method.model)
        first_pass = progress.step_in_epoch < len(self._plan) // self.settings.passes
        if self.memory is not None and first_pass:
            marks = self.stream.train.positive[rows] & self.stream.annotated(task)
            self.memory.offer(rows.astype(np.int64), marks, task)

    def _batch(self, rows: np.ndarray, tasks: np.ndarray) -> Batch:
        """Maps of rows, with the states annotated in each row's task, for the labels that the model has."""
        (batch,) = self.train.batches([(0, rows)])
        if self.stream.grows and not self.strategy.joint:
            annotated = torch.from_numpy(np.stack([self.stream.annotated(t) for t in tasks.tolist()]))
            known = batch.targets.known & annotated
            batch.targets = Targets(batch.targets.values.masked_fill(~known, 0), known)
        labels = self._num_labels(self.progress.epoch)
        batch.targets = Targets(batch.targets.values[:, :labels], batch.targets.known[:, :labels])
        return batch

    def _num_labels(self, task: int) -> int:
        """Number of labels of the model in a task."""
        return len(self.stream.train.labels) if self.strategy.joint else self.stream.known_labels(task)

    def _finish_task(self) -> None:
        """Evaluate the model after the current task and prepare it for the next one."""
        task = self.progress.epoch
        last_task = len(self.stream.tasks) - 1 if self.strategy.joint else task
        self.method.eval()
        self.history.append(
            evaluate_tasks(self.stream, last_task, self.method.model, self.test, self._remembered())
        )
        if task + 1 < self.tasks:
            if self.weights is not None:
                rows = self.stream.tasks[task].train[: self.settings.fisher_images]
                self.weights.remember(
                    self.method.model, (self._batch(r, np.array([task])) for r in rows[:, None])
                )
            self.former = self._former(task)
            self._build(task + 1)
        self.progress.epoch, self.progress.step_in_epoch = task + 1, 0

    def _former(self, task: int) -> FormerModel | None:
        """The current model, frozen after a task; `None` for a strategy that does not distil it."""
        kind = self.strategy.regulariser
        if kind not in ("lwf", "features"):
            return None
        columns = sorted({j for t in self.stream.tasks[: task + 1] for j in t.labels})
        return FormerModel(self.method.model, columns, kind, self.settings)

    def _remembered(self) -> tuple[np.ndarray, ...] | None:
        """Probabilities, positives and known cells of the rows in memory; `None` without a memory."""
        if self.memory is None:
            return None
        slots = np.flatnonzero(self.memory.rows >= 0)
        rows, tasks = self.memory.rows[slots], self.memory.tasks[slots]
        known = self.stream.train.known[rows] & np.stack([self.stream.annotated(t) for t in tasks.tolist()])
        p = scores_of(self.method.model, self.train, rows)
        labels = p.shape[1]
        return p, self.stream.train.positive[rows][:, :labels], known[:, :labels]

    def _build(self, task: int) -> None:
        """Build the method for a task; it grows if the task adds labels, and is kept otherwise."""
        labels = self._num_labels(task)
        if task and labels == self._num_labels(task - 1):
            return
        config, names = self.config, self.stream.train.labels.names[:labels]
        priors = self._priors(task, labels)
        torch.manual_seed(config.seed + task)
        method = create_method(
            config.method,
            LabelSet(names),
            self.backbone,
            extractor=config.extractor,
            relation=config.relation,
            classifier=config.classifier,
            loss=config.loss,
            terms=config.terms(),
            priors=priors,
            vector_dim=config.vectors.dim,
            regions=regions_among(
                names, self.stream.train.labels, config.regions.outside, config.regions.labels
            ),
            controls=config.controls,
        )
        if task:
            grow(self.method.model, method, config.method, priors)
        optimizer = build_optimizer(method, self.backbone, config.optim, 0.0)
        if task:
            old_parameters, new_parameters = (dict(m.named_parameters()) for m in (self.method, method))
            carry_moments(self.optimizer, optimizer, old_parameters, new_parameters)
        self.method: Method = method
        self.guard = Guard(method, self.stream.train, config.optim.clip_norm)
        self.optimizer: torch.optim.Optimizer = optimizer

    def _priors(self, task: int, labels: int) -> LabelPriors:
        """Counts of the task's own images, where only the labels annotated in the task are known."""
        rows = self.stream.tasks[task].train
        annotated = np.ones(labels, bool) if self.strategy.joint else self.stream.annotated(task)[:labels]
        values, known = (a[rows][:, :labels] for a in (self.stream.train.values, self.stream.train.known))
        return count_priors(values, known & annotated)

    def save(self) -> None:
        """Write the state atomically."""
        self.guard.refuse_broken(self.progress.step)
        save_state(
            self.path,
            self.progress,
            method=head_state(self.method),
            optimizer=self.optimizer.state_dict(),
            memory=self.memory.state() if self.memory else None,
            weights=self.weights.state() if self.weights else None,
            former=head_state(self.former.model) if self.former is not None else None,
            history=self.history,
            record=self.record,
        )

    def resume(self) -> None:
        """Load the saved state; without one, training starts from the first step."""
        if not self.path.is_file():
            return
        progress, state = load_state(self.path)
        task = min(progress.epoch, self.tasks - 1)
        for t in range(1, task + 1):
            if state["former"] is not None and t == task:
                self.former = self._former(t - 1)
                assert self.former is not None
                self.former.model.load_state_dict(state["former"], strict=False)
            self._build(t)
        self.method.load_state_dict(state["method"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.memory is not None:
            self.memory.load(state["memory"])
        if self.weights is not None:
            self.weights.load(state["weights"])
        self.progress, self.history = progress, state["history"]
