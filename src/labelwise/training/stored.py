"""Arrays of what is computed of images: computed once, by all processes of a machine, and stored whole."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from torch import distributed as dist

from labelwise.training.files import write_atomic

Compute: TypeAlias = Callable[..., list[tuple[int, str]]]
"""Fills what is computed of a share of the images into a file; gives those that cannot be read."""


def stored(
    path: Path,
    shape: Callable[[], tuple[int, ...]],
    compute: Compute,
    told: str,
    say: Callable[[str], None],
    joined: bool = False,
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """An array of what is computed of each image, read from its file, or computed and stored there.

    Args:
        path: the file; its name says what it is of.
        shape: gives the shape of the array; asked where it is computed.
        compute: fills a share of it.
        told: the line for the person where it is computed.
        say: takes that line.
        joined: all processes of a training call this together, and those of one machine share the work; the store has
            the bytes that one process writes.

    Returns:
        `[N, ...]` float16 memory map, and (row, reason) of unreadable images, of which it holds zeros.
    """
    bad_path = path.with_suffix(".json")
    leads = joined and dist.get_rank() == 0
    if joined and not leads:
        _help(path, compute)
    with alone(path.with_suffix(".lock")):
        if not bad_path.is_file():
            say(told)
            bad: list[tuple[int, str]] = []

            def write(part: Path) -> None:
                _room(part, shape())
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
        path: where the array will be, by this process's own photographs and weights.
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
def alone(path: Path) -> Iterator[None]:
    """Keep other runs that need the same file waiting; the system lets go of the lock even when killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _room(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """An array on disk whose space is taken at once: writing to a mapped file on a full disk ends the process."""
    store = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if sys.platform == "linux":
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, store.offset + store.nbytes)
    return store
