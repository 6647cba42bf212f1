"""Arrays computed from images once, by all processes of a machine, and stored in a file."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from filelock import FileLock
from torch import distributed as dist

from labelwise.data.cached import LIMIT, keep_within_limit, mark_used
from labelwise.errors import LabelwiseError
from labelwise.runs import packed_rows
from labelwise.runs.files import write_atomic
from labelwise.runs.packed_rows import PackedRows, damaged

Compute: TypeAlias = Callable[..., list[tuple[int, str]]]
"""Writes a share of the array into a file; returns (row, reason) of unreadable images."""
Rows: TypeAlias = "np.ndarray | PackedRows"
"""An array with one entry per image, read by `rows[numbers]`."""


def stored(
    path: Path,
    shape: Callable[[], tuple[int, ...]],
    compute: Compute,
    message: str,
    say: Callable[[str], None],
    joined: bool = False,
) -> tuple[Rows, list[tuple[int, str]]]:
    """An array with one entry per image, read from its file, or computed and stored there.

    Args:
        path: the file; its name identifies the images and what computes the array. With the suffix of `PackedRows` its
            entries are compressed, otherwise it is a `.npy` file.
        shape: returns the shape of the array; called only if it must be computed.
        compute: writes a share of it.
        message: the line printed before it is computed.
        say: prints a line to the user.
        joined: all processes of a training call this together, and those of one machine share the work; the file has
            the same bytes as one process writes.

    Returns:
        `[N, ...]` float16, read from the file, and (row, reason) of unreadable images, whose entries are zero.
    """
    unreadable_path = path.with_suffix(".json")
    leads = joined and dist.get_rank() == 0
    if joined and not leads:
        _compute_share(path, None, compute)  # and wait until the first process has stored the array
        dist.barrier()
    # The first process waits for the others while it holds the lock, so they do not wait for the lock of a whole array.
    is_there = joined and not leads and unreadable_path.is_file()
    with nullcontext() if is_there else alone(path.with_suffix(".lock")):
        if not unreadable_path.is_file():
            say(message)
            unreadable: list[tuple[int, str]] = []

            def write(temporary: Path) -> None:
                allocate = packed_rows.allocate if path.suffix == packed_rows.SUFFIX else _allocate
                allocate(temporary, shape())
                unreadable.extend(_compute_share(path, temporary, compute) if leads else compute(temporary))

            write_atomic(path, write)
            write_atomic(unreadable_path, lambda temporary: temporary.write_text(json.dumps(unreadable)))
            for removed in keep_within_limit(path):
                say(f"note: {removed.kind} {removed.path.name} removed, for {LIMIT}")
        elif leads:
            _sharing_ranks(path, None)
        mark_used(path)
    if leads:
        dist.barrier()
    rows_and_reasons = [(row, reason) for row, reason in json.loads(unreadable_path.read_text())]
    rows = open_rows(path)
    if isinstance(rows, PackedRows) and set(rows.empty.tolist()) - {row for row, _ in rows_and_reasons}:
        raise damaged(path)
    return rows, rows_and_reasons


def open_rows(file: Path, writable: bool = False) -> np.memmap | PackedRows:
    """The array of a file; entries are written by `rows[numbers] = values`, then `rows.flush()`."""
    if packed_rows.SUFFIX in file.suffixes:  # also of a file that is being written, `.NAME.rows.part`
        return PackedRows(file, writable)
    try:
        return np.lib.format.open_memmap(file, mode="r+" if writable else "r")
    except ValueError:
        raise damaged(file) from None


def _compute_share(path: Path, temporary: Path | None, compute: Compute) -> list[tuple[int, str]]:
    """Compute this process's share in the first process's file; returns the unreadable images of all processes.

    Args:
        path: file of the array, named after this process's images and weights.
        temporary: in the first process, the file to fill; `None` in the others, which receive its name.
        compute: writes a share of a file.
    """
    file, ranks = _sharing_ranks(path, temporary)
    unreadable = compute(file, ranks.index(dist.get_rank()), len(ranks)) if dist.get_rank() in ranks else []
    gathered: list[Any] = [None] * dist.get_world_size()
    if ranks:
        dist.all_gather_object(gathered, unreadable)
    return sorted(entry for share in gathered for entry in share or [])


def _sharing_ranks(path: Path, temporary: Path | None) -> tuple[Path, list[int]]:
    """The first process's file, and the ranks that fill it: those on its machine with the same images."""
    offer = [None if temporary is None else (socket.gethostname(), path.name, str(temporary.absolute()))]
    dist.broadcast_object_list(offer, src=0)
    if offer[0] is None:
        return path, []
    host, name, file = offer[0]
    is_sharing = (socket.gethostname(), path.name) == (host, name) and Path(file).is_file()
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, is_sharing)
    return Path(file), [rank for rank, is_sharing_rank in enumerate(gathered) if is_sharing_rank]


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a file lock, so that other runs wait; the system releases it even if this process is killed.

    Raises:
        LabelwiseError: the folder of the cache cannot be written.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise LabelwiseError(
            f"{path.parent} could not be written ({error.strerror})",
            "a cache folder that can be written",
            "correct its permissions, or name another folder in LABELWISE_CACHE",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _allocate(path: Path, shape: tuple[int, ...]) -> None:
    """An array on disk, fully allocated: writing to a mapped file on a full disk would kill the process."""
    store = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, store.offset + store.nbytes)
