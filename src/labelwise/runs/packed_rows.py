"""Rows of an array in a file, each compressed by itself without loss.

Most values of a feature map after a ReLU are zero: maps of `tf_efficientnet_lite0` take a tenth of their size.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
import pyarrow as pa

from labelwise.data.positions import open_descriptor, read_at, write_at
from labelwise.errors import LabelwiseError

SUFFIX = ".rows"
_MAGIC = b"LWROWS1\n"
_BLOCK = 4096
"""Bytes of a block of the disk: rows begin at multiples of it."""
_CODEC = "lz4_raw"
_ENTRY = np.dtype([("length", "<i4"), ("checksum", "<u4")])
"""Of a row: its stored bytes, and their CRC-32."""
_CHECKED_AFTER = 256
"""Rows that are written between two looks at the free space."""


class PackedRows:
    """A float16 array `[N, ...]` in a file, read and written by rows.

    The file holds the shape, the compressed length and a checksum of each row, and a place for each row of the size
    that it has uncompressed. Only what is written takes space: systems store the rest of a place as a hole. So
    processes can write rows of one file in any order, and its bytes do not depend on the order. A row that does not
    shrink is stored as it is. Rows that were never written are zero.

    Args:
        path: the file.
        writable: whether rows are written.

    Raises:
        OSError: the file cannot be opened, or the disk has no space for the rows that are still to be written.
        LabelwiseError: a file that is not as it was written.
    """

    dtype = np.dtype(np.float16)

    def __init__(self, path: Path, writable: bool = False) -> None:
        self.path = path
        self._file = open_descriptor(path, os.O_RDWR if writable else os.O_RDONLY)
        finalize(self, os.close, self._file)
        start = read_at(self._file, _BLOCK, 0)
        try:
            assert start.startswith(_MAGIC)
            self.shape: tuple[int, ...] = tuple(json.loads(start[len(_MAGIC) :].rstrip(b"\0"))["shape"])
        except (AssertionError, ValueError, KeyError, TypeError):
            raise damaged(path) from None
        self._raw = 2 * math.prod(self.shape[1:])
        self._table_end = _BLOCK + _ENTRY.itemsize * self.shape[0]
        if os.fstat(self._file).st_size < self._place(len(self)):
            raise damaged(path)
        self._table = np.frombuffer(read_at(self._file, self._table_end - _BLOCK, _BLOCK), _ENTRY).copy()
        self._codec = pa.Codec(_CODEC)
        self._rows_until_check = _CHECKED_AFTER

    @property
    def empty(self) -> np.ndarray:
        """The numbers of the rows that were never written."""
        return np.flatnonzero(self._table["length"] == 0)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The rows `[K, ...]` of an array of numbers, a copy.

        Raises:
            OSError: the disk fails.
            LabelwiseError: a row that is not as it was written.
        """
        unpacked = np.zeros((len(rows), *self.shape[1:]), self.dtype)
        for values, row in zip(unpacked, rows.tolist(), strict=True):
            length, checksum = self._table[row].tolist()
            if not length:
                continue
            content: Any = read_at(self._file, length, self._place(row))
            if zlib.crc32(content) != checksum:
                raise damaged(self.path)
            if length < self._raw:
                content = self._codec.decompress(content, decompressed_size=self._raw)
            values[...] = np.frombuffer(content, self.dtype).reshape(values.shape)
        return unpacked

    def __setitem__(self, rows: np.ndarray, values: np.ndarray) -> None:
        if values.shape != (len(rows), *self.shape[1:]):
            raise ValueError(f"values of shape {values.shape} for {len(rows)} rows of {self.shape}")
        for row, value in zip(rows.tolist(), values, strict=True):
            content = packed(value)
            write_at(self._file, content, self._place(row))
            self._table[row] = len(content), zlib.crc32(content)
            write_at(self._file, self._table[row].tobytes(), _BLOCK + _ENTRY.itemsize * row)
        self._rows_until_check -= len(rows)
        if self._rows_until_check <= 0:
            self._refuse_full_disk()

    def _refuse_full_disk(self) -> None:
        """Raise `OSError` where the rows that are still to be written will not fit; holes reserve no space."""
        self._rows_until_check = _CHECKED_AFTER
        blocks = getattr(os.fstat(self._file), "st_blocks", None)
        if blocks is None:  # Windows, where the whole file already takes its space
            return
        written = self._table["length"]  # by this process; others write rows like these
        lengths = written[written > 0]
        expected = float(_blocks(1) * np.ceil(lengths / _BLOCK).mean() * len(self))
        needed = expected - 512 * blocks
        free = shutil.disk_usage(self.path.parent).free
        if needed > free:
            message = f"maps need about {needed / 1e9:.1f} GB more, {free / 1e9:.1f} GB are free"
            raise OSError(errno.ENOSPC, message, str(self.path))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[np.arange(len(self))].astype(dtype or self.dtype, copy=False)

    def flush(self) -> None:
        """Write everything to the disk."""
        os.fsync(self._file)

    def _place(self, row: int) -> int:
        """The byte at which a row begins."""
        return _blocks(self._table_end) + row * _blocks(self._raw)


def damaged(path: Path) -> LabelwiseError:
    """The error for a file that differs from what was written."""
    return LabelwiseError(
        f"{path} is damaged", "the stored maps as they were written", "run: labelwise cache clear"
    )


def packed(values: np.ndarray) -> bytes:
    """The bytes that are stored for a row: compressed, or as they are if that is not shorter."""
    raw = np.ascontiguousarray(values, np.float16).tobytes()
    short: bytes = pa.Codec(_CODEC).compress(raw, asbytes=True)
    return short if len(short) < len(raw) else raw


def packed_share(values: Iterable[np.ndarray]) -> float:
    """The share of their size that rows take on a disk whose files may have holes; Windows fills the holes."""
    if os.name == "nt":
        return 1.0
    pairs = [(_blocks(len(packed(row))), 2 * row.size) for row in values]
    return sum(stored for stored, _ in pairs) / sum(raw for _, raw in pairs)


def allocate(path: Path, shape: tuple[int, ...]) -> None:
    """Write a file of rows that are all zero.

    Raises:
        OSError: the disk is full.
    """
    description = _MAGIC + json.dumps({"shape": list(shape)}).encode()
    with open(path, "wb") as file:
        file.write(description.ljust(_BLOCK, b"\0"))
        file.write(bytes(_ENTRY.itemsize * shape[0]))
        table_end = _BLOCK + _ENTRY.itemsize * shape[0]
        file.truncate(_blocks(table_end) + shape[0] * _blocks(2 * math.prod(shape[1:])))


def _blocks(size: int) -> int:
    """The size rounded up to whole blocks."""
    return -(-size // _BLOCK) * _BLOCK
