"""Loaders of batches: from images, or from stored maps of a frozen backbone."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator

from labelwise.cores import usable_cores
from labelwise.data.dataset import Dataset
from labelwise.data.loading import EvalLoader, TrainLoader, eval_loader, train_loader
from labelwise.data.sampling import order_of
from labelwise.data.transforms import build_transform
from labelwise.runs.config import Config
from labelwise.runs.test_time import NONE
from labelwise.training.maps import MapSource, stored_maps
from labelwise.training.progress import ProgressBar

MAP_BATCH = 64
"""Stored maps in a batch of an evaluation."""


def decoding_processes(workers: int) -> int:
    """The number of decoding processes; -1 means one less than the number of cores, and at most 8."""
    return workers if workers >= 0 else min(8, usable_cores() - 1)


class Loaders:
    """Loaders of images, or of stored maps if the backbone is frozen; closed together.

    Args:
        config: settings of the run.
        backbone: the network below the head, for its stride and its maps.
        accelerator: says which share of the batches this process loads.
        progress: shows messages.
    """

    def __init__(
        self, config: Config, backbone: Any, accelerator: Accelerator, progress: ProgressBar
    ) -> None:
        self._config, self._backbone, self._progress, self._accelerator = (
            config,
            backbone,
            progress,
            accelerator,
        )
        self._share = {"rank": accelerator.process_index, "world": accelerator.num_processes}
        self.workers = decoding_processes(config.workers)
        self._opened: list[Any] = []

    def train(self, rows: Dataset) -> TrainLoader:
        """This process's share of each epoch's batches, in the order of `sampling`, augmented."""
        c = self._config
        order = order_of(rows, c.sampling)
        if c.backbone.freeze:
            loader = TrainLoader(
                rows, c.batch_size, c.seed, **self._share, source=self._maps(rows), order=order
            )
        else:
            transform = build_transform(c.train_transform(self._backbone.stride), train=True)
            loader = train_loader(
                rows,
                transform,
                batch_size=c.batch_size,
                seed=c.seed,
                workers=self.workers,
                **self._share,
                order=order,
            )
        self._opened.append(loader)
        return loader

    def evaluation(self, rows: Dataset, test_time: bool = False) -> EvalLoader:
        """This process's share of the rows, each once and not augmented.

        Args:
            rows: the images.
            test_time: apply the setting `test_time`, for the final evaluation; with several views images are loaded,
                since stored maps have one view.
        """
        c = self._config
        if c.backbone.freeze and not (test_time and c.test_time != NONE):
            loader = EvalLoader(rows, MAP_BATCH, **self._share, source=self._maps(rows))
        else:
            transform = build_transform(c.transform() if test_time else c.one_view(), train=False)
            loader = eval_loader(
                rows, transform, batch_size=c.batch_size, workers=self.workers, **self._share
            )
        self._opened.append(loader)
        return loader

    def close(self) -> None:
        """End every worker."""
        for loader in self._opened:
            loader.close()
        self._opened.clear()

    def _maps(self, rows: Dataset) -> MapSource:
        """Stored maps of the rows, computed if they are missing."""
        device = self._accelerator.device
        self._backbone.to(device)
        maps, unreadable = stored_maps(
            rows,
            self._backbone,
            self._config,
            device,
            self.workers,
            self._progress.say,
            self._accelerator.num_processes > 1,
        )
        return MapSource(maps, rows, dict(unreadable))
