"""Images inside files of other tools, read from the disk one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from labelwise.data.decode import UnreadableImage
from labelwise.errors import LabelwiseError, first_line

_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # the last bytes of an Arrow stream


@runtime_checkable
class ImageStore(Protocol):
    """Encoded images by number; can be pickled, and read by several threads and processes at once."""

    @property
    def files(self) -> Sequence[Path]:
        """The files with the images."""

    @property
    def lengths(self) -> Int64[np.ndarray, " N"]:
        """`[N]` bytes of each image, -1 for an unreadable one."""

    def __len__(self) -> int:
        """Number of images."""

    def read(self, number: int) -> bytes:
        """The encoded image of a number; raises `UnreadableImage` for an unreadable one."""

    def end(self, number: int, size: int) -> bytes | None:
        """At most the last `size` bytes of an encoded image; `None` for an unreadable one."""

    def file_of(self, number: int) -> Path:
        """The file of an image."""

    def place_of(self, number: int) -> int:
        """A unique number of an image in its file, independent of other files."""


class StoredImages:
    """The common part of image stores: their number, and the last bytes of one.

    Args:
        files: with the images.
        lengths: `[N]` bytes of each image, -1 for an unreadable one.
    """

    def __init__(self, files: Sequence[Path], lengths: Int64[np.ndarray, " N"]) -> None:
        self.files, self.lengths = list(files), lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def end(self, number: int, size: int) -> bytes | None:
        """At most the last `size` bytes of an encoded image, unchecked; `None` where they cannot be read."""
        try:
            return self._read_from(number, max(0, int(self.lengths[number]) - size))
        except UnreadableImage:
            return None

    def file_of(self, number: int) -> Path:
        """The file of an image."""
        return self.files[self._file_index(number)]

    def _file_index(self, number: int) -> int:
        """The index in `files` of an image's file."""
        raise NotImplementedError

    def _read_from(self, number: int, start: int) -> bytes:
        """An image's bytes from an offset on; raises `UnreadableImage`."""
        raise NotImplementedError


class ArchivedImages(StoredImages):
    """Images that are contiguous bytes in files, such as members of tar files.

    Args:
        files: in any order.
        parts: `[N]` index in `files` of each image.
        offsets: `[N]` bytes from the file's start to the image's first byte.
        lengths: `[N]` bytes of each image.
    """

    def __init__(
        self,
        files: Sequence[Path],
        parts: Int64[np.ndarray, " N"],
        offsets: Int64[np.ndarray, " N"],
        lengths: Int64[np.ndarray, " N"],
    ) -> None:
        super().__init__(files, lengths)
        self._file_indices, self._offsets = parts, offsets

    def read(self, number: int) -> bytes:
        """The encoded image of a number.

        Raises:
            UnreadableImage: its file is missing, or shorter than when it was listed.
        """
        return self._read_from(number, 0)

    def place_of(self, number: int) -> int:
        """Offset of an image in its file."""
        return int(self._offsets[number])

    def _file_index(self, number: int) -> int:
        return int(self._file_indices[number])

    def _read_from(self, number: int, start: int) -> bytes:
        file, size = self.file_of(number), int(self.lengths[number]) - start
        try:
            with file.open("rb") as stream:
                stream.seek(self.place_of(number) + start)
                content = stream.read(size)
        except OSError as error:
            raise UnreadableImage(
                f"{file}: {error.strerror}", "the file that was listed", "restore it"
            ) from None
        if len(content) != size:
            raise UnreadableImage(f"{file}, which became shorter", "the file that was listed", "restore it")
        return content


def mapped_stream(file: Path) -> pa.Table:
    """The memory-mapped table of an Arrow stream file; its offsets are validated, so that no read can leave the file.

    Raises:
        LabelwiseError: a file that is missing, truncated or damaged.
    """
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - len(_STREAM_END)))
            ending = stream.read()
        table = pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise LabelwiseError(
            f"{file} ({first_line(error)})", "a whole Arrow stream file", "write or copy it again"
        ) from None
    if ending != _STREAM_END:  # a stream that ends after a complete batch reads without an error
        raise LabelwiseError(
            f"{file}, which is cut short", "a whole Arrow stream file", "write or copy it again"
        )
    return table


def images_in_streams(files: Sequence[Path], column: str) -> ArchivedImages | None:
    """The images of a column of Arrow stream files; `None` for compressed bytes, which have no offsets in the file.

    Args:
        files: in the order of their rows.
        column: binary, or a struct with the field `bytes`; without nulls.

    Raises:
        LabelwiseError: as `mapped_stream`.
    """
    parts, offsets, lengths = [], [], []
    for file_index, file in enumerate(files):
        mapped = pa.memory_map(str(file))
        size = mapped.size()
        base_address = mapped.read_buffer(size).address
        mapped.seek(0)
        for chunk in pa.ipc.open_stream(mapped).read_all()[column].chunks:
            array = chunk.field("bytes") if pa.types.is_struct(chunk.type) else chunk
            has_64_bit_offsets = pa.types.is_large_binary(array.type)
            if not (has_64_bit_offsets or pa.types.is_binary(array.type)):
                return None
            _, offset_buffer, content = array.buffers()
            boundaries = np.frombuffer(offset_buffer, np.int64 if has_64_bit_offsets else np.int32)
            boundaries = boundaries[array.offset : array.offset + len(array) + 1].astype(np.int64)
            start = (content.address if content else base_address) - base_address
            if not 0 <= start <= size - (boundaries[-1] if len(boundaries) else 0):
                return None
            parts.append(np.full(len(array), file_index, np.int64))
            offsets.append(boundaries[:-1] + start)
            lengths.append(np.diff(boundaries))
    if not parts:
        return None
    return ArchivedImages(files, np.concatenate(parts), np.concatenate(offsets), np.concatenate(lengths))
