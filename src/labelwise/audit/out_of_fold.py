"""Out-of-fold scores of training images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Int64
from torch import Tensor

from labelwise.composition import Method
from labelwise.data.dataset import Dataset
from labelwise.data.folds import fold_codes
from labelwise.data.loading import BatchSource, EvalLoader, Request, TrainLoader
from labelwise.data.sampling import order_of
from labelwise.engines.frozen_engine import use_engine
from labelwise.evaluation.scores import Scores, collect
from labelwise.runs.config import Config
from labelwise.runs.run import Run
from labelwise.training.loaders import MAP_BATCH, Loaders
from labelwise.training.loop import Trainer
from labelwise.training.maps import MapSource, stored_maps
from labelwise.training.priors import count_priors, word_vectors
from labelwise.training.probe import Probe
from labelwise.training.processes import make_accelerator
from labelwise.training.progress import ProgressBar
from labelwise.training.tracking import TRACKERS
from labelwise.training.unknown import unknown_loss
from labelwise.types import Batch


def out_of_fold(
    run: Run,
    rows: Dataset,
    folds: int = 5,
    group: Int64[np.ndarray, " N"] | None = None,
    watch: ProgressBar | None = None,
) -> Scores:
    """Each row's logits by a model trained with the run's settings on the other folds.

    The folds are stratified and keep groups together, see `fold_codes`. The backbone is frozen at the weights that the
    run started from, so that its maps are computed once and no label influenced them; a backbone without pretrained
    weights is trained in every fold. Each fold trains to the last epoch, so that no selection uses the held-out rows.

    Args:
        run: provides the settings; its trained weights are not used.
        rows: the images, with the run's labels in the run's order.
        folds: models to train, at least 2.
        group: `[N]` codes; rows of one code stay in one fold.
        watch: prints progress; silent by default.

    Raises:
        LabelwiseError: fewer than 2 folds, or more folds than rows.
    """
    watch = watch or ProgressBar(quiet=True)
    config, vectors = word_vectors(fold_config(run.config), rows.labels)
    codes = fold_codes(rows, folds, config.seed, group)
    accelerator = make_accelerator(config)
    torch.manual_seed(config.seed)  # a frozen backbone without weights is then the run's
    priors = count_priors(rows.values, rows.known, vectors, config.vectors.missing)
    backbone = run.build(priors=priors).model.backbone
    maps = _maps(rows, backbone, config, accelerator.device, watch) if config.backbone.freeze else None
    logits = np.full((len(rows), len(rows.labels)), np.nan, np.float32)
    scored, unreadable = [], []
    for fold in range(folds):
        held, rest = np.flatnonzero(codes == fold), np.flatnonzero(codes != fold)
        watch.say(f"fold {fold + 1} of {folds}: {len(rest):,} images to learn from, {len(held):,} to score")
        scores = _one_fold(config, vectors, rows, rest, held, maps, accelerator)
        logits[held[scores.rows]] = scores.logits
        scored.append(held[scores.rows])
        unreadable += [(int(held[row]), reason) for row, reason in scores.unreadable]
    order = np.sort(np.concatenate(scored))
    return Scores(order, logits[order], rows.values[order], rows.known[order], unreadable)


def fold_config(config: Config) -> Config:
    """The settings of a fold: the run's, with the backbone frozen if it has weights."""
    backbone = config.backbone
    freeze = backbone.freeze or backbone.weights != "none"
    update = {"backbone": backbone.model_copy(update={"freeze": freeze}), **dict.fromkeys(TRACKERS, False)}
    return config.model_copy(update=update)


def _maps(
    rows: Dataset, backbone: Any, config: Config, device: torch.device, watch: ProgressBar
) -> MapSource:
    use_engine(backbone, config, len(rows), device, watch.say)
    maps, bad = stored_maps(rows, backbone.to(device), config, device, max(0, config.workers), watch.say)
    return MapSource(maps, rows, dict(bad))


def _one_fold(
    config: Config,
    vectors: Tensor | None,
    rows: Dataset,
    rest: np.ndarray,
    held: np.ndarray,
    maps: MapSource | None,
    accelerator: Accelerator,
) -> Scores:
    """Trains on the rows `rest` and scores the rows `held`; row numbers of the scores index `held`."""
    with tempfile.TemporaryDirectory(prefix="labelwise-fold-") as folder:
        run = Run(Path(folder), config, rows.labels)
        torch.manual_seed(config.seed)
        learn, score = rows.take(rest), rows.take(held)
        priors = count_priors(learn.values, learn.known, vectors, config.vectors.missing)
        method = run.build(priors=priors)
        method.unknown = unknown_loss(config, learn, method.criterion)
        loaders = _FoldLoaders(config, method, accelerator, maps)
        kind = Probe if config.optim.name == "exact" else Trainer
        trainer = kind(
            run,
            method,
            loaders.train(learn, rest),
            learn,
            None,
            accelerator,
            lambda: loaders.evaluation(learn, rest),
        )
        trainer.fit(ProgressBar(quiet=True))
        scores = collect(trainer.weights, loaders.evaluation(score, held), score, accelerator.device)
        loaders.close()
    return scores


class _FoldLoaders:
    """Batches of some of the rows: a part of the stored maps, or photographs if the backbone is trained."""

    def __init__(
        self, config: Config, method: Method, accelerator: Accelerator, whole: MapSource | None
    ) -> None:
        self._config, self._whole = config, whole
        self._photographs = Loaders(config, method.model.backbone, accelerator, ProgressBar(quiet=True))

    def train(self, part: Dataset, rows: np.ndarray) -> TrainLoader:
        """Shuffled batches to learn from."""
        if self._whole is None:
            return self._photographs.train(part)
        source: BatchSource = PartOfMaps(self._whole, rows)
        order = order_of(part, self._config.sampling)
        return TrainLoader(part, self._config.batch_size, self._config.seed, 0, 1, source, order)

    def evaluation(self, part: Dataset, rows: np.ndarray) -> EvalLoader:
        """Each row once, in order."""
        if self._whole is None:
            return self._photographs.evaluation(part)
        return EvalLoader(part, MAP_BATCH, 0, 1, PartOfMaps(self._whole, rows))

    def close(self) -> None:
        """End every worker."""
        self._photographs.close()


@dataclass(frozen=True)
class PartOfMaps:
    """Stored maps of some rows, renumbered from 0, so that folds share the maps of all rows.

    Args:
        whole: maps of all rows.
        rows: `[M]` row numbers of the part.
    """

    whole: MapSource
    rows: np.ndarray

    def batches(self, requests: Sequence[Request]) -> Iterator[Batch]:
        """The requested batches; rows are numbered within the part."""
        of_whole: list[Request] = [(epoch, self.rows[local]) for epoch, local, *_ in requests]
        for (_, local, *_), batch in zip(requests, self.whole.batches(of_whole), strict=True):
            place = dict(zip(self.rows[local].tolist(), local.tolist(), strict=True))
            index = torch.tensor([place[row] for row in batch.index.tolist()])
            bad = tuple((place[row], reason) for row, reason in batch.unreadable)
            yield replace(batch, index=index, unreadable=bad)

    def close(self) -> None:
        """Nothing to end."""
