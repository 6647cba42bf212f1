"""Images in a packed store: mapped into memory, read one at a time, each checked as it is read."""

from __future__ import annotations

import json
import zlib
from bisect import bisect_right
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelwise.data.decode import UnreadableImage
from labelwise.errors import LabelwiseError, first_line

FORMAT = 1
DESCRIPTION = "packed.json"
TABLE = "table.parquet"
SCHEMA = pa.schema([("content", pa.large_binary()), ("check", pa.uint32()), ("reason", pa.string())])
"""One row an image: the encoded file, its CRC-32, and why there is none where it could not be decoded."""


class PackedImages:
    """The images of a folder that `labelwise data pack` wrote.

    Opening reads sizes and offsets alone; an image's bytes come from the disk when it is read, and processes share
    what the system keeps of them.

    Args:
        folder: of the store.

    Raises:
        LabelwiseError: no store, one of a newer format, or a file that is missing, cut short or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.described = folder, describe(folder)
        self._parts: list[pa.RecordBatch] = []
        self._starts: list[int] = []
        rows = 0
        for name in self.described["files"]:
            for batch in _batches(folder / name):
                self._starts.append(rows)
                self._parts.append(batch)
                rows += batch.num_rows
        if rows != self.described["rows"]:
            raise _damaged(folder, f"{rows:,} images", f"{self.described['rows']:,}, as were written")

    def __len__(self) -> int:
        return self.described["rows"]

    def __reduce__(self) -> tuple[type[PackedImages], tuple[Path]]:
        return PackedImages, (self.folder,)

    def read(self, number: int) -> bytes:
        """The encoded image of a row of the store.

        Raises:
            UnreadableImage: it could not be decoded when the store was written, or its bytes changed since.
        """
        part = bisect_right(self._starts, number) - 1
        row, columns = number - self._starts[part], self._parts[part]
        found = columns.column(0)[row].as_py()
        if found is None:
            reason = columns.column(2)[row].as_py()
            raise UnreadableImage(reason, "a whole image file", "replace it and pack again")
        if zlib.crc32(found) != columns.column(1)[row].as_py():
            given = f"image {number} of {self.folder} with another checksum than was written"
            raise UnreadableImage(given, "the bytes that were packed", "pack again; the disk may be failing")
        return found


def describe(folder: Path) -> dict[str, Any]:
    """What a store says of itself, with the sizes of its files checked and the table's checksum.

    Raises:
        LabelwiseError: as `PackedImages`.
    """
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        version = described["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise LabelwiseError(
            f"{str(folder)!r} without a readable {DESCRIPTION}",
            "a folder that `labelwise data pack` wrote",
            "check the path, or pack again",
        ) from None
    if version != FORMAT:
        raise LabelwiseError(f"{folder} in store format {version}", f"format {FORMAT}", "update labelwise")
    for name, size in {**described["files"], TABLE: described["table"]["bytes"]}.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else -1
        if found != size:
            told = f"{name} of {found:,} bytes" if found >= 0 else f"no {name}"
            raise _damaged(folder, told, f"{size:,} bytes, as were written")
    if zlib.crc32((folder / TABLE).read_bytes()) != described["table"]["check"]:
        raise _damaged(folder, f"{TABLE} with another checksum", "the one that was written")
    return described


def _batches(file: Path) -> list[pa.RecordBatch]:
    """The batches of a file, mapped; offsets are looked through, so that no later read can leave the file."""
    try:
        opened = pa.ipc.open_file(pa.memory_map(str(file)))
        if opened.schema != SCHEMA:
            raise _damaged(file.parent, f"{file.name} with other columns", ", ".join(SCHEMA.names))
        batches = [opened.get_batch(i) for i in range(opened.num_record_batches)]
        for batch in batches:
            batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file.parent, f"{file.name} ({first_line(error)})", "an Arrow file") from None
    return batches


def _damaged(folder: Path, given: str, expected: str) -> LabelwiseError:
    return LabelwiseError(f"{folder} is damaged: {given}", expected, "pack again")
