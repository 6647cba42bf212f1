"""Fast reading of the most common CSV: cells of 0, 1 and blank beside a few columns of text."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, UInt8

BLOCK = 1 << 21  # bytes at once: thousands of rows that still fit the processor's cache
_NEWLINE, _QUOTE, _ONE = ord("\n"), ord('"'), ord("1")


class _NotPlain(Exception):  # noqa: N818 - not an error: the general reader takes over
    """The file is not of the kind that `read_plain` reads."""


def read_plain(file: Path, names: Sequence[str], delimiter: str, text: frozenset[str]) -> pa.Table | None:
    """The table of a CSV in which most columns hold 0, 1 or blank, the rest plain text.

    A line is a row; a cell of text may be in quotes without the delimiter or another quote inside. The general reader
    handles other files, and raises the errors.

    Args:
        file: in UTF-8, with a header in its first line.
        names: of the columns, as in the header.
        delimiter: one character.
        text: names of columns that are always text.

    Returns:
        uint8 columns if all cells are 0, 1 or blank (null), else string columns; `None` for another format.
    """
    size = file.stat().st_size
    if not size:
        return None
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(b"\n") + 1
        if not start or start == size or any(content.find(bad) >= 0 for bad in (b"\0", b"\r")):
            return None
        try:
            return _table(content, start, names, delimiter.encode()[0], text)
        except _NotPlain:
            return None


def _table(
    content: mmap.mmap, start: int, names: Sequence[str], delimiter: int, text: frozenset[str]
) -> pa.Table:
    """The rows from byte `start` on, in blocks of whole lines. The first block decides which columns are binary."""
    chunks: list[list[pa.Array]] = [[] for _ in names]
    is_binary: np.ndarray | None = None
    while start < len(content):
        stop = _end_of_line(content, start)
        block = np.frombuffer(content[start:stop], np.uint8)
        if block[-1] != _NEWLINE:
            block = np.append(block, np.uint8(_NEWLINE))
        starts, ends = _bounds(block, len(names), delimiter)
        blank = ends == starts
        last = block[ends - 1]
        # The codes of "0" and "1" differ in their lowest bit alone, which is also their value.
        binary = blank | ((ends - starts == 1) & ((last | 1) == _ONE))
        if is_binary is None:
            is_binary = binary.all(0) & [name not in text for name in names]
        if not binary[:, is_binary].all():
            raise _NotPlain
        for j, column in enumerate(chunks):
            if is_binary[j]:
                column.append(_uint8_array(last[:, j] & 1, blank[:, j]))
            else:
                column.append(_text_array(block, starts[:, j], ends[:, j]))
        start = stop
    return pa.table({name: pa.chunked_array(column) for name, column in zip(names, chunks, strict=True)})


def _end_of_line(content: mmap.mmap, start: int) -> int:
    """The end of the last complete line within `BLOCK` bytes, of the first line if none is, or of the file."""
    if start + BLOCK >= len(content):
        return len(content)
    stop = content.rfind(b"\n", start, start + BLOCK) + 1
    stop = stop or content.find(b"\n", start + BLOCK) + 1
    return stop or len(content)


def _bounds(
    block: UInt8[np.ndarray, " bytes"], width: int, delimiter: int
) -> tuple[Int[np.ndarray, "N C"], Int[np.ndarray, "N C"]]:
    """Start and end byte of each cell, end exclusive; every line must have `width` cells."""
    marks = np.flatnonzero((block == delimiter) | (block == _NEWLINE)).astype(np.int32)
    if len(marks) % width:
        raise _NotPlain
    ends = marks.reshape(-1, width)
    if (block[ends[:, -1]] != _NEWLINE).any() or (block[ends[:, :-1]] == _NEWLINE).any():
        raise _NotPlain
    starts = np.concatenate([[0], marks[:-1] + 1]).astype(np.int32).reshape(-1, width)
    return starts, ends


def _uint8_array(values: UInt8[np.ndarray, " N"], null: Bool[np.ndarray, " N"]) -> pa.Array:
    """The values without a copy; Arrow marks nulls by bits."""
    data = pa.py_buffer(np.ascontiguousarray(values))
    valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None
    return pa.Array.from_buffers(pa.uint8(), len(values), [valid, data])


def _text_array(
    block: UInt8[np.ndarray, " bytes"], starts: Int[np.ndarray, " N"], ends: Int[np.ndarray, " N"]
) -> pa.Array:
    """The cells of one column as text, without enclosing quotes."""
    quoted = (ends - starts >= 2) & (block[starts] == _QUOTE) & (block[ends - 1] == _QUOTE)
    starts, ends = starts + quoted, ends - quoted
    offsets = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int32)
    content = block[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], ends - starts)]
    array = pa.Array.from_buffers(
        pa.string(), len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    )
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        raise _NotPlain from None
    if (content == _QUOTE).any():
        raise _NotPlain
    return array
