"""Feature maps of a frozen backbone: computed once, stored, and read instead of the images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelwise.backbones import TimmBackbone
from labelwise.data.cache import cache_folder
from labelwise.data.dataset import Dataset
from labelwise.data.decode import UnreadableImage
from labelwise.data.loading import Request, eval_loader
from labelwise.data.pixels import BITS
from labelwise.data.transforms import ImageTransform, build_transform
from labelwise.engines.frozen_engine import add_weights
from labelwise.progress import bar
from labelwise.runs.config import Config
from labelwise.runs.disk import refuse_failing_disk
from labelwise.runs.packed_rows import SUFFIX
from labelwise.runs.stored import Rows, open_rows, stored
from labelwise.types import Batch, Targets

_BATCH = 32


def stored_maps(
    dataset: Dataset,
    backbone: TimmBackbone,
    config: Config,
    device: torch.device,
    workers: int,
    say: Callable[[str], None],
    joined: bool = False,
) -> tuple[Rows, list[tuple[int, str]]]:
    """Feature maps of a data set's images, computed unless they are stored.

    Args:
        dataset: the images.
        backbone: frozen, on `device`.
        config: for the transform.
        device: where maps are computed.
        workers: decoding processes.
        say: prints a line to the user.
        joined: all processes of a training call this together, and those of one machine share the work; the file has
            the same bytes as one process writes.

    Returns:
        `[N, C, h, w]` float16, read from the file, and (row, reason) of unreadable images, whose maps are zero.
    """
    path = cache_folder() / "maps" / f"{_maps_key(dataset, backbone, config)}{SUFFIX}"
    compute = partial(_compute, dataset, backbone, config, device, workers)
    shape = partial(_shape, len(dataset), backbone, config, device)
    return stored(path, shape, compute, f"computing maps of {len(dataset):,} images once", say, joined)


@torch.no_grad()
def _shape(images: int, backbone: TimmBackbone, config: Config, device: torch.device) -> tuple[int, ...]:
    """N, C, h, w of the maps."""
    image = build_transform(config.one_view(), train=False)(torch.zeros(3, 64, 64, dtype=torch.uint8))
    return images, *backbone(image[None].to(device)).shape[1:]


@torch.no_grad()
def _compute(
    dataset: Dataset,
    backbone: TimmBackbone,
    config: Config,
    device: torch.device,
    workers: int,
    file: Path,
    index: int = 0,
    processes: int = 1,
) -> list[tuple[int, str]]:
    """Fill this process's share of the file with maps; see `fill`."""
    transform = build_transform(config.one_view(), train=False)
    return fill(dataset, transform, workers, lambda x: backbone(x.to(device)), file, index, processes)


def shares(images: int, index: int, processes: int) -> list[np.ndarray]:
    """Rows of every `processes`-th batch of images, starting at batch `index`.

    Batches are the same for any number of processes, since another batch size may round differently.
    """
    starts = range(index * _BATCH, images, processes * _BATCH)
    return [np.arange(start, min(start + _BATCH, images)) for start in starts]


@torch.no_grad()
def fill(
    dataset: Dataset,
    transform: ImageTransform,
    workers: int,
    answer: Callable[[Tensor], Tensor],
    file: Path,
    index: int = 0,
    processes: int = 1,
) -> list[tuple[int, str]]:
    """Compute this process's `shares` of the images into a file; returns (row, reason) of unreadable images.

    Args:
        dataset: the images.
        transform: their transform.
        workers: decoding processes.
        answer: computes the output of a batch.
        file: the output, already allocated.
        index: of this process.
        processes: how many fill the file.
    """
    if not (batches := shares(len(dataset), index, processes)):
        return []
    rows = np.concatenate(batches)
    store = open_rows(file, writable=True)
    images = dataset if processes == 1 else dataset.take(rows)
    unreadable: list[tuple[int, str]] = []
    loading = closing(eval_loader(images, transform, batch_size=_BATCH, workers=workers))
    with loading as loader, bar("maps", len(images), None if index == 0 else False) as tick:
        for done, batch in enumerate(loader, 1):
            store[rows[batch.index.numpy()]] = answer(batch.images).to(torch.float16).cpu().numpy()
            refuse_failing_disk(batch.unreadable)  # an image stored as unreadable is never read again
            unreadable += [(int(rows[row]), reason) for row, reason in batch.unreadable]
            tick(min(done * _BATCH, len(images)))
    store.flush()
    return unreadable


def _maps_key(dataset: Dataset, backbone: TimmBackbone, config: Config) -> str:
    """Name of the file of maps, by the images and all that determines their maps."""
    digest = hashlib.sha256()
    transform = config.one_view()
    size = transform.model_dump_json(include={"image_size", "resize"})
    if transform.bits != BITS:
        size += f" {transform.bits} bits"
    engine = f" {backbone.engine.name}" if backbone.engine is not None else ""
    digest.update(f"maps-2 {backbone.name} {backbone.stage} {size}{engine}".encode())
    add_weights(digest, backbone)
    return images_key(dataset, digest)


def images_key(dataset: Dataset, digest: Any) -> str:
    """Name of a stored array of these images; `digest` identifies what computes it, and is updated with each image."""
    for i in range(len(dataset)):
        try:
            image = dataset.encoded(i)
        except UnreadableImage as error:  # the store gives the reason
            image = error.given.encode()
        if isinstance(image, bytes):
            digest.update(image)
        else:
            digest.update(f"{image.resolve()} {_file_state(image)}".encode())
    return digest.hexdigest()[:32]


def _file_state(file: Path) -> tuple[int, int] | None:
    """Size and time of change of a file, which stand for its content; `None` if it is missing."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class MapSource:
    """Batches of stored maps, in place of the loaders' decoding workers.

    Args:
        maps: `[N, C, h, w]` float16.
        dataset: their label states.
        unreadable: row -> reason of each image without a map; it is left out of batches, as in a loader.
    """

    maps: Rows
    dataset: Dataset
    unreadable: Mapping[int, str] = field(default_factory=dict)

    def batches(self, requests: Sequence[Request]) -> Iterator[Batch]:
        """The requested batches; only the rows of a request matter, since maps are never augmented.

        A thread reads the next batch while one is used.
        """
        if len(requests) == 1:
            yield self._batch(requests[0][1])
            return
        with ThreadPoolExecutor(1, "maps") as reader:
            ahead: Future[Batch] | None = None
            for _, rows, *_ in requests:
                next_batch = reader.submit(self._batch, rows)
                if ahead is not None:
                    yield ahead.result()
                ahead = next_batch
            if ahead is not None:
                yield ahead.result()

    def _batch(self, rows: np.ndarray) -> Batch:
        """A batch of the readable rows; without any a filler, the first row with unknown states."""
        unreadable = tuple((row, self.unreadable[row]) for row in rows.tolist() if row in self.unreadable)
        readable = rows[~np.isin(rows, [row for row, _ in unreadable])]
        is_filler = not len(readable)
        readable = rows[:1] if is_filler else readable
        values = torch.from_numpy(np.asarray(self.dataset.values[readable], np.float32))
        known = torch.from_numpy(np.asarray(self.dataset.known[readable], bool) & (not is_filler))
        targets = Targets(values.masked_fill(~known, 0.0), known)
        return Batch(self._maps(readable), targets, torch.from_numpy(readable), True, unreadable)

    def _maps(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.maps[rows]).float()  # NumPy widens half precision far more slowly

    def close(self) -> None:
        """Does nothing: there are no worker processes."""
