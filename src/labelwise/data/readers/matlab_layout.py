"""Checks the layout of a MATLAB file before SciPy reads it, which trusts every length and type code."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

# Bytes of one decompressed variable: more than twice those of the largest official file.
LARGEST = 1 << 28
DEEPEST = 12
_HEADER = 128
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13))
_LETTERS = frozenset((1, 2, 3, 4, 16, 17, 18))
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC = range(6, 16)


@dataclass
class _Bytes:
    """A part of the file that is read from the front; raises `ValueError` if it ends too early."""

    data: memoryview
    order: str

    def element(self) -> tuple[int, memoryview]:
        """Type code and content of the next data element."""
        (kind,) = struct.unpack(self.order + "I", self._take(4))
        if kind >> 16:  # small: length and type share the first four bytes, up to four of content follow
            size, kind = kind >> 16, kind & 0xFFFF
            content = self._take(4)
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
            return kind, content[:size]
        (size,) = struct.unpack(self.order + "I", self._take(4))
        content = self._take(size)
        if kind != _COMPRESSED:
            self.data = self.data[min(len(self.data), -size % 8) :]
        return kind, content

    def numbers(self, name: str, code: int) -> tuple[int, ...]:
        """The next element as 32-bit numbers."""
        kind, content = self.element()
        if kind != code or len(content) % 4:
            raise ValueError(f"{name} of type {kind} and {len(content)} bytes")
        return struct.unpack(f"{self.order}{len(content) // 4}{'I' if code == _UINT32 else 'i'}", content)

    def _take(self, size: int) -> memoryview:
        """The next bytes."""
        if size > len(self.data):
            raise ValueError("it ends too early")
        content, self.data = self.data[:size], self.data[size:]
        return content


def check_layout(file: Path) -> None:
    """Checks all variables: lengths within their parts, known types, and only numbers, text, cells and structs.

    Raises:
        ValueError: an invalid layout.
    """
    data = memoryview(file.read_bytes())
    if len(data) < _HEADER or bytes(data[126:128]) not in (b"IM", b"MI") or not all(data[:4]):
        raise ValueError("not a MATLAB file of version 5 to 7")
    order = "<" if bytes(data[126:128]) == b"IM" else ">"
    remaining = _Bytes(data[_HEADER:], order)
    while len(remaining.data):
        kind, content = remaining.element()
        if kind == _COMPRESSED:
            inflated = _Bytes(memoryview(_inflated(content)), order)
            kind, content = inflated.element()
        if kind != _MATRIX:
            raise ValueError(f"a variable of type {kind}")
        _check_array(_Bytes(content, order), 0)


def _inflated(content: memoryview) -> bytes:
    """The decompressed content; raises `ValueError` above `LARGEST` bytes."""
    stream, remaining = zlib.decompressobj(), bytes(content)
    pieces: list[bytes] = []
    size = 0
    while remaining and not stream.eof:
        try:
            pieces.append(stream.decompress(remaining, 1 << 22))
        except zlib.error as error:
            raise ValueError(str(error)) from None
        remaining, size = stream.unconsumed_tail, size + len(pieces[-1])
        if size > LARGEST:
            raise ValueError(f"a variable of more than {LARGEST:,} bytes once decompressed")
    if not stream.eof:
        raise ValueError("it ends too early")
    return b"".join(pieces)


def _check_array(array: _Bytes, depth: int) -> None:
    """Skip one array and those in it, and refuse one of another layout."""
    if not array.data and depth:  # an empty cell
        return
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} cells or structs within each other")
    flags = array.numbers("array flags", _UINT32)
    sizes = array.numbers("dimensions", _INT32)
    kind, _ = array.element()
    if len(flags) != 2 or not 2 <= len(sizes) <= 32 or min(sizes) < 0 or kind != _INT8:
        raise ValueError("an array without flags, dimensions or name")
    count, array_class = 1, flags[0] & 0xFF
    for size in sizes:
        count *= size
    if array_class == _CELL:
        _check_cells(array, count, depth)
    elif array_class == _STRUCT:
        _check_cells(array, count * _field_count(array), depth)
    elif array_class == _CHAR or array_class in _NUMERIC:
        _check_content(array, count, array_class == _CHAR, bool(flags[0] & 0x800))
    else:
        raise ValueError(f"an array of class {array_class}, neither numbers nor text, cells or structs")


def _field_count(array: _Bytes) -> int:
    """The number of fields of a struct; skips their names."""
    (length,) = array.numbers("field name length", _INT32)
    kind, names = array.element()
    if not 0 < length <= 64 or kind != _INT8 or len(names) % length:
        raise ValueError("damaged field names")
    if any(b"\0" not in bytes(names[i : i + length]) for i in range(0, len(names), length)):
        raise ValueError("a field name without an end")
    return len(names) // length


def _check_cells(array: _Bytes, count: int, depth: int) -> None:
    """Skip the arrays in a cell or struct array."""
    if count > len(array.data) // 8:
        raise ValueError(f"{count} cells in {len(array.data)} bytes")
    for _ in range(count):
        kind, content = array.element()
        if kind != _MATRIX:
            raise ValueError(f"a cell of type {kind}")
        _check_array(_Bytes(content, array.order), depth + 1)


def _check_content(array: _Bytes, count: int, is_text: bool, is_complex: bool) -> None:
    """Skip the numbers or letters of an array, and refuse fewer than its dimensions say."""
    if is_complex:
        raise ValueError("complex numbers")
    kind, content = array.element()
    if kind not in (_LETTERS if is_text else _NUMBERS):
        raise ValueError(f"{'text' if is_text else 'numbers'} of type {kind}")
    if not is_text and count > len(content):
        raise ValueError(f"{count} numbers in {len(content)} bytes")
