"""Maps of a frozen backbone: computed once, stored, and read instead of the photographs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labelwise.backbones import TimmBackbone
from labelwise.data.cache import cache_folder
from labelwise.data.dataset import Dataset
from labelwise.data.decode import UnreadableImage
from labelwise.data.loading import Request, eval_loader
from labelwise.data.pixels import BITS
from labelwise.data.transforms import build_transform
from labelwise.training.config import Config
from labelwise.training.disk import refuse_failing_disk
from labelwise.training.files import write_atomic
from labelwise.types import Batch, Targets


def stored_maps(
    dataset: Dataset,
    backbone: TimmBackbone,
    config: Config,
    device: torch.device,
    workers: int,
    say: Callable[[str], None],
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Maps of a data set's images by this backbone, computed where they are not stored yet.

    Returns:
        `[N, C, h, w]` float16 memory map, and (row, reason) of unreadable images, whose maps are zero.
    """
    path = cache_folder() / "maps" / f"{_key(dataset, backbone, config)}.npy"
    bad_path = path.with_suffix(".json")
    with _alone(path.with_suffix(".lock")):
        if not bad_path.is_file():
            say(f"computing maps of {len(dataset):,} images once")
            bad: list[tuple[int, str]] = []
            write_atomic(path, lambda part: _compute(part, dataset, backbone, config, device, workers, bad))
            write_atomic(bad_path, lambda part: part.write_text(json.dumps(bad)))
    return np.load(path, mmap_mode="r"), [(row, reason) for row, reason in json.loads(bad_path.read_text())]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other runs that need the same maps waiting; the system lets go of the lock even when killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@torch.no_grad()
def _compute(
    path: Path,
    dataset: Dataset,
    backbone: TimmBackbone,
    config: Config,
    device: torch.device,
    workers: int,
    bad: list[tuple[int, str]],
) -> None:
    transform = build_transform(config.transform(), train=False)
    store = None
    with closing(eval_loader(dataset, transform, batch_size=32, workers=workers)) as loader:
        for batch in loader:
            maps = backbone(batch.images.to(device)).to(torch.float16).cpu().numpy()
            if store is None:
                shape = (len(dataset), *maps.shape[1:])
                store = _room(path, shape)
            store[batch.index.numpy()] = maps
            refuse_failing_disk(batch.unreadable)  # what is stored as unreadable stays so
            bad += batch.unreadable
    assert store is not None
    store.flush()


def _room(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """An array on disk whose space is taken at once: writing to a mapped file on a full disk ends the process."""
    store = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if sys.platform == "linux":
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, store.offset + store.nbytes)
    return store


def _key(dataset: Dataset, backbone: TimmBackbone, config: Config) -> str:
    digest = hashlib.sha256()
    transform = config.transform()
    size = transform.model_dump_json(include={"image_size", "resize"})
    if transform.bits != BITS:
        size += f" {transform.bits} bits"
    digest.update(f"maps-1 {backbone.name} {backbone.stage} {size}".encode())
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    for i in range(len(dataset)):
        try:
            image = dataset.encoded(i)
        except UnreadableImage as error:  # of a store, which knows why
            image = error.given.encode()
        if isinstance(image, bytes):
            digest.update(image)
        else:
            digest.update(f"{image.resolve()} {_state(image)}".encode())
    return digest.hexdigest()[:32]


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class MapSource:
    """Batches of stored maps, in place of the loaders' decoding workers.

    Args:
        maps: `[N, C, h, w]` float16.
        dataset: their label states.
        unreadable: row -> reason of each image that has no map; it is left out as a loader leaves it out.
    """

    maps: np.ndarray
    dataset: Dataset
    unreadable: Mapping[int, str] = field(default_factory=dict)

    def batches(self, requests: list[Request]) -> Iterator[Batch]:
        """The batches asked for; only the rows of a request matter, for maps are never augmented."""
        return (self._batch(request[1]) for request in requests)

    def _batch(self, rows: np.ndarray) -> Batch:
        bad = tuple((row, self.unreadable[row]) for row in rows.tolist() if row in self.unreadable)
        good = rows[~np.isin(rows, [row for row, _ in bad])]
        blank = not len(good)
        good = rows[:1] if blank else good
        values = torch.from_numpy(np.asarray(self.dataset.values[good], np.float32))
        known = torch.from_numpy(np.asarray(self.dataset.known[good], bool) & (not blank))
        targets = Targets(values.masked_fill(~known, 0.0), known)
        return Batch(self._maps(good), targets, torch.from_numpy(good), True, bad)

    def _maps(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.maps[rows].astype(np.float32))

    def close(self) -> None:
        """Nothing to end."""
