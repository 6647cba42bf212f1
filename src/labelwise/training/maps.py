"""Maps of a frozen backbone: computed once, stored, and read instead of the photographs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

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

_BATCH = 32
Compute: TypeAlias = Callable[..., list[tuple[int, str]]]
"""Fills the maps of a share of the images into a file; gives those that cannot be read."""


def stored_maps(
    dataset: Dataset,
    backbone: TimmBackbone,
    config: Config,
    device: torch.device,
    workers: int,
    say: Callable[[str], None],
    joined: bool = False,
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Maps of a data set's images by this backbone, computed where they are not stored yet.

    Args:
        dataset: the images.
        backbone: frozen, on `device`.
        config: for the transform.
        device: where maps are computed.
        workers: decoding processes.
        say: takes a line for the person.
        joined: all processes of a training call this together, and those of one machine share the work; the store has
            the bytes that one process writes.

    Returns:
        `[N, C, h, w]` float16 memory map, and (row, reason) of unreadable images, whose maps are zero.
    """
    path = cache_folder() / "maps" / f"{_key(dataset, backbone, config)}.npy"
    bad_path = path.with_suffix(".json")
    compute = partial(_compute, dataset, backbone, config, device, workers)
    leads = joined and dist.get_rank() == 0
    if joined and not leads:
        _help(path, compute)
    with _alone(path.with_suffix(".lock")):
        if not bad_path.is_file():
            say(f"computing maps of {len(dataset):,} images once")
            bad: list[tuple[int, str]] = []

            def write(part: Path) -> None:
                _room(part, (len(dataset), *_shape(backbone, config, device)))
                bad.extend(_share(path, part, compute) if leads else compute(part))

            write_atomic(path, write)
            write_atomic(bad_path, lambda part: part.write_text(json.dumps(bad)))
        elif leads:
            _places(path, None)
    if leads:
        dist.barrier()
    return np.load(path, mmap_mode="r"), [(row, reason) for row, reason in json.loads(bad_path.read_text())]


def _help(path: Path, compute: Compute) -> None:
    """Called by all processes but the first: compute a share of what the first asks for, until it is stored."""
    _share(path, None, compute)
    dist.barrier()


def _share(path: Path, part: Path | None, compute: Compute) -> list[tuple[int, str]]:
    """Compute this process's share into the first process's file; gives the unreadable images of all.

    Args:
        path: where the maps will be, by this process's own photographs and weights.
        part: the file to fill, of the first process; `None` for the others, which learn it.
        compute: fills a share of a file.
    """
    file, places = _places(path, part)
    own = compute(file, places.index(dist.get_rank()), len(places)) if dist.get_rank() in places else []
    found: list[Any] = [None] * dist.get_world_size()
    if places:
        dist.all_gather_object(found, own)
    return sorted(one for share in found for one in share or [])


def _places(path: Path, part: Path | None) -> tuple[Path, list[int]]:
    """The first process's file, and the ranks that fill it: those of its machine, with the same photographs."""
    offer = [None if part is None else (socket.gethostname(), path.name, str(part.absolute()))]
    dist.broadcast_object_list(offer, src=0)
    if offer[0] is None:
        return path, []
    host, name, file = offer[0]
    works = (socket.gethostname(), path.name) == (host, name) and Path(file).is_file()
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, works)
    return Path(file), [rank for rank, helps in enumerate(found) if helps]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other runs that need the same maps waiting; the system lets go of the lock even when killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@torch.no_grad()
def _shape(backbone: TimmBackbone, config: Config, device: torch.device) -> tuple[int, ...]:
    """C, h, w of a map."""
    image = build_transform(config.one_view(), train=False)(torch.zeros(3, 64, 64, dtype=torch.uint8))
    return tuple(backbone(image[None].to(device)).shape[1:])


@torch.no_grad()
def _compute(
    dataset: Dataset,
    backbone: TimmBackbone,
    config: Config,
    device: torch.device,
    workers: int,
    part: Path,
    place: int = 0,
    places: int = 1,
) -> list[tuple[int, str]]:
    """Fill a file by every `places`-th batch of images from `place` on; gives those that cannot be read.

    Batches are the same for any number of places, for another number of images to a batch may round otherwise.
    """
    starts = range(place * _BATCH, len(dataset), places * _BATCH)
    if not starts:
        return []
    rows = np.concatenate([np.arange(start, min(start + _BATCH, len(dataset))) for start in starts])
    store = np.lib.format.open_memmap(part, mode="r+")
    transform = build_transform(config.one_view(), train=False)
    share = dataset if places == 1 else dataset.take(rows)
    bad: list[tuple[int, str]] = []
    with closing(eval_loader(share, transform, batch_size=_BATCH, workers=workers)) as loader:
        for batch in loader:
            maps = backbone(batch.images.to(device)).to(torch.float16).cpu().numpy()
            store[rows[batch.index.numpy()]] = maps
            refuse_failing_disk(batch.unreadable)  # what is stored as unreadable stays so
            bad += [(int(rows[row]), reason) for row, reason in batch.unreadable]
    store.flush()
    return bad


def _room(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """An array on disk whose space is taken at once: writing to a mapped file on a full disk ends the process."""
    store = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if sys.platform == "linux":
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, store.offset + store.nbytes)
    return store


def _key(dataset: Dataset, backbone: TimmBackbone, config: Config) -> str:
    digest = hashlib.sha256()
    transform = config.one_view()
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
