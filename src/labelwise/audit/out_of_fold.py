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
    maps = _stored_maps(rows, backbone, config, accelerator.device, watch) if config.backbone.freeze else None
    logits = np.full((len(rows), len(rows.labels)), np.nan, np.float32)
    scored, unreadable = [], []
    for fold in range(folds):
        held_out, training_rows = np.flatnonzero(codes == fold), np.flatnonzero(codes != fold)
        watch.say(
            f"fold {fold + 1} of {folds}: {len(training_rows):,} images to learn from, {len(held_out):,} to score"
        )
        scores = _one_fold(config, vectors, rows, training_rows, held_out, maps, accelerator)
        logits[held_out[scores.rows]] = scores.logits
        scored.append(held_out[scores.rows])
        unreadable += [(int(held_out[row]), reason) for row, reason in scores.unreadable]
    order = np.sort(np.concatenate(scored))
    return Scores(order, logits[order], rows.values[order], rows.known[order], unreadable)


def fold_config(config: Config) -> Config:
    """The settings of a fold: the run's, with the backbone frozen if it has weights."""
    backbone = config.backbone
    freeze = backbone.freeze or backbone.weights != "none"
    update = {"backbone": backbone.model_copy(update={"freeze": freeze}), **dict.fromkeys(TRACKERS, False)}
    return config.model_copy(update=update)


def _stored_maps(
    rows: Dataset, backbone: Any, config: Config, device: torch.device, watch: ProgressBar
) -> MapSource:
    """The frozen backbone's maps of all rows, computed once for all folds."""
    use_engine(backbone, config, len(rows), device, watch.say)
    workers = max(0, config.workers)
    maps, unreadable = stored_maps(rows, backbone.to(device), config, device, workers, watch.say)
    return MapSource(maps, rows, dict(unreadable))


def _one_fold(
    config: Config,
    vectors: Tensor | None,
    rows: Dataset,
    training_rows: np.ndarray,
    held_out: np.ndarray,
    maps: MapSource | None,
    accelerator: Accelerator,
) -> Scores:
    """Trains on `training_rows` and scores the rows `held_out`, which the row numbers of the scores index."""
    with tempfile.TemporaryDirectory(prefix="labelwise-fold-") as folder:
        run = Run(Path(folder), config, rows.labels)
        torch.manual_seed(config.seed)
        training_set, test_set = rows.take(training_rows), rows.take(held_out)
        priors = count_priors(training_set.values, training_set.known, vectors, config.vectors.missing)
        method = run.build(priors=priors)
        method.unknown = unknown_loss(config, training_set, method.criterion)
        loaders = _FoldLoaders(config, method, accelerator, maps)
        trainer_class = Probe if config.optim.name == "exact" else Trainer
        trainer = trainer_class(
            run,
            method,
            loaders.train(training_set, training_rows),
            training_set,
            None,
            accelerator,
            lambda: loaders.evaluation(training_set, training_rows),
        )
        trainer.fit(ProgressBar(quiet=True))
        scores = collect(
            trainer.weights, loaders.evaluation(test_set, held_out), test_set, accelerator.device
        )
        loaders.close()
    return scores


class _FoldLoaders:
    """Batches of some of the rows: a part of the stored maps, or photographs if the backbone is trained."""

    def __init__(
        self, config: Config, method: Method, accelerator: Accelerator, all_maps: MapSource | None
    ) -> None:
        self._config, self._all_maps = config, all_maps
        self._photographs = Loaders(config, method.model.backbone, accelerator, ProgressBar(quiet=True))

    def train(self, part: Dataset, rows: np.ndarray) -> TrainLoader:
        """Shuffled batches to learn from."""
        if self._all_maps is None:
            return self._photographs.train(part)
        source: BatchSource = PartOfMaps(self._all_maps, rows)
        order = order_of(part, self._config.sampling)
        return TrainLoader(part, self._config.batch_size, self._config.seed, 0, 1, source, order)

    def evaluation(self, part: Dataset, rows: np.ndarray) -> EvalLoader:
        """Each row once, in order."""
        if self._all_maps is None:
            return self._photographs.evaluation(part)
        return EvalLoader(part, MAP_BATCH, 0, 1, PartOfMaps(self._all_maps, rows))

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
            position = dict(zip(self.rows[local].tolist(), local.tolist(), strict=True))
            index = torch.tensor([position[row] for row in batch.index.tolist()])
            unreadable = tuple((position[row], reason) for row, reason in batch.unreadable)
            yield replace(batch, index=index, unreadable=unreadable)

    def close(self) -> None:
        """Nothing to end."""
