"""A linear probe: one linear classifier per label on pooled features, solved to its optimum."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from labelwise.evaluation.scores import gather
from labelwise.training.checkpoint import Progress
from labelwise.training.logistic import solve
from labelwise.training.loop import Trainer
from labelwise.training.progress import ProgressBar
from labelwise.types import Batch

STRENGTHS = (3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
UNJUDGED = 0.3
"""Strength without a validation split; on VOC it bears wrong annotations much better than .03, and loses nothing."""
CHOOSING_ROWS = 10_000
"""Largest number of training images for comparing strengths; the final solution uses all images."""


class Probe(Trainer):
    """Solves the linear classifiers of a pooled baseline over a frozen backbone; otherwise the same as `Trainer`.

    Each label's strength of regularisation is the one of `STRENGTHS` with the lowest validation log loss.
    """

    def fit(self, watch: ProgressBar) -> Progress:
        """Solve, validate and save, as an epoch of one step.

        Raises:
            Stopped: after a request to stop while features are computed; nothing of them is saved.
        """
        p = self.progress
        if not p.epoch:
            started = time.perf_counter()
            with self.stop.noting():
                self._solve(watch)
            p.step, p.step_in_epoch = 1, 0
            self._rate_of_epoch = len(self.dataset) / (time.perf_counter() - started)
            self._finish_epoch(watch, started)
        return p

    def _solve(self, watch: ProgressBar) -> None:
        """Solve the classifiers on the training rows and copy them into the model."""
        features, values, known = self._pooled_features(self._training_batches())
        strength = self._strengths(features, values, known, watch)
        solution = solve(features, values, known, strength[None])
        loss = _log_loss(_logits(features, solution.weight[0], solution.bias[0]), values, known)
        # `_finish_epoch` reports the mean over the steps of an epoch.
        self.progress.loss_sum = float(loss[known.any(0)].mean()) * self.steps_per_epoch
        classifier: Any = self.method.model.classifier
        with torch.no_grad():
            classifier.weight.copy_(solution.weight[0])
            classifier.bias.copy_(solution.bias[0])

    def _strengths(self, features: Tensor, values: Tensor, known: Tensor, watch: ProgressBar) -> Tensor:
        """`[L]`, chosen on validation; for a label that it cannot evaluate, the best strength on average."""
        labels = values.shape[1]
        if self.validate is None:
            return features.new_full((labels,), UNJUDGED)
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(self.config.seed))
        subset = order[:CHOOSING_ROWS].to(features.device)
        grid = features.new_tensor(STRENGTHS)
        grid_of_labels = grid[:, None].expand(-1, labels)
        solution = solve(features[subset], values[subset], known[subset], grid_of_labels, tolerance=3e-3)
        features, values, known = self._pooled_features(self.stop.watching(self.validate[0]))
        losses = torch.stack(
            [
                _log_loss(_logits(features, weight, bias), values, known)
                for weight, bias in zip(solution.weight, solution.bias, strict=True)
            ]
        )
        present = values >= 0.5
        judged = (present & known).any(0) & (~present & known).any(0)
        best = torch.where(judged, losses.argmin(0), losses[:, judged].mean(1).argmin())
        counts = torch.bincount(best, minlength=len(STRENGTHS)).tolist()
        listed = ", ".join(f"{s:g} ({n})" for s, n in zip(STRENGTHS, counts, strict=True) if n)
        watch.say(f"linear probe: regularisation and the labels it is chosen for: {listed}")
        return grid[best]

    def _training_batches(self) -> Iterator[Batch]:
        """Batches of the training rows; unreadable images are recorded."""
        for batch in self.stop.watching(self.examples()):
            self.journal.unreadable(batch)
            yield batch

    @torch.no_grad()
    def _pooled_features(
        self, batches: Iterable[Batch]
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N L"], Bool[Tensor, "N L"]]:
        """Inputs of the classifier, label states and known cells, of all processes' readable images."""
        self.method.eval()
        device = self.accelerator.device
        parts: list[tuple[Tensor, ...]] = []
        for batch in batches:
            features = self.method.model.extractor(batch.images.to(device)).features[:, 0].cpu()
            parts.append((batch.index, features, batch.targets.values, batch.targets.known))
        index, *columns = (torch.cat(part) for part in zip(*parts, strict=True))
        joined = [torch.cat(part) for part in zip(*gather((index, *columns)), strict=True)]
        order = joined[0].argsort()  # the same sums for any number of processes
        features, values, known = (part[order].to(device) for part in joined[1:])
        return features, values, known


def _logits(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.linear(features, weight, bias)


def _log_loss(logits: Tensor, values: Tensor, known: Tensor) -> Float[Tensor, " L"]:
    """Mean of each label over its known cells; 0 for a label without any."""
    cells = functional.binary_cross_entropy_with_logits(logits, values, reduction="none") * known
    return cells.sum(0) / known.sum(0).clamp(min=1)
