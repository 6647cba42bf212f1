"""Rows of an array in a file, each compressed by itself without loss.

Most values of a feature map after a ReLU are zero: maps of `tf_efficientnet_lite0` take a tenth of their size.
"""

from __future__ import annotations

import json
import math
import os
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


class PackedRows:
    """A float16 array `[N, ...]` in a file, read and written by rows.

    The file holds the shape, the compressed length of each row, and a place for each row of the size that it has
    uncompressed. Only what is written takes space: systems store the rest of a place as a hole. So processes can write
    rows of one file in any order, and its bytes do not depend on the order. A row that does not shrink is stored as
    it is. Rows that were never written are zero.

    Args:
        path: the file.
        writable: whether rows are written.

    Raises:
        OSError: the file cannot be opened.
        ValueError: another kind of file.
        LabelwiseError: a file that is shorter than it was written.
    """

    dtype = np.dtype(np.float16)

    def __init__(self, path: Path, writable: bool = False) -> None:
        self.path = path
        self._file = open_descriptor(path, os.O_RDWR if writable else os.O_RDONLY)
        finalize(self, os.close, self._file)
        start = read_at(self._file, _BLOCK, 0)
        if not start.startswith(_MAGIC):
            raise ValueError(f"{path} does not hold packed rows")
        self.shape: tuple[int, ...] = tuple(json.loads(start[len(_MAGIC) :].rstrip(b"\0"))["shape"])
        self._raw = 2 * math.prod(self.shape[1:])
        self._lengths_end = _BLOCK + 4 * self.shape[0]
        if os.fstat(self._file).st_size < self._place(len(self)):
            raise self._damaged()
        self._lengths = np.frombuffer(read_at(self._file, 4 * self.shape[0], _BLOCK), np.int32)
        self._codec = pa.Codec(_CODEC)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The rows `[K, ...]`, a copy.

        Raises:
            LabelwiseError: a row that cannot be read as it was written.
        """
        unpacked = np.zeros((len(rows), *self.shape[1:]), self.dtype)
        for values, row in zip(unpacked, rows.tolist(), strict=True):
            length = int(self._lengths[row])
            if not length:
                continue
            try:
                content: Any = read_at(self._file, length, self._place(row))
                if length < self._raw:
                    content = self._codec.decompress(content, decompressed_size=self._raw)
                values[...] = np.frombuffer(content, self.dtype).reshape(values.shape)
            except (OSError, ValueError):  # errors of Arrow are of these kinds
                raise self._damaged() from None
        return unpacked

    def __setitem__(self, rows: np.ndarray, values: np.ndarray) -> None:
        for row, value in zip(rows.tolist(), values, strict=True):
            content = packed(value)
            write_at(self._file, content, self._place(row))
            write_at(self._file, np.int32(len(content)).tobytes(), _BLOCK + 4 * row)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[np.arange(len(self))].astype(dtype or self.dtype, copy=False)

    def flush(self) -> None:
        """Write everything to the disk."""
        os.fsync(self._file)

    def _damaged(self) -> LabelwiseError:
        """The error for a file that differs from what was written."""
        return LabelwiseError(
            f"{self.path} is damaged", "the stored maps as they were written", "run: labelwise cache clear"
        )

    def _place(self, row: int) -> int:
        """The byte at which a row begins."""
        return _blocks(self._lengths_end) + row * _blocks(self._raw)


def packed(values: np.ndarray) -> bytes:
    """The bytes that are stored for a row: compressed, or as they are if that is not shorter."""
    raw = np.ascontiguousarray(values, np.float16).tobytes()
    short: bytes = pa.Codec(_CODEC).compress(raw, asbytes=True)
    return short if len(short) < len(raw) else raw


def packed_share(values: Iterable[np.ndarray]) -> float:
    """The share of their size that rows take on the disk."""
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
        file.write(bytes(4 * shape[0]))
        file.truncate(_blocks(_BLOCK + 4 * shape[0]) + shape[0] * _blocks(2 * math.prod(shape[1:])))


def _blocks(size: int) -> int:
    """The size rounded up to whole blocks."""
    return -(-size // _BLOCK) * _BLOCK
