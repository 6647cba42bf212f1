"""Images in a packed store, read one at a time by their offset in a file, with a check of each checksum."""

from __future__ import annotations

import errno
import json
import os
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
import pyarrow as pa

from labelwise.data.archives import StoredImages
from labelwise.data.decode import UnreadableImage
from labelwise.data.positions import open_descriptor, read_at
from labelwise.errors import LabelwiseError, first_line

FORMAT = 1
DESCRIPTION = "packed.json"
TABLE = "table.parquet"
SCHEMA = pa.schema([("content", pa.large_binary()), ("check", pa.uint32()), ("reason", pa.string())])
"""One row per image: the encoded file, its CRC-32, and the reason for a missing one."""


class PackedImages(StoredImages):
    """The images of a folder that `labelwise data pack` wrote.

    Opening reads only sizes and offsets, 20 bytes per image. The bytes of an image are copied from the file on access;
    no file stays mapped, so that reading a whole store does not fill the memory of the process.

    Attributes:
        lengths: `[N]` int64 bytes of each encoded image, -1 for one that could not be packed.

    Raises:
        LabelwiseError: no store, one of a newer format, or a file that is missing, truncated or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.described = folder, describe(folder)
        files = [folder / name for name in self.described["files"]]
        columns_of_files = [_file_columns(file) for file in files]
        self._starts = np.cumsum([0, *(len(columns.lengths) for columns in columns_of_files)]).tolist()
        rows = self._starts[-1]
        if rows != self.described["rows"]:
            raise _damaged(folder, f"{rows:,} images", f"{self.described['rows']:,}, as written")
        super().__init__(files, _chain([columns.lengths for columns in columns_of_files], np.int64))
        self._offsets = _chain([columns.offsets for columns in columns_of_files], np.int64)
        self._checks = _chain([columns.checks for columns in columns_of_files], np.uint32)
        pairs = zip(self._starts, columns_of_files, strict=False)
        self._reasons = {
            start + row: text for start, columns in pairs for row, text in columns.reasons.items()
        }
        self._handles = [_open_file(file) for file in self.files]
        for descriptor in self._handles:
            finalize(self, os.close, descriptor)

    def __reduce__(self) -> tuple[type[PackedImages], tuple[Path]]:
        return PackedImages, (self.folder,)

    def read(self, number: int) -> bytes:
        """The encoded image of a row of the store.

        Raises:
            UnreadableImage: it could not be decoded when the store was written, or its bytes changed since.
        """
        content = self._read_from(number, 0)
        if zlib.crc32(content) != self._checks[number]:
            given = f"image {number} of {self.folder} with another checksum than was written"
            raise UnreadableImage(given, "the bytes that were packed", "pack again; the disk may be failing")
        return content

    def place_of(self, number: int) -> int:
        """The number of the image, unique in the store."""
        return number

    def _file_index(self, number: int) -> int:
        return bisect_right(self._starts, number) - 1

    def _read_from(self, number: int, start: int) -> bytes:
        """An image's bytes from an offset on."""
        length = int(self.lengths[number]) if 0 <= number < len(self) else -1
        if length < 0:
            reason = self._reasons.get(number, f"image {number} of {self.folder} does not exist")
            raise UnreadableImage(reason, "a whole image file", "replace it and pack again")
        try:
            return read_at(
                self._handles[self._file_index(number)], length - start, int(self._offsets[number]) + start
            )
        except OSError as error:
            given = f"image {number} of {self.folder} cannot be read ({error.strerror})"
            raise UnreadableImage(given, "a readable disk", "check the disk") from None


@dataclass(frozen=True)
class _Columns:
    """Length, offset and checksum of each image of a file, and the reasons for missing images by row."""

    lengths: np.ndarray
    offsets: np.ndarray
    checks: np.ndarray
    reasons: dict[int, str]


def _chain(arrays: list[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    """The arrays one after another; an empty array of the type where there are none."""
    return np.concatenate([np.zeros(0, dtype), *arrays])


def _open_file(file: Path) -> int:
    """The descriptor of a file; raises `LabelwiseError` where it cannot be opened."""
    try:
        return open_descriptor(file, os.O_RDONLY)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise LabelwiseError(
                f"{file.parent}, with more files than may be open at once",
                "a limit above the number of its files",
                "raise it, as with `ulimit -n 65536`",
            ) from None
        raise _damaged(file.parent, f"{file.name} ({error.strerror})", "a file that can be opened") from None


def describe(folder: Path) -> dict[str, Any]:
    """The description of a store, after a check of its files' sizes and the table's checksum.

    Raises:
        LabelwiseError: as `PackedImages`.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        version = description["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise LabelwiseError(
            f"{str(folder)!r} without a readable {DESCRIPTION}",
            "a folder that `labelwise data pack` wrote",
            "check the path, or pack again",
        ) from None
    if version != FORMAT:
        raise LabelwiseError(f"{folder} in store format {version}", f"format {FORMAT}", "update labelwise")
    for name, size in {**description["files"], TABLE: description["table"]["bytes"]}.items():
        path = folder / name
        actual = path.stat().st_size if path.is_file() else -1
        if actual != size:
            given = f"{name} of {actual:,} bytes" if actual >= 0 else f"no {name}"
            raise _damaged(folder, given, f"{size:,} bytes, as written")
    if file_check(folder / TABLE) != description["table"]["check"]:
        raise _damaged(folder, f"{TABLE} with another checksum", "the one that was written")
    return description


def file_check(file: Path) -> int:
    """CRC-32 of a file, read piece by piece."""
    checksum = 0
    with open(file, "rb") as stream:
        while piece := stream.read(1 << 20):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _file_columns(file: Path) -> _Columns:
    """Offsets of the images of a file, validated so that no later read can leave the file."""
    lengths, offsets, checks, row = [], [], [], 0
    reasons: dict[int, str] = {}
    try:
        with pa.memory_map(str(file)) as mapped:
            reader = pa.ipc.open_file(mapped)
            if reader.schema != SCHEMA:
                raise _damaged(file.parent, f"{file.name} with other columns", ", ".join(SCHEMA.names))
            mapped.seek(0)
            base_address, size = mapped.read_buffer(1).address, mapped.size()
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                batch.validate(full=True)
                if not batch.num_rows:
                    continue
                content, check, reason = batch.columns
                _, offset_buffer, buffer = content.buffers()
                boundaries = np.frombuffer(offset_buffer, np.int64)[content.offset :][: len(content) + 1]
                valid = content.is_valid().to_numpy(zero_copy_only=False)
                start = buffer.address - base_address if buffer is not None and buffer.size else 0
                if not 0 <= start <= start + int(boundaries[-1]) <= size:
                    raise _damaged(file.parent, f"{file.name} with compressed batches", "plain ones")
                lengths.append(np.where(valid, np.diff(boundaries), -1))
                offsets.append(start + boundaries[:-1])
                checks.append(np.array(check.fill_null(0).to_numpy(zero_copy_only=False)))
                texts = enumerate(reason.to_pylist(), row)
                reasons |= {row_number: text for row_number, text in texts if text is not None}
                row += len(content)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file.parent, f"{file.name} ({first_line(error)})", "an Arrow file") from None
    return _Columns(_chain(lengths, np.int64), _chain(offsets, np.int64), _chain(checks, np.uint32), reasons)


def _damaged(folder: Path, given: str, expected: str) -> LabelwiseError:
    """The error for a store that differs from what was written."""
    return LabelwiseError(f"{folder} is damaged: {given}", expected, "pack again")
