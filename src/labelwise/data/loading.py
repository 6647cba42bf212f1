"""Batches for training and evaluation: repeatable, resumable at any step, the same for any worker count."""

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
from labelwise.data.sampling import Order, Shuffled, turns
from labelwise.data.transforms import ImageTransform, keyed
from labelwise.errors import LabelwiseError
from labelwise.types import Batch, Targets

Transform: TypeAlias = Callable[[Tensor], Tensor]
Request: TypeAlias = tuple[int, np.ndarray] | tuple[int, np.ndarray, np.ndarray]
"""One batch to make: the epoch that keys its augmentation, its rows, and how often the epoch had each before."""
_GRACE = 15  # seconds that a worker outlives a request to end
Parts: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, tuple[tuple[int, str], ...]]
"""What a worker sends: images, values, known, index, unreadable."""


@runtime_checkable
class Source(Protocol):
    """Where a loader's batches come from: decoded files, or stored maps."""

    def batches(self, requests: Sequence[Request]) -> Iterator[Batch]:
        """The batches asked for, in order."""
        ...

    def close(self) -> None:
        """Ends what runs in the background."""
        ...


class TrainLoader:
    """Shuffled batches of a training set; made by `train_loader`.

    Args:
        steps_per_epoch: full global batches in an epoch, at least 1; the rest of the order is left out.
        order: which rows an epoch has, in which order; `None` for each once, shuffled.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        rank: int,
        world: int,
        source: Source,
        order: Order | None = None,
    ):
        self._order, self._seed = order or Shuffled(len(dataset)), seed
        self._rank, self._world = rank, world
        self._batch = min(batch_size, len(dataset))
        self._source = source
        self.steps_per_epoch = len(dataset) // self._batch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from a step on; earlier ones are skipped without reading a file.

        Raises:
            LabelwiseError: if `start_step` lies outside [0, steps_per_epoch].
        """
        if not 0 <= start_step <= self.steps_per_epoch:
            given = f"start step {start_step} of an epoch with {self.steps_per_epoch} steps"
            raise LabelwiseError(given, "a step of this epoch", "resume with the same data and batch size")
        return self._source.batches([(epoch, *request) for request in self._plan(epoch)[start_step:]])

    def close(self) -> None:
        """Ends the worker processes; the loader cannot be used afterwards."""
        self._source.close()

    def _plan(self, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        order = self._order.rows(self._seed, epoch)[: self.steps_per_epoch * self._batch]
        start, stop = (self._batch * (self._rank + i) // self._world for i in (0, 1))
        rows, again = (one.reshape(-1, self._batch)[:, start:stop] for one in (order, turns(order)))
        return list(zip(rows, again, strict=True))


class EvalLoader:
    """Batches in the order of the rows; iterate over it as often as needed. Made by `eval_loader`."""

    def __init__(self, dataset: Dataset, batch_size: int, rank: int, world: int, source: Source) -> None:
        rows = np.arange(rank, len(dataset), world)
        self._requests = [(0, rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
        self._source = source

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Batch]:
        return self._source.batches(self._requests)

    def close(self) -> None:
        """Ends the worker processes; the loader cannot be used afterwards."""
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
    order: Order | None = None,
) -> TrainLoader:
    """Batches for training whose content depends on (seed, epoch, step) and on nothing else.

    Each epoch is a fresh permutation keyed by (seed, epoch), cut into global batches; process `rank` of
    `world` gets a contiguous slice of each, so that together they see what one process would see.
    Augmentation is keyed by (seed, epoch, row, turn of the row). The global random state is neither read nor changed.
    One pass at a time: starting another ends the one before.

    An image that cannot be decoded is left out of its batch and told in `Batch.unreadable`; where none is
    left, the batch is one black image whose labels are all unknown, under the first row's number.

    Args:
        dataset: the rows to learn from, usually one split.
        transform: uint8 `[3, H, W]` -> tensor of one fixed shape; may draw from torch's global generator.
        batch_size: images per step over all processes; a smaller data set makes one batch.
        seed: of the shuffling and the augmentation, >= 0.
        workers: worker processes of this process; 0 loads in the process itself.
        rank: this process, in [0, world).
        world: number of processes.
        context: how workers start, "fork" or "spawn" (`None`: the system's habit).
        order: which rows an epoch has; `None` for each once, shuffled.

    Raises:
        LabelwiseError: on an empty data set, or fewer images per step than processes.
    """
    _check(dataset, batch_size, workers, rank, world)
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

    Arguments and unreadable images as in `train_loader`; the transform should draw nothing.

    Raises:
        LabelwiseError: on an empty data set or a wrong batch size, number of workers or rank.
    """
    _check(dataset, batch_size, workers, rank, world)
    return EvalLoader(
        dataset, batch_size, rank, world, _Source(_Batches(dataset, transform, None), workers, context)
    )


@dataclass(frozen=True)
class _Batches(TorchDataset):
    """What runs in the workers: a request -> the parts of one batch."""

    dataset: Dataset
    transform: Transform
    seed: int | None

    def __getitem__(self, request: Request) -> Parts:
        epoch, rows, *again = request
        images, good, bad = [], [], []
        before = again[0].tolist() if again else [0] * len(rows)
        for row, turn in zip(rows.tolist(), before, strict=True):
            try:
                images.append(self._image(row, epoch, turn))
                good.append(row)
            except UnreadableImage as error:
                bad.append((row, error.given))
        blank = not good
        if blank:
            images, good = [self.transform(torch.zeros(3, 64, 64, dtype=torch.uint8))], [int(rows[0])]
        values = torch.from_numpy(np.asarray(self.dataset.values[good], np.float32))
        known = torch.from_numpy(np.asarray(self.dataset.known[good], bool) & (not blank))
        return stacked(images), values.masked_fill(~known, 0.0), known, torch.tensor(good), tuple(bad)

    def _image(self, row: int, epoch: int, turn: int) -> Tensor:
        decode = self.transform.decode if isinstance(self.transform, ImageTransform) else decode_image
        image = decode(self.dataset.encoded(row))
        if self.seed is None:
            return self.transform(image)
        return keyed(self.transform, image, self.seed, epoch, row + turn * len(self.dataset))


def stacked(images: Sequence[Tensor]) -> Shaped[Tensor, "B ..."]:
    """One batch of images of one size, plane by plane in memory.

    Decoding and resizing leave the three colours of a pixel side by side; numpy parts them in a fifth of torch's time.

    Raises:
        RuntimeError: images of several sizes.
    """
    if len({(image.shape, image.dtype) for image in images}) > 1:
        return torch.stack(list(images))  # which says what is wrong
    batch = torch.empty(len(images), *images[0].shape, dtype=images[0].dtype)
    for place, image in zip(batch.numpy(), images, strict=True):
        np.copyto(place, image.numpy())
    return batch


class _Requests(Sampler):
    """The requests of the pass at hand; workers outlive a pass, so the list is set anew for each."""

    def __init__(self) -> None:
        self.now: Sequence[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)


class _Source:
    """Requests -> batches, in order, by worker processes that stay alive between passes."""

    def __init__(self, batches: _Batches, workers: int, context: str | None) -> None:
        self._requests = _Requests()
        self._loader: DataLoader | None = DataLoader(
            batches,
            batch_size=None,
            sampler=self._requests,
            num_workers=workers,
            collate_fn=_unchanged,
            generator=torch.Generator(),  # its own, or each pass would draw from the global one
            persistent_workers=workers > 0,
            multiprocessing_context=context if workers else None,
            worker_init_fn=_outlive_signals,
            pin_memory=torch.cuda.is_available(),
        )

    def batches(self, requests: Sequence[Request]) -> Iterator[Batch]:
        if self._loader is None:
            raise LabelwiseError("a loader that was closed", "an open one", "make a new loader")
        self._requests.now = requests
        return (_batch(parts) for parts in self._loader)

    def close(self) -> None:
        # Ended here and now: a pass that was broken off is still held by the frames of its exception.
        iterator = None if self._loader is None else self._loader._iterator
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()
        self._loader = None


def _outlive_signals(worker: int) -> None:
    """A signal to a whole group of processes is the main one's to obey, which still needs batches to end its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE))


def _unchanged(parts: Any) -> Any:
    return parts


def _batch(parts: Parts) -> Batch:
    images, values, known, index, unreadable = parts
    told = tuple((row, reason) for row, reason in unreadable)  # pinning memory makes lists of tuples
    return Batch(images, Targets(values, known), index, unreadable=told)


def _check(dataset: Dataset, batch_size: int, workers: int, rank: int, world: int) -> None:
    if len(dataset) == 0:
        raise LabelwiseError(
            "a data set without images", "at least one image", "check the split and the source"
        )
    if batch_size < 1:
        raise LabelwiseError(f"batch size {batch_size}", "at least 1", "choose a larger batch")
    if workers < 0:
        raise LabelwiseError(f"{workers} workers", "0 or more", "use 0 to load in the process itself")
    if not 0 <= rank < world:
        raise LabelwiseError(f"process {rank} of {world}", "a rank from 0 to world - 1", "check the launcher")
