"""What the cache folder holds, with sizes and times of last use, and the removal of what is not in use."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from labelwise.data.cache import cache_folder
from labelwise.errors import LabelwiseError

LIMIT = "LABELWISE_CACHE_LIMIT"
"""Name of the environment variable with the largest size of the stored arrays, such as `20GB`."""
ARRAYS = {"maps": "maps", "teachers": "teacher outputs"}
"""Folders of arrays, one file per set of images, and what they hold."""
SUFFIXES = (".npy", ".rows")
"""Of whole arrays; a file of another name is unfinished."""
WHOLE = {
    "fingerprints-1": "fingerprints of images",
    "pictures-1": "thumbnails of the server",
    "engines": "compiled backbones",
    "formats": "memory formats of backbones",
}
"""Folders that are one entry, and what they hold."""
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class Entry:
    """A part of the cache that is removed as a whole.

    Args:
        kind: what it holds, a value of `ARRAYS` or `WHOLE`.
        path: its file, or its folder.
        size: bytes on disk.
        used: seconds since the epoch at its last use, or its last change if uses are not recorded.
    """

    kind: str
    path: Path
    size: int
    used: float


def bytes_of(text: str) -> int:
    """Parse a size such as `500MB`, `20GB` or `0`; returns bytes.

    Raises:
        LabelwiseError: another format.

    >>> bytes_of("1.5GB"), bytes_of("0")
    (1500000000, 0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]B)?", text.strip(), re.IGNORECASE)
    if match is None or (not match[2] and float(match[1])):
        raise LabelwiseError(
            f"a cache size of {text!r}", "a number and a unit, such as 500MB or 20GB, or 0", "correct it"
        )
    return int(float(match[1]) * _UNITS[(match[2] or "KB").upper()])


def entries() -> list[Entry]:
    """Return the parts of the cache, the least recently used first."""
    folder = cache_folder()
    listed = [
        Entry(kind, path, size, used)
        for name, kind in ARRAYS.items()
        for path, size, used in _arrays(folder / name)
    ]
    for name, kind in WHOLE.items():
        states = [state for path in (folder / name).rglob("*") if (state := _state(path))]
        if states:
            used = max(state.st_mtime for state in states)
            listed.append(Entry(kind, folder / name, sum(state.st_size for state in states), used))
    return sorted(listed, key=lambda entry: (entry.used, entry.path))


def _arrays(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Yield each array's file, its size with its list of unreadable images, and its last use.

    A file that a stopped process left unfinished is an entry of its own.
    """
    for path in folder.glob("*"):
        state = _state(path)
        if state is None or path.suffix in (".json", ".lock"):
            continue
        list_state = _state(path.with_suffix(".json")) if path.suffix in SUFFIXES else None
        used = max(state.st_mtime, list_state.st_mtime if list_state else 0.0)
        yield path, _bytes(state) + (list_state.st_size if list_state else 0), used


def _state(path: Path) -> os.stat_result | None:
    """The state of a file; `None` for a folder or a file that another process removed."""
    try:
        return path.stat() if path.is_file() else None
    except OSError:
        return None


def _bytes(state: os.stat_result) -> int:
    """The bytes that a file takes on the disk, without its holes; at most its length."""
    return min(state.st_size, 512 * getattr(state, "st_blocks", state.st_size))


def mark_used(path: Path) -> None:
    """Record the use of an array, by the time of its list of unreadable images."""
    try:
        os.utime(path.with_suffix(".json"))
    except OSError:  # a cache of another user: the time of its last change stands
        return


def remove(
    listed: Collection[Entry], keep: Path | None = None
) -> tuple[list[Entry], list[tuple[Entry, str]]]:
    """Remove parts of the cache; returns the removed ones, and the others with the reason.

    An array that a process is computing is skipped. One that a process reads is removed where the system lets open
    files live on, and skipped elsewhere.

    Args:
        listed: see `entries`.
        keep: file of an array that stays.
    """
    removed: list[Entry] = []
    skipped: list[tuple[Entry, str]] = []
    for entry in listed:
        if entry.path == keep:
            continue
        try:
            _remove(entry.path)
            removed.append(entry)
        except Timeout:
            skipped.append((entry, "a process is computing it"))
        except OSError as error:
            skipped.append((entry, error.strerror or str(error)))
    return removed, skipped


def _remove(path: Path) -> None:
    """Removes a file with its list and lock, or a folder; raises `Timeout` while a process computes the file."""
    if path.is_dir():
        shutil.rmtree(path)
        return
    key = path.name.lstrip(".").partition(".")[0]  # a file that is being written begins with a dot
    lock = path.parent / f"{key}.lock"
    with FileLock(lock, timeout=0):
        path.with_suffix(".json").unlink(missing_ok=True)  # first: without it the array counts as missing
        path.unlink(missing_ok=True)
    lock.unlink(missing_ok=True)


def least_recently_used(listed: Collection[Entry], size: int) -> list[Entry]:
    """Return the entries to remove so that the others have at most `size` bytes, the least recently used first."""
    excess, chosen = sum(entry.size for entry in listed) - size, []
    for entry in sorted(listed, key=lambda entry: entry.used):
        if excess <= 0:
            break
        chosen.append(entry)
        excess -= entry.size
    return chosen


def unused_for(listed: Collection[Entry], days: float) -> list[Entry]:
    """Return the entries that were last used more than `days` ago."""
    return [entry for entry in listed if entry.used < time.time() - 86_400 * days]


def keep_within_limit(path: Path) -> list[Entry]:
    """Remove the least recently used arrays but `path` until all have at most the bytes of `LIMIT`, if it is set.

    Raises:
        LabelwiseError: a limit that is no size.
    """
    limit = os.environ.get(LIMIT, "")
    if not limit:
        return []
    arrays = [entry for entry in entries() if entry.kind in ARRAYS.values()]
    others = [entry for entry in arrays if entry.path != path]
    size_of_path = sum(entry.size for entry in arrays if entry.path == path)
    return remove(least_recently_used(others, bytes_of(limit) - size_of_path))[0]
