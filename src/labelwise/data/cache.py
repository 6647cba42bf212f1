"""The cache folder, and the fingerprints of images in it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from weakref import finalize

import numpy as np
from jaxtyping import Int64, UInt8, UInt64

from labelwise.data.contents import file_paths
from labelwise.data.dataset import Dataset
from labelwise.data.positions import open_descriptor, read_at, write_at
from labelwise.errors import LabelwiseError

THUMB_SIDE = 16
_THUMB = THUMB_SIDE * THUMB_SIDE * 3
_RECORD = np.dtype([("key", "<u8", 2), ("hash", "<u8")])
_HASH = "4.3.2"  # version of the hash: that of ImageHash, whose hashes are the same and may be stored
_BLOCK = 1 << 16  # records at once


def cache_folder() -> Path:
    """The cache folder: `$LABELWISE_CACHE`, or `labelwise` in the user's cache folder."""
    if folder := os.environ.get("LABELWISE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "labelwise"


def prints_folder() -> Path:
    """The folder of the fingerprints."""
    return cache_folder() / "fingerprints-1"


def image_keys(data: Dataset) -> UInt64[np.ndarray, "N 2"]:
    """The cache keys of images, which identify the image of a fingerprint.

    A key is a digest of the path, size and time of change of a file; of those of the store's file and the image's
    position in it; or of the bytes in a table. It includes the versions of the library that decodes and of the hash.

    Returns:
        `[N, 2]`; zeros for a missing image.
    """
    keys = bytearray(16 * len(data))
    start = " ".join(["print", version("Pillow"), _HASH, ""]).encode()
    for row, description in enumerate(_descriptions(data)):
        if description is not None:
            keys[16 * row : 16 * row + 16] = hashlib.blake2b(start + description, digest_size=16).digest()
    return np.frombuffer(keys, np.uint64).reshape(-1, 2)


def _descriptions(data: Dataset) -> Iterator[bytes | None]:
    """A unique description of each image; `None` for a missing file."""
    if data.store is not None:
        states = {file: _state(os.path.abspath(file)) for file in data.store.files}
        for row in range(len(data)):
            number = row if data.numbers is None else int(data.numbers[row])
            state = states[data.store.file_of(number)]
            yield None if state is None else state + b" %d" % data.store.place_of(number)
    elif data.holds_bytes:
        for row in range(len(data)):
            yield data.images[row].as_buffer()
    else:
        current_folder = os.path.join(os.getcwd(), "")
        for path in file_paths(data):
            yield _state(path if os.path.isabs(path) else current_folder + path)


def _state(path: str) -> bytes | None:
    """The path of a file with its size and time of change; `None` if it cannot be read."""
    try:
        entry = os.stat(path)
    except (OSError, ValueError):
        return None
    return b"%s %d %d" % (os.fsencode(path), entry.st_size, entry.st_mtime_ns)


class StoredThumbs:
    """Thumbnails in a file, copied from it on access: a million need 768 MB.

    Args:
        cache: with the thumbnails.
        slots: `[N]` positions in it; -1 for a row without a thumbnail, which is black.
    """

    def __init__(self, cache: PrintCache, slots: Int64[np.ndarray, " N"]) -> None:
        self._cache, self._slots = cache, slots

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, rows: Int64[np.ndarray, " K"]) -> UInt8[np.ndarray, "K 16 16 3"]:
        return self._cache.thumbs(self._slots[rows])


