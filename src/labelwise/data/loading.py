"""Batches for training and evaluation: reproducible, resumable at any step, independent of the worker count."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from labelwise.data.dataset import Dataset
from labelwise.data.decode import UnreadableImage, decode_image
from labelwise.data.sampling import EpochOrder, Shuffled, turns
from labelwise.data.transforms import ImageTransform, keyed
from labelwise.errors import LabelwiseError
from labelwise.types import Batch, Targets

Transform: TypeAlias = Callable[[Tensor], Tensor]
Request: TypeAlias = tuple[int, np.ndarray] | tuple[int, np.ndarray, np.ndarray]
"""One batch to load: the epoch that keys its augmentation, its rows, and how often each occurred before in it."""
_GRACE_SECONDS = 15  # seconds that a worker continues after SIGTERM
Parts: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, tuple[tuple[int, str], ...]]
"""The message of a worker: images, values, known, index, unreadable."""


@runtime_checkable
class BatchSource(Protocol):
    """The origin of a loader's batches: decoded files, or stored maps."""

    def batches(self, requests: Sequence[Request]) -> Iterator[Batch]:
        """The requested batches, in order."""

    def close(self) -> None:
        """Stops background processes."""


class TrainLoader:
    """Shuffled batches of a training set; created by `train_loader`.

    Args:
        steps_per_epoch: full global batches in an epoch, at least 1; the rest of the order is dropped.
        order: the rows of an epoch; `None` for each once, shuffled.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        rank: int,
        world: int,
        source: BatchSource,
        order: EpochOrder | None = None,
    ):
        self._order, self._seed = order or Shuffled(len(dataset)), seed
        self._rank, self._world = rank, world
        self._batch = min(batch_size, len(dataset))
        self._source = source
        self.steps_per_epoch = len(dataset) // self._batch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from a step on; earlier ones are skipped without reading files.

        Raises:
            LabelwiseError: if `start_step` lies outside [0, steps_per_epoch].
        """
        if not 0 <= start_step <= self.steps_per_epoch:
            given = f"start step {start_step} of an epoch with {self.steps_per_epoch} steps"
            raise LabelwiseError(given, "a step of this epoch", "resume with the same data and batch size")
        return self._source.batches([(epoch, *request) for request in self._plan(epoch)[start_step:]])

    def close(self) -> None:
        """Stops the worker processes; the loader cannot be used afterwards."""
        self._source.close()

    def _plan(self, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each step, this process's rows and how often each occurred before in the epoch."""
        order = self._order.rows(self._seed, epoch)[: self.steps_per_epoch * self._batch]
        start, stop = (self._batch * (self._rank + i) // self._world for i in (0, 1))
        rows, earlier = (array.reshape(-1, self._batch)[:, start:stop] for array in (order, turns(order)))
        return list(zip(rows, earlier, strict=True))


class EvalLoader:
    """Batches in the order of the rows; iterate over it as often as needed. Created by `eval_loader`."""

    def __init__(self, dataset: Dataset, batch_size: int, rank: int, world: int, source: BatchSource) -> None:
        rows = np.arange(rank, len(dataset), world)
        self._requests = [(0, rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
        self._source = source

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Batch]:
        return self._source.batches(self._requests)

    def close(self) -> None:
        """Stops the worker processes; the loader cannot be used afterwards."""
        self._source.close()


def train_loader(
    dataset: Dataset,
    transform: Transform,
    *,
    batch_size: int,
    seed: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
    context: str | None = None,
    order: EpochOrder | None = None,
) -> TrainLoader:
    """Batches for training that depend only on (seed, epoch, step).

    Each epoch is a new permutation keyed by (seed, epoch), divided into global batches; process `rank` of
    `world` gets a contiguous slice of each, so that all processes together see the batches of a single process.
    Augmentation is keyed by (seed, epoch, row, turn of the row). The global random state is neither read nor changed.
    Only one pass runs at a time: a new pass ends the previous one.

    An image that cannot be decoded is dropped from its batch and listed in `Batch.unreadable`; a batch without any
    readable image is one black image with unknown labels, under the first row's number.

    Args:
        dataset: the training rows, usually one split.
        transform: uint8 `[3, H, W]` -> tensor of one fixed shape; may use torch's global generator.
        batch_size: images per step over all processes; a smaller data set is one batch.
        seed: of the shuffling and the augmentation, >= 0.
        workers: worker processes of this process; 0 loads in this process.
        rank: this process, in [0, world).
        world: number of processes.
        context: how workers start, "fork" or "spawn"; `None` for the system's default.
        order: the rows of an epoch; `None` for each once, shuffled.

    Raises:
        LabelwiseError: on an empty data set, or fewer images per step than processes.
    """
    _check_sizes(dataset, batch_size, workers, rank, world)
    if seed < 0:
        raise LabelwiseError(f"seed {seed}", "a number from 0 on", "choose another seed")
    if min(batch_size, len(dataset)) < world:
        given = f"{min(batch_size, len(dataset))} images per step for {world} processes"
        raise LabelwiseError(given, "at least one image per process", "use fewer processes or larger batches")
    source = _Source(_Batches(dataset, transform, seed), workers, context)
    return TrainLoader(dataset, batch_size, seed, rank, world, source, order)


def eval_loader(
    dataset: Dataset,
    transform: Transform,
    *,
    batch_size: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
    context: str | None = None,
) -> EvalLoader:
    """Batches for evaluation: rows `rank, rank + world, ...` once each and in order, the last batch shorter.

    Arguments and unreadable images as in `train_loader`; the transform should not be random.

    Raises:
        LabelwiseError: on an empty data set or an invalid batch size, number of workers or rank.
    """
    _check_sizes(dataset, batch_size, workers, rank, world)
    return EvalLoader(
        dataset, batch_size, rank, world, _Source(_Batches(dataset, transform, None), workers, context)
    )


@dataclass(frozen=True)
class _Batches(TorchDataset):
    """The data set of the workers: a request -> the parts of one batch."""

    dataset: Dataset
    transform: Transform
    seed: int | None

    def __getitem__(self, request: Request) -> Parts:
        epoch, rows, *earlier = request
        images, readable, failed = [], [], []
        turns_of_rows = earlier[0].tolist() if earlier else [0] * len(rows)
        for row, turn in zip(rows.tolist(), turns_of_rows, strict=True):
            try:
                images.append(self._image(row, epoch, turn))
                readable.append(row)
            except UnreadableImage as error:
                failed.append((row, error.given))
        is_blank = not readable
        if is_blank:
            images, readable = [self.transform(torch.zeros(3, 64, 64, dtype=torch.uint8))], [int(rows[0])]
        values = torch.from_numpy(np.asarray(self.dataset.values[readable], np.float32))
        known = torch.from_numpy(np.asarray(self.dataset.known[readable], bool) & (not is_blank))
        return stacked(images), values.masked_fill(~known, 0.0), known, torch.tensor(readable), tuple(failed)

    def _image(self, row: int, epoch: int, turn: int) -> Tensor:
        decode = self.transform.decode if isinstance(self.transform, ImageTransform) else decode_image
        image = decode(self.dataset.encoded(row))
        if self.seed is None:
            return self.transform(image)
        return keyed(self.transform, image, self.seed, epoch, row + turn * len(self.dataset))


def stacked(images: Sequence[Tensor]) -> Shaped[Tensor, "B ..."]:
    """One batch of images of one size, contiguous in memory.

    Decoded and resized images are channels-last; numpy converts them in a fifth of torch's time.

    Raises:
        RuntimeError: images of several sizes.
    """
    if len({(image.shape, image.dtype) for image in images}) > 1:
        return torch.stack(list(images))  # raises an error with the shapes
    batch = torch.empty(len(images), *images[0].shape, dtype=images[0].dtype)
    for target, image in zip(batch.numpy(), images, strict=True):
        np.copyto(target, image.numpy())
    return batch


class _Requests(Sampler):
    """The requests of the current pass; workers persist between passes, so each pass replaces the list."""

    def __init__(self) -> None:
        self.current: Sequence[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.current)

    def __len__(self) -> int:
        return len(self.current)


class _Source:
    """Requests -> batches, in order, by worker processes that persist between passes."""

    def __init__(self, batches: _Batches, workers: int, context: str | None) -> None:
        self._requests = _Requests()
        self._loader: DataLoader | None = DataLoader(
            batches,
            batch_size=None,
            sampler=self._requests,
            num_workers=workers,
            collate_fn=_unchanged,
            generator=torch.Generator(),  # its own, as each pass would otherwise use the global one
            persistent_workers=workers > 0,
            multiprocessing_context=context if workers else None,
            worker_init_fn=_outlive_signals,
            pin_memory=torch.cuda.is_available(),
        )

    def batches(self, requests: Sequence[Request]) -> Iterator[Batch]:
        if self._loader is None:
            raise LabelwiseError("a loader that was closed", "an open one", "make a new loader")
        self._requests.current = requests
        return (_batch(parts) for parts in self._loader)

    def close(self) -> None:
        # Stopped explicitly: the frames of an exception still reference the iterator of an aborted pass.
        iterator = None if self._loader is None else self._loader._iterator
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()
        self._loader = None


def _outlive_signals(worker: int) -> None:
    """Leaves a signal to a process group to the main process, which still needs batches for its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if alarm := getattr(signal, "alarm", None):  # Windows sends no SIGTERM
        signal.signal(signal.SIGTERM, lambda number, frame: alarm(_GRACE_SECONDS))


def _unchanged(parts: Any) -> Any:
    return parts


def _batch(parts: Parts) -> Batch:
    """The batch of a worker's message."""
    images, values, known, index, unreadable = parts
    pairs = tuple((row, reason) for row, reason in unreadable)  # pinned memory turns tuples into lists
    return Batch(images, Targets(values, known), index, unreadable=pairs)


def _check_sizes(dataset: Dataset, batch_size: int, workers: int, rank: int, world: int) -> None:
    """Raises `LabelwiseError` for no images, or a batch size, number of workers or rank out of range."""
    if len(dataset) == 0:
        raise LabelwiseError("a data set without images", "at least one image", "check the split and source")
    if batch_size < 1:
        raise LabelwiseError(f"batch size {batch_size}", "at least 1", "choose a larger batch")
    if workers < 0:
        raise LabelwiseError(f"{workers} workers", "0 or more", "use 0 to load in this process")
    if not 0 <= rank < world:
        raise LabelwiseError(f"process {rank} of {world}", "a rank from 0 to world - 1", "check the launcher")
