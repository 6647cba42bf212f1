"""Images inside archives that other tools write: read from the disk one at a time, never all held in memory."""

from __future__ import annotations

from bisect import bisect_right
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
    """Encoded images by number; it can be pickled, and threads and processes may read at the same time."""

    def __len__(self) -> int:
        """Number of images."""

    def read(self, number: int) -> bytes:
        """The encoded image of a number; raises `UnreadableImage` where it cannot be had."""


class TarImages:
    """Members of uncompressed tar files, by their places.

    Args:
        files: the tar files.
        file_of: `[N]` place in `files` of each image.
        offset: `[N]` bytes from the file's start to the image's first byte.
        size: `[N]` bytes of each image.
    """

    def __init__(
        self,
        files: Sequence[Path],
        file_of: Int64[np.ndarray, " N"],
        offset: Int64[np.ndarray, " N"],
        size: Int64[np.ndarray, " N"],
    ) -> None:
        self.files, self.file_of, self.offset, self.size = tuple(files), file_of, offset, size

    def __len__(self) -> int:
        return len(self.size)

    def read(self, number: int) -> bytes:
        """The encoded image of a number.

        Raises:
            UnreadableImage: the tar file is gone, or shorter than when it was listed.
        """
        file, size = self.files[self.file_of[number]], int(self.size[number])
        try:
            with file.open("rb") as opened:
                opened.seek(int(self.offset[number]))
                content = opened.read(size)
        except OSError as error:
            raise UnreadableImage(
                f"{file}: {error.strerror}", "the tar file that was listed", "restore it"
            ) from None
        if len(content) != size:
            raise UnreadableImage(
                f"{file}, which became shorter", "the tar file that was listed", "restore it"
            )
        return content


class ArrowImages:
    """The bytes of an image column of Arrow stream files, mapped into memory.

    Args:
        files: in the order of their rows.
        column: a struct with the field `bytes`, or binary; without nulls.

    Raises:
        LabelwiseError: a file that is cut short or damaged.
    """

    def __init__(self, files: Sequence[Path], column: str) -> None:
        self.files, self.column = tuple(files), column
        self._parts: list[pa.Array] = []
        self._starts: list[int] = []
        self._rows = 0
        for file in self.files:
            for chunk in mapped_stream(file)[column].chunks:
                self._starts.append(self._rows)
                self._parts.append(chunk.field("bytes") if pa.types.is_struct(chunk.type) else chunk)
                self._rows += len(chunk)

    def __len__(self) -> int:
        return self._rows

    def __reduce__(self) -> tuple[type[ArrowImages], tuple[tuple[Path, ...], str]]:
        return ArrowImages, (self.files, self.column)

    def read(self, number: int) -> bytes:
        """The encoded image of a number."""
        part = bisect_right(self._starts, number) - 1
        return self._parts[part][number - self._starts[part]].as_py()


def mapped_stream(file: Path) -> pa.Table:
    """The table of an Arrow stream file, mapped; offsets are looked through, so that no read can leave the file.

    Raises:
        LabelwiseError: a file that is missing, cut short or damaged.
    """
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - len(_STREAM_END)))
            ending = opened.read()
        table = pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise LabelwiseError(
            f"{file} ({first_line(error)})", "a whole Arrow stream file", "write or copy it again"
        ) from None
    if ending != _STREAM_END:  # a stream that ends after a whole batch reads without an error
        raise LabelwiseError(
            f"{file}, which is cut short", "a whole Arrow stream file", "write or copy it again"
        )
    return table