class PrintCache:
    """Perceptual hash and thumbnail of images by their key, in two append-only files.

    Several processes may use one folder. A temporary folder replaces one that cannot be written, and its fingerprints
    are not kept. Delete the folder to clear the cache.

    Args:
        folder: created where it is missing; `prints_folder()` by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or prints_folder()
        try:
            self._thumbs, self._keys = self._open_file("thumbs"), self._open_file("keys")
            self._shared = True
        except OSError:
            # Open files stay usable after the folder is deleted; Windows keeps it until they are closed.
            with tempfile.TemporaryDirectory(prefix="labelwise-", ignore_cleanup_errors=True) as name:
                self.folder = Path(name)
                self._thumbs, self._keys = self._open_file("thumbs"), self._open_file("keys")
                self._shared = False

    def _open_file(self, name: str) -> int:
        """Opens or creates a file of the folder; returns its descriptor, which is closed with the cache."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = open_descriptor(self.folder / name, os.O_RDWR | os.O_CREAT)
        finalize(self, os.close, descriptor)
        return descriptor

    def find(
        self, keys: UInt64[np.ndarray, "N 2"]
    ) -> tuple[Int64[np.ndarray, " N"], UInt64[np.ndarray, " N"]]:
        """The slot of each key, -1 for a missing one, and the hash."""
        # Only the first halves of the keys are sorted; the second halves are compared at the end.
        first, inverse = np.unique(keys[:, 0], return_inverse=True)
        inverse = inverse.reshape(-1)
        slots, second, hashes = (np.full(len(first), -1), *np.zeros((2, len(first)), np.uint64))
        for start, block in self._blocks():
            pos = np.minimum(np.searchsorted(first, block["key"][:, 0]), max(len(first) - 1, 0))
            match = np.flatnonzero(first[pos] == block["key"][:, 0]) if len(first) else pos[:0]
            pos = pos[match]
            slots[pos], second[pos], hashes[pos] = start + match, block["key"][match, 1], block["hash"][match]
        slots, second, hashes = slots[inverse], second[inverse], hashes[inverse]
        slots[(second != keys[:, 1]) | (keys == 0).all(1)] = -1
        return slots, hashes

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks of records, each with the number of its first one."""
        count = self._count()
        for start in range(0, count, _BLOCK):
            size = min(_BLOCK, count - start)
            content = read_at(self._keys, size * _RECORD.itemsize, start * _RECORD.itemsize)
            yield start, np.frombuffer(content, _RECORD)

    def _count(self) -> int:
        """Number of complete records: an interrupted append may leave a partial one at the end."""
        sizes = os.fstat(self._keys).st_size // _RECORD.itemsize, os.fstat(self._thumbs).st_size // _THUMB
        return min(sizes)

    def add(
        self,
        keys: UInt64[np.ndarray, "K 2"],
        hashes: UInt64[np.ndarray, " K"],
        thumbs: UInt8[np.ndarray, "K 16 16 3"],
    ) -> Int64[np.ndarray, " K"]:
        """Stores fingerprints and returns their slots.

        Raises:
            LabelwiseError: the disk is full or fails; earlier fingerprints are kept.
        """
        records = np.zeros(len(keys), _RECORD)
        records["key"], records["hash"] = keys, hashes
        try:
            with self._locked():
                start = self._count()
                write_at(self._thumbs, np.ascontiguousarray(thumbs).tobytes(), start * _THUMB)
                os.fsync(self._thumbs)  # after a power cut, no key may exist without its thumbnail
                write_at(self._keys, records.tobytes(), start * _RECORD.itemsize)
        except OSError as error:
            raise LabelwiseError(
                f"fingerprints of images could not be written to {self.folder} ({error.strerror})",
                "a disk with free space",
                "free some space or name another folder in LABELWISE_CACHE; what was computed before is kept",
            ) from None
        return start + np.arange(len(keys))

    def _locked(self) -> AbstractContextManager[object]:
        """A lock against other writers; the system releases that of a killed process."""
        from filelock import FileLock  # as slow to import as a small table is to check

        return FileLock(self.folder / "lock") if self._shared else nullcontext()

    def thumbs(self, slots: Int64[np.ndarray, " K"]) -> UInt8[np.ndarray, "K 16 16 3"]:
        """Thumbnails by their slots; black for -1.

        Raises:
            LabelwiseError: the file is truncated.
        """
        pixels = np.zeros((len(slots), _THUMB), np.uint8)
        present = np.flatnonzero(slots >= 0)
        order = present[np.argsort(slots[present], kind="stable")]
        content = memoryview(bytearray(_THUMB * len(order)))
        starts = np.flatnonzero(np.diff(slots[order], prepend=-2) != 1)  # adjacent slots are read together
        ends = np.append(starts, len(order))[1:] * _THUMB
        spans = zip((starts * _THUMB).tolist(), ends.tolist(), slots[order[starts]].tolist(), strict=True)
        # Copied, not mapped: access to a page may load a megabyte around it into the memory of the process.
        for start, end, slot in spans:
            piece = read_at(self._thumbs, end - start, _THUMB * slot)
            if len(piece) < end - start:
                raise LabelwiseError(
                    f"{self.folder} without thumbnails that were in it", "whole files", "delete this folder"
                )
            content[start:end] = piece
        pixels[order] = np.frombuffer(content, np.uint8).reshape(-1, _THUMB)
        return pixels.reshape(-1, THUMB_SIDE, THUMB_SIDE, 3)
